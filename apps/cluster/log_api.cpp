#include "apps/cluster/log_api.hpp"

#include "apps/cluster/api_fields.hpp"
#include "runtime/base/log.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

constexpr std::array<std::pair<std::string_view, log_level>, 5> levels{{
    {"debug", log_level::debug},
    {"info", log_level::info},
    {"warning", log_level::warning},
    {"error", log_level::error},
    {"off", log_level::off},
}};

/// The least that is logged.
std::string level_now() {
  for (const auto& [name, level] : levels)
    if (level == log_level::off || is_logged(level)) return std::string{name};
  return "off";
}

api_reply level_reply() {
  const std::string now = level_now();
  return {200, json::object{{"level", now}}, {{"etag", "\"" + now + "\""}}};
}

}  // namespace

result<question> get_log_level(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  return question{
      [](cluster::control&, time_point_ns) -> result<api_reply> { return level_reply(); }};
}

result<question> set_log_level_of(const call& c, const api_backend&) {
  ATOLL_TRY(read_query(c.request.query, {}));
  ATOLL_ASSIGN(const auto body, read_body(c.request.body, {"level"}));
  ATOLL_ASSIGN(const std::string name, text_field(body, "level", 16));
  const auto* const wanted = std::find_if(
      levels.begin(), levels.end(), [&name = name](const auto& l) { return l.first == name; });
  if (wanted == levels.end())
    return error{errc::invalid_argument, "level: expected debug, info, warning, error or off"};
  return question{[level = wanted->second, match = std::string{c.request.header_value("if-match")}](
                      cluster::control&, time_point_ns) -> result<api_reply> {
    if (!match.empty() && match != "*" && match != "\"" + level_now() + "\"")
      return error{errc::stale_epoch, "the level is " + level_now() + " by now, not " + match};
    set_log_level(level);
    return level_reply();
  }};
}

}  // namespace atl::ops
