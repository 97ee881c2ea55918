#include "apps/cluster/log_api.hpp"

#include "apps/cluster/api_fields.hpp"
#include "runtime/base/log.hpp"

#include <boost/json.hpp>

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

api_reply level_reply() {
  const std::string now = log_level_now();
  return {200, json::object{{"level", now}}, {{"etag", "\"" + now + "\""}}};
}

}  // namespace

std::string log_level_now() {
  for (const auto& [name, level] : levels)
    if (level == log_level::off || is_logged(level)) return std::string{name};
  return "off";
}

result<log_level> log_level_of(std::string_view field, const std::string& name) {
  for (const auto& [known, level] : levels)
    if (known == name) return level;
  return not_among(field, "debug, info, warning, error or off", name);
}

result<question> get_log_level(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  return question{
      [](cluster::control&, time_point_ns) -> result<api_reply> { return level_reply(); }};
}

result<question> set_log_level_of(const call& c, const api_backend&) {
  ATOLL_TRY(read_query(c.request.query, {}));
  ATOLL_ASSIGN(const auto body, read_body(c.request.body, {"level"}));
  ATOLL_ASSIGN(const std::string name, text_field(body, "level", 16));
  ATOLL_ASSIGN(const log_level level, log_level_of("level", name));
  return question{[level, match = std::string{c.request.header_value("if-match")}](
                      cluster::control&, time_point_ns) -> result<api_reply> {
    if (!match.empty() && !names_tag(match, "\"" + log_level_now() + "\""))
      return error{errc::stale_epoch, "the level is " + log_level_now() + " by now, not " + match};
    set_log_level(level);
    return level_reply();
  }};
}

}  // namespace atl::ops
