#include "apps/cluster/config_commands.hpp"

#include "apps/cluster/config_file.hpp"
#include "apps/cluster/operator_output.hpp"
#include "apps/cluster/state.hpp"
#include "apps/cluster/table.hpp"
#include "apps/values.hpp"

#include <boost/json.hpp>

#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

constexpr const char* path = "/api/v1/config";
constexpr std::size_t file_bytes_max = 65'536;

error wrong(const std::string& what) { return {errc::invalid_argument, what}; }

result<int> show(const operator_options& o, const json::value& config) {
  if (o.as_json) return print(config);
  table t{{"SETTING", "VALUE"}};
  for (const auto& [name, value] : config.as_object())
    t.add({std::string{name}, text_at(config, std::string_view{name.data(), name.size()})});
  return print(t.text());
}

/// Refuses a name that the coordinator does not know, with the nearest that it does.
result<void> check_name(const json::value& known, const std::string& name) {
  if (known.as_object().contains(name)) return {};
  std::vector<std::string_view> names;
  for (const auto& [key, value] : known.as_object()) names.emplace_back(key.data(), key.size());
  const std::string_view near = apps::nearest_name(name, names);
  return wrong(name + ": there is no such setting" +
               (near.empty() ? std::string{} : "; did you mean " + std::string{near} + "?"));
}

result<json::value> config_now(operator_session& at) {
  ATOLL_ASSIGN(json::value known, at.ask("GET", path));
  if (!known.is_object()) return error{errc::malformed_frame, "the settings are no JSON object"};
  return known;
}

/// A number where it reads as one; the coordinator knows which it should be.
json::value value_of(const std::string& text) {
  boost::system::error_code code;
  json::value read = json::parse(text, code);
  return !code && read.is_number() ? read : json::value(text);
}

}  // namespace

result<int> run_cluster_config_show(const operator_options& o) {
  return with_session(o, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value config, config_now(at));
    return show(o, config);
  });
}

result<int> run_cluster_config_set(const config_set_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value known, config_now(at));
    json::object wanted;
    for (const std::string& one : o.settings) {
      const std::size_t equals = one.find('=');
      if (equals == std::string::npos || equals == 0)
        return wrong(one + ": expected NAME=VALUE, as in expert_policy=advise");
      const std::string name = one.substr(0, equals);
      ATOLL_TRY(check_name(known, name));
      if (wanted.contains(name)) return wrong(name + ": expected to be given once");
      wanted[name] = value_of(one.substr(equals + 1));
    }
    ATOLL_ASSIGN(const json::value config, at.ask("PUT", path, json::serialize(wanted)));
    return show(o.at, config);
  });
}

result<int> run_cluster_config_apply(const config_apply_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const std::string text, read_text(o.file, file_bytes_max));
    ATOLL_ASSIGN(const config_file from, parse_config_file(text, o.file));
    ATOLL_ASSIGN(const json::value known, config_now(at));
    for (const auto& [name, where] : from.where) {
      const auto is_known = check_name(known, name);
      if (is_known.has_error()) return wrong(where + ": " + is_known.error().message());
    }
    auto config = at.ask("PUT", path, json::serialize(from.values));
    if (config.has_value()) return show(o.at, *config);
    // A refusal begins with the name of the field.
    const std::string why = config.error().message();
    for (const auto& [name, where] : from.where) {
      const std::size_t found = why.find(name + ": ");
      if (found != std::string::npos && config.error().code() == errc::invalid_argument)
        return wrong(where + ": " + why.substr(found));
    }
    return config.error();
  });
}

result<int> run_log_level(const log_level_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    const std::string level_path = "/api/v1/log-level";
    const bool is_change = !o.level.empty();
    ATOLL_ASSIGN(const json::value now,
                 is_change
                     ? at.ask("PUT", level_path, json::serialize(json::object{{"level", o.level}}))
                     : at.ask("GET", level_path));
    return o.at.as_json ? print(now) : print(text_at(now, "level") + "\n");
  });
}

}  // namespace atl::ops
