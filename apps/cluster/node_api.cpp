#include "apps/cluster/node_api.hpp"

#include "apps/cluster/api_fields.hpp"
#include "apps/cluster/views.hpp"

#include <boost/json.hpp>

#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

constexpr std::int64_t deadline_most_s = 86'400;
constexpr std::chrono::milliseconds farewell{1000};

result<node_id> node_of(const call& c) {
  ATOLL_ASSIGN(const auto number, number_of<std::uint32_t>("node", c.id));
  return node_id{number};
}

}  // namespace

result<question> get_cluster(const call& c, const api_backend& on) {
  ATOLL_TRY(no_more(c));
  return question{[name = on.name, trouble = trouble_of(on)](
                      cluster::control& s, time_point_ns now) -> result<api_reply> {
    json::object shown = to_json(s.view(now), name);
    if (trouble && shown.at("reason").as_string().empty()) {
      shown["state"] = "degraded";
      shown["reason"] = "changes are refused: " + trouble->message();
    }
    return api_reply{200, std::move(shown)};
  }};
}

result<question> list_nodes(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  return question{[](cluster::control& s, time_point_ns now) -> result<api_reply> {
    const auto v = s.view(now);
    json::array items;
    for (const auto& n : v.nodes) items.push_back(to_json(n));
    return api_reply{200, json::object{{"items", std::move(items)}, {"revision", v.revision}}};
  }};
}

result<question> get_node(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  ATOLL_ASSIGN(const node_id node, node_of(c));
  return question{[node](cluster::control& s, time_point_ns now) -> result<api_reply> {
    ATOLL_ASSIGN(const auto v, s.view(node, now));
    return api_reply{200, to_json(v)};
  }};
}

result<question> cordon(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  ATOLL_ASSIGN(const node_id node, node_of(c));
  return question{[node](cluster::control& s, time_point_ns now) -> result<api_reply> {
    return operation_reply(s, s.cordon(node, now));
  }};
}

result<question> uncordon(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  ATOLL_ASSIGN(const node_id node, node_of(c));
  return question{[node](cluster::control& s, time_point_ns now) -> result<api_reply> {
    return operation_reply(s, s.uncordon(node, now));
  }};
}

result<question> drain(const call& c, const api_backend&) {
  ATOLL_TRY(read_query(c.request.query, {}));
  ATOLL_ASSIGN(const node_id node, node_of(c));
  ATOLL_ASSIGN(const auto body, read_body(c.request.body, {"deadline_s", "force"}));
  ATOLL_ASSIGN(const auto deadline_s, integer_field(body, "deadline_s", 0, deadline_most_s));
  ATOLL_ASSIGN(const bool force, flag_field(body, "force"));
  std::optional<duration_ns> deadline;
  if (deadline_s) deadline = std::chrono::seconds{*deadline_s};
  return question{
      [node, deadline, force](cluster::control& s, time_point_ns now) -> result<api_reply> {
        return operation_reply(s, s.drain(node, deadline, force, now));
      }};
}

result<question> cancel_drain(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  ATOLL_ASSIGN(const node_id node, node_of(c));
  return question{[node](cluster::control& s, time_point_ns now) -> result<api_reply> {
    ATOLL_TRY(s.cancel_drain(node, now));
    return api_reply{200, json::object{}};
  }};
}

result<question> remove_node(const call& c, const api_backend& on) {
  ATOLL_TRY(read_body(c.request.body, {}));
  ATOLL_ASSIGN(const auto parameters, read_query(c.request.query, {"force"}));
  bool force = false;
  for (const auto& [name, value] : parameters) {
    if (value != "true" && value != "false")
      return error{errc::invalid_argument, "force: expected true or false"};
    force = value == "true";
  }
  ATOLL_ASSIGN(const node_id node, node_of(c));
  return question{[node, force, revoked = on.revoked, after = on.after](
                      cluster::control& s, time_point_ns now) -> result<api_reply> {
    auto reply = operation_reply(s, s.remove(node, force, now));
    // Its connections end a little later: it is told first.
    if (reply.has_value() && revoked) after(farewell, [revoked, node] { revoked({}, node); });
    return reply;
  }};
}

result<question> get_load(const call& c, const api_backend& on) {
  ATOLL_TRY(no_more(c));
  const auto rows = on.expert_rows ? on.expert_rows() : std::vector<std::vector<std::uint64_t>>{};
  return question{[rows](cluster::control&, time_point_ns) -> result<api_reply> {
    return api_reply{200, load_json(rows)};
  }};
}

}  // namespace atl::ops
