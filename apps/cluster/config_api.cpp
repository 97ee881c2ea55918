#include "apps/cluster/config_api.hpp"

#include "apps/cluster/api_fields.hpp"
#include "apps/cluster/log_api.hpp"
#include "transport/tls/join_token.hpp"

#include <boost/json.hpp>

#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;
using cluster::tuned_settings;

constexpr std::size_t word_bytes_max = 16;
constexpr std::size_t tag_digits = 16;

struct change {
  std::optional<cluster::balance_policy> policy;
  std::optional<log_level> level;
  tuned_settings tuned;
};

json::object config_json(const cluster::control& on) {
  const auto& s = on.settings();
  return {{"expert_policy", cluster::to_string(on.policy())},
          {"moved_experts_max", s.moves_max},
          {"drain_deadline_s", s.drain_deadline / std::chrono::seconds{1}},
          {"log_level", log_level_now()}};
}

std::string tag_of(const json::object& config) {
  const std::string digest = transport::tls::hash_secret(json::serialize(config));
  return "\"" + digest.substr(0, tag_digits) + "\"";
}

api_reply config_reply(const cluster::control& on) {
  json::object config = config_json(on);
  const std::string tag = tag_of(config);
  return {200, std::move(config), {{"etag", tag}}};
}

result<change> read_change(const json::object& body) {
  change c;
  ATOLL_ASSIGN(const std::string policy, text_field(body, "expert_policy", word_bytes_max));
  c.policy = cluster::policy_of(policy);
  if (!policy.empty() && !c.policy)
    return not_among("expert_policy", "off, advise or auto", policy);
  ATOLL_ASSIGN(const std::string level, text_field(body, "log_level", word_bytes_max));
  if (!level.empty()) {
    ATOLL_ASSIGN(c.level, log_level_of("log_level", level));
  }
  const auto most = static_cast<std::int64_t>(tuned_settings::moved_experts_most);
  ATOLL_ASSIGN(const auto moved, integer_field(body, "moved_experts_max", 0, most));
  if (moved) c.tuned.moved_experts_max = static_cast<std::uint64_t>(*moved);
  ATOLL_ASSIGN(c.tuned.drain_deadline_s,
               integer_field(body, "drain_deadline_s", 0, tuned_settings::drain_deadline_most_s));
  return c;
}

}  // namespace

result<question> get_config(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  return question{
      [](cluster::control& s, time_point_ns) -> result<api_reply> { return config_reply(s); }};
}

result<question> set_config(const call& c, const api_backend&) {
  ATOLL_TRY(read_query(c.request.query, {}));
  ATOLL_ASSIGN(const json::object body,
               read_body(c.request.body,
                         {"expert_policy", "moved_experts_max", "drain_deadline_s", "log_level"}));
  ATOLL_ASSIGN(const change wanted, read_change(body));
  return question{[wanted, match = std::string{c.request.header_value("if-match")}](
                      cluster::control& s, time_point_ns now) -> result<api_reply> {
    if (!match.empty() && !names_tag(match, tag_of(config_json(s))))
      return error{errc::stale_epoch,
                   "the settings are others by now than those of " + match +
                       "; look at them again"};
    if (wanted.policy) s.set_policy(*wanted.policy, now);
    s.tune(wanted.tuned, now);
    if (wanted.level) set_log_level(*wanted.level);
    return config_reply(s);
  }};
}

}  // namespace atl::ops
