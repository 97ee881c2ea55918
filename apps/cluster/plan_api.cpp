#include "apps/cluster/plan_api.hpp"

#include "apps/cluster/api_fields.hpp"

#include <boost/json.hpp>

#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;
using cluster::plan_record;
using cluster::plan_state;

json::value number_or_null(const std::optional<double>& n) {
  return n ? json::value(*n) : json::value(nullptr);
}

json::object figures_json(const cluster::plan_balance_figures& f) {
  return {{"hottest_over_mean", number_or_null(f.hottest)},
          {"finishing_time", number_or_null(f.finish)}};
}

json::object to_json(const cluster::plan_step& s) {
  return {{"action", s.is_made ? "copy" : "drop"},
          {"expert", std::to_string(s.layer.value) + ":" + std::to_string(s.expert.value)},
          {"node", s.node.value},
          {"percent", s.percent},
          {"reason", s.reason}};
}

json::object to_json(const cluster::control& on, const plan_record& p) {
  json::array steps, why;
  for (const auto& s : p.steps) steps.push_back(to_json(s));
  for (const auto& s : p.sentences) why.emplace_back(s);
  return {{"id", p.id},
          {"state", cluster::to_string(p.state)},
          {"by", p.is_policys ? "policy" : "operator"},
          {"reason", p.reason},
          {"created_unix_ms", p.created_unix_ms},
          {"applied_unix_ms", p.applied_unix_ms},
          {"ended_unix_ms", p.ended_unix_ms},
          {"epoch", p.epoch},
          {"percent", on.percent_of(p)},
          {"copies_made", p.moves},
          {"copies_dropped", p.drops},
          {"bytes", p.bytes},
          {"predicted", {{"before", figures_json(p.before)}, {"after", figures_json(p.after)}}},
          {"measured",
           {{"hottest_over_mean", number_or_null(p.measured_hottest)},
            {"bytes", p.bytes_moved},
            {"took_ms", p.took_ms}}},
          {"steps", std::move(steps)},
          {"explanation", std::move(why)},
          {"detail", p.detail}};
}

json::object policy_json(const cluster::control& on) {
  return {{"policy", cluster::to_string(on.policy())}};
}

}  // namespace

result<api_reply> plan_reply(const cluster::control& on, std::uint64_t id) {
  const auto at = on.kept().plans.find(id);
  if (at == on.kept().plans.end())
    return error{errc::not_found, "there is no plan " + std::to_string(id)};
  api_reply reply{at->second.state == plan_state::applying ? 202 : 200,
                  to_json(on, at->second),
                  {{"location", "/api/v1/plans/" + std::to_string(id)}}};
  reply.made_plan = id;
  return reply;
}

result<api_reply> made_reply(cluster::control& on, std::uint64_t request) {
  ATOLL_ASSIGN(const std::optional<std::uint64_t> id, on.plan_requests().plan_of(request));
  if (id) return plan_reply(on, *id);
  api_reply later;
  later.asked_plan = request;
  return later;
}

result<question> rebalance(const call& c, const api_backend&) {
  ATOLL_TRY(read_query(c.request.query, {}));
  ATOLL_ASSIGN(const json::object body, read_body(c.request.body, {"dry_run"}));
  ATOLL_ASSIGN(const bool is_dry, flag_field(body, "dry_run"));
  return if_matched(c, [is_dry](cluster::control& s, time_point_ns now) -> result<api_reply> {
    ATOLL_ASSIGN(const std::uint64_t request, s.rebalance(is_dry, now));
    return made_reply(s, request);
  });
}

result<question> apply_plan(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  ATOLL_ASSIGN(const auto id, number_of<std::uint64_t>("plan", c.id));
  return if_matched(c, [id](cluster::control& s, time_point_ns now) -> result<api_reply> {
    ATOLL_TRY(s.apply_plan(id, now));
    return plan_reply(s, id);
  });
}

result<question> list_plans(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  return question{[](cluster::control& s, time_point_ns) -> result<api_reply> {
    json::array items;
    for (const auto& [id, p] : s.kept().plans) items.push_back(to_json(s, p));
    return api_reply{200, json::object{{"items", std::move(items)}}};
  }};
}

result<question> get_plan(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  ATOLL_ASSIGN(const auto id, number_of<std::uint64_t>("plan", c.id));
  return question{[id](cluster::control& s, time_point_ns) -> result<api_reply> {
    ATOLL_ASSIGN(api_reply reply, plan_reply(s, id));
    reply.status = 200;
    return reply;
  }};
}

result<question> cancel_plan(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  ATOLL_ASSIGN(const auto id, number_of<std::uint64_t>("plan", c.id));
  return question{[id](cluster::control& s, time_point_ns now) -> result<api_reply> {
    ATOLL_TRY(s.cancel_plan(id, now));
    return plan_reply(s, id);
  }};
}

result<question> get_policy(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  return question{[](cluster::control& s, time_point_ns) -> result<api_reply> {
    return api_reply{200, policy_json(s)};
  }};
}

result<question> set_policy(const call& c, const api_backend&) {
  ATOLL_TRY(read_query(c.request.query, {}));
  ATOLL_ASSIGN(const json::object body, read_body(c.request.body, {"policy"}));
  ATOLL_ASSIGN(const std::string name, text_field(body, "policy", 16));
  const auto policy = cluster::policy_of(name);
  if (!policy) return not_among("policy", "off, advise or auto", name);
  return question{[wanted = *policy](cluster::control& s, time_point_ns now) -> result<api_reply> {
    s.set_policy(wanted, now);
    return api_reply{200, policy_json(s)};
  }};
}

}  // namespace atl::ops
