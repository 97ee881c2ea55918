#include "apps/cluster/views.hpp"

#include "apps/cluster/roles.hpp"
#include "runtime/base/log.hpp"

#include <algorithm>
#include <cmath>

namespace atl::ops {
namespace {

namespace json = boost::json;
using cluster::node_state;

json::array roles_of(std::uint32_t bits) {
  json::array all;
  for (const auto& name : role_names(bits)) all.emplace_back(name);
  return all;
}

json::value time_or_null(std::int64_t unix_ms) {
  return unix_ms == 0 ? json::value(nullptr) : json::value(rfc3339(unix_ms));
}

/// Whole rows/s.
json::value speed_or_null(float speed) {
  if (!(speed > 0)) return nullptr;
  return std::max<std::int64_t>(1, std::llround(speed));
}

std::string count_text(std::size_t n, const std::string& what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

}  // namespace

std::string what_is_wrong(const cluster::cluster_view& v) {
  for (const auto& n : v.nodes) {
    const bool is_away =
        (n.state == node_state::absent && !n.is_drained) || n.state == node_state::suspect;
    if (is_away)
      return "node " + std::to_string(n.node.value) + " (" + n.name + ") is " +
             std::string{cluster::to_string(n.state)};
  }
  if (!v.is_ready) return v.waiting_for.empty() ? "there is no placement yet" : v.waiting_for;
  const auto& p = v.placement;
  if (p.without_copy > 0) return count_text(p.without_copy, "expert") + " without a copy";
  if (p.unplaceable > 0) return "no memory for " + count_text(p.unplaceable, "expert");
  if (p.short_of > 0)
    return count_text(p.short_of, "expert") + " with fewer copies than " +
           std::to_string(v.copies_wanted);
  // A plan that is applied loads copies besides those that are needed.
  const bool is_whole = p.copies_least >= v.copies_wanted && v.is_balancing;
  if (p.loads_open + p.loads_left > 0 && !is_whole)
    return count_text(std::max(p.loads_open, p.loads_left), "copy") + " to be loaded";
  return {};
}

json::object to_json(const cluster::node_view& n) {
  return {{"id", n.node.value},
          {"name", n.name},
          {"state", cluster::to_string(n.state)},
          {"note", n.note},
          {"role", roles_text(n.roles)},
          {"roles", roles_of(n.roles)},
          {"life", n.life.value},
          {"up_s", n.since_ms / 1000},
          {"version", n.version},
          {"address", n.address},
          {"groups", n.groups},
          {"shards", n.shards},
          {"domain", n.domain},
          {"device", n.device},
          {"instruction_set", n.instruction_set},
          {"memory_bytes", n.memory_bytes},
          {"speed", speed_or_null(n.speed)},
          {"speed_now", speed_or_null(n.speed_now)},
          {"busy_ms", n.busy_ms},
          {"expert_bytes_max", n.expert_bytes_max},
          {"expert_bytes", n.expert_bytes},
          {"experts", n.copies.held},
          {"experts_placed", n.copies.mapped},
          {"experts_leaving", n.copies.leaving},
          {"requests", n.requests},
          {"sequences", n.sequences},
          {"pages_used", n.pages_used},
          {"rows_in_flight", n.rows_in_flight},
          {"epoch", n.used.value}};
}

json::object load_json(const std::vector<std::vector<std::uint64_t>>& rows) {
  json::array layers;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].empty()) continue;
    layers.push_back({{"layer", i}, {"experts", json::array(rows[i].begin(), rows[i].end())}});
  }
  return {{"layers", std::move(layers)}};
}

json::object to_json(const cluster::operation& o) {
  const auto number_or_null = [](std::optional<std::uint32_t> n) {
    return n && *n != 0 ? json::value(*n) : json::value(nullptr);
  };
  json::object all{{"id", o.id},
                   {"kind", cluster::to_string(o.kind)},
                   {"subject", cluster::subject_of(o)},
                   {"state", cluster::to_string(o.state)},
                   {"percent", o.percent},
                   {"node", number_or_null(o.node.value)},
                   {"layer", nullptr},
                   {"expert", nullptr},
                   {"from", nullptr},
                   {"copies", nullptr},
                   {"force", o.is_forced},
                   {"created", time_or_null(o.created_unix_ms)},
                   {"ended", time_or_null(o.ended_unix_ms)},
                   {"deadline", time_or_null(o.deadline_unix_ms)},
                   {"detail", o.detail}};
  if (!o.change) return all;
  all["layer"] = o.change->layer.value;
  all["expert"] = o.change->expert.value;
  all["copies"] = number_or_null(o.change->copies);
  if (o.change->from) all["from"] = o.change->from->value;
  return all;
}

json::object to_json(const cluster::event& e) {
  return {{"revision", e.revision},
          {"time", time_or_null(e.unix_ms)},
          {"kind", e.kind},
          {"node", e.node.value == 0 ? json::value(nullptr) : json::value(e.node.value)},
          {"text", e.text}};
}

json::object to_json(const cluster::join_token& t, std::int64_t now_unix_ms) {
  const char* const state = t.is_revoked                       ? "revoked"
                            : t.expires_unix_ms <= now_unix_ms ? "expired"
                            : t.uses_left == 0                 ? "used"
                                                               : "usable";
  return {{"id", t.id},
          {"state", state},
          {"roles", roles_of(t.roles)},
          {"uses_left", t.uses_left},
          {"created", time_or_null(t.created_unix_ms)},
          {"expires", time_or_null(t.expires_unix_ms)}};
}

json::object to_json(const cluster::certificate_record& c) {
  return {{"serial", c.serial},
          {"node", c.node.value},
          {"state", c.revoked_unix_ms == 0 ? "valid" : "revoked"},
          {"issued", time_or_null(c.issued_unix_ms)},
          {"not_after", time_or_null(c.not_after_unix_ms)}};
}

json::object to_json(const cluster::cluster_view& v, const std::string& name) {
  json::array nodes, operations;
  for (const auto& n : v.nodes) nodes.push_back(to_json(n));
  for (const auto& o : v.operations) operations.push_back(to_json(o));
  const auto& p = v.placement;
  const std::string wrong = what_is_wrong(v);
  return {{"cluster", v.cluster},
          {"name", name},
          {"state", wrong.empty() ? "healthy" : "degraded"},
          {"reason", wrong},
          {"ready", v.is_ready},
          {"waiting_for", v.waiting_for},
          {"revision", v.revision},
          {"members_version", v.members_version},
          {"copies_wanted", v.copies_wanted},
          {"placement",
           {{"epoch", p.epoch.value},
            {"experts", p.experts},
            {"copies_least", p.copies_least},
            {"without_copy", p.without_copy},
            {"short_of_copies", p.short_of},
            {"unplaceable", p.unplaceable},
            {"loads_open", p.loads_open},
            {"loads_left", p.loads_left}}},
          {"nodes", std::move(nodes)},
          {"operations", std::move(operations)}};
}

}  // namespace atl::ops
