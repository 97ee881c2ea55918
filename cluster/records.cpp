#include "cluster/records.hpp"

#include "cluster/record_fields.hpp"

#include <array>
#include <utility>

namespace atl::cluster {

namespace {

namespace json = boost::json;
using record_fields::read;

constexpr std::array<std::string_view, 10> kind_names{
    "cordon", "uncordon", "drain", "leave", "remove", "move", "replicate", "drop", "pin", "unpin"};
constexpr std::array<std::string_view, 4> state_names{"running", "done", "failed", "cancelled"};

void apply_marks(durable_state& to, const json::object& o) {
  marks& m = to.counters;
  read(o, "node_next", m.node_next);
  read(o, "group_next", m.group_next);
  read(o, "shard_next", m.shard_next);
  read(o, "operation_next", m.operation_next);
  read(o, "epochs", m.epochs_reserved);
  read(o, "versions", m.versions_reserved);
  read(o, "revisions", m.revisions_reserved);
  read(o, "plan_next", m.plan_next);
  read(o, "placed", m.has_placed);
}

void apply_node(durable_state& to, const json::object& o) {
  node_record n;
  read(o, "node", n.node);
  read(o, "name", n.name);
  read(o, "roles", n.roles);
  read(o, "groups", n.groups);
  read(o, "group_first", n.group_first);
  read(o, "shards", n.shards);
  read(o, "shard_first", n.shard_first);
  read(o, "life", n.life);
  read(o, "life_over", n.life_over);
  read(o, "cordoned", n.is_cordoned);
  read(o, "drained", n.is_drained);
  read(o, "removed", n.is_removed);
  to.nodes[n.node] = std::move(n);
}

void apply_token(durable_state& to, const json::object& o) {
  join_token t;
  read(o, "id", t.id);
  read(o, "hash", t.secret_hash);
  read(o, "roles", t.roles);
  read(o, "uses_left", t.uses_left);
  read(o, "created", t.created_unix_ms);
  read(o, "expires", t.expires_unix_ms);
  read(o, "revoked", t.is_revoked);
  to.tokens[t.id] = std::move(t);
}

expert_rule rule_of(const json::object& o) {
  expert_rule r;
  std::int64_t copies = -1;
  read(o, "copies", copies);
  if (copies >= 0) r.copies = static_cast<std::uint32_t>(copies);
  const json::value* pins = o.if_contains("pins");
  if (pins == nullptr || !pins->is_array()) return r;
  for (const json::value& pin : pins->get_array()) {
    boost::system::error_code failed;
    const auto node = pin.to_number<std::uint32_t>(failed);
    if (!failed) r.pins.push_back(node_id{node});
  }
  return r;
}

json::object to_object(const expert_rule& r) {
  json::object o;
  if (r.copies) o["copies"] = *r.copies;
  json::array pins;
  for (const node_id node : r.pins) pins.emplace_back(node.value);
  o["pins"] = std::move(pins);
  return o;
}

void apply_rule(durable_state& to, const json::object& o) {
  expert_key of;
  read(o, "layer", of.first);
  read(o, "expert", of.second);
  expert_rule r = rule_of(o);
  to.rules.erase(of);
  if (!r.is_empty()) to.rules.emplace(of, std::move(r));
}

std::optional<expert_change> change_of(const json::object& o) {
  const json::value* before = o.if_contains("before");
  if (before == nullptr || !before->is_object()) return std::nullopt;
  expert_change c;
  read(o, "layer", c.layer);
  read(o, "expert", c.expert);
  std::uint32_t from = 0;
  read(o, "from", from);
  if (from != 0) c.from = node_id{from};
  read(o, "copies", c.copies);
  c.before = rule_of(before->get_object());
  return c;
}

void apply_operation(durable_state& to, const json::object& o) {
  operation made;
  read(o, "id", made.id);
  read(o, "operation", kind_names, made.kind);
  read(o, "state", state_names, made.state);
  read(o, "node", made.node);
  read(o, "forced", made.is_forced);
  read(o, "created", made.created_unix_ms);
  read(o, "ended", made.ended_unix_ms);
  read(o, "deadline", made.deadline_unix_ms);
  read(o, "detail", made.detail);
  read(o, "key", made.idempotency_key);
  read(o, "digest", made.request_digest);
  made.change = change_of(o);
  to.operations[made.id] = std::move(made);
}

void apply_certificate(durable_state& to, const json::object& o) {
  certificate_record c;
  read(o, "serial", c.serial);
  read(o, "node", c.node);
  read(o, "issued", c.issued_unix_ms);
  read(o, "not_after", c.not_after_unix_ms);
  read(o, "revoked", c.revoked_unix_ms);
  to.certificates[c.serial] = std::move(c);
}

void apply_forgotten(durable_state& to, const json::object& o) {
  std::uint64_t operation_id = 0;
  std::string token;
  std::uint64_t plan_id = 0;
  read(o, "operation", operation_id);
  read(o, "token", token);
  read(o, "plan", plan_id);
  to.plans.erase(plan_id);
  to.operations.erase(operation_id);
  to.tokens.erase(token);
}

}  // namespace

std::string_view to_string(operation_kind kind) noexcept {
  return kind_names[static_cast<std::size_t>(kind)];
}

std::string_view to_string(operation_state state) noexcept {
  return state_names[static_cast<std::size_t>(state)];
}

std::string subject_of(const operation& o) {
  std::string text{to_string(o.kind)};
  if (!o.change) return text + " of node " + std::to_string(o.node.value);
  text += " of layer " + std::to_string(o.change->layer.value) + " expert " +
          std::to_string(o.change->expert.value);
  if (o.change->from) text += " from node " + std::to_string(o.change->from->value);
  if (o.node != node_id{})
    text += (o.kind == operation_kind::unpin ? " from node " : " to node ") +
            std::to_string(o.node.value);
  if (o.kind == operation_kind::replicate)
    text +=
        " to " + std::to_string(o.change->copies) + (o.change->copies == 1 ? " copy" : " copies");
  return text;
}

std::string to_record(const marks& m) {
  return json::serialize(json::object{{"kind", "marks"},
                                      {"node_next", m.node_next},
                                      {"group_next", m.group_next},
                                      {"shard_next", m.shard_next},
                                      {"operation_next", m.operation_next},
                                      {"epochs", m.epochs_reserved},
                                      {"versions", m.versions_reserved},
                                      {"revisions", m.revisions_reserved},
                                      {"plan_next", m.plan_next},
                                      {"placed", m.has_placed}});
}

std::string to_record(const node_record& n) {
  return json::serialize(json::object{{"kind", "node"},
                                      {"node", n.node.value},
                                      {"name", n.name},
                                      {"roles", n.roles},
                                      {"groups", n.groups},
                                      {"group_first", n.group_first},
                                      {"shards", n.shards},
                                      {"shard_first", n.shard_first},
                                      {"life", n.life.value},
                                      {"life_over", n.life_over.value},
                                      {"cordoned", n.is_cordoned},
                                      {"drained", n.is_drained},
                                      {"removed", n.is_removed}});
}

std::string to_record(const join_token& t) {
  return json::serialize(json::object{{"kind", "token"},
                                      {"id", t.id},
                                      {"hash", t.secret_hash},
                                      {"roles", t.roles},
                                      {"uses_left", t.uses_left},
                                      {"created", t.created_unix_ms},
                                      {"expires", t.expires_unix_ms},
                                      {"revoked", t.is_revoked}});
}

std::string to_record(const operation& o) {
  json::object all{{"kind", "operation"},
                   {"id", o.id},
                   {"operation", to_string(o.kind)},
                   {"state", to_string(o.state)},
                   {"node", o.node.value},
                   {"forced", o.is_forced},
                   {"created", o.created_unix_ms},
                   {"ended", o.ended_unix_ms},
                   {"deadline", o.deadline_unix_ms},
                   {"detail", o.detail}};
  if (!o.idempotency_key.empty()) {
    all["key"] = o.idempotency_key;
    all["digest"] = o.request_digest;
  }
  if (o.change) {
    all["layer"] = o.change->layer.value;
    all["expert"] = o.change->expert.value;
    all["from"] = o.change->from.value_or(node_id{}).value;
    all["copies"] = o.change->copies;
    all["before"] = to_object(o.change->before);
  }
  return json::serialize(all);
}

std::string to_record(const expert_key& of, const expert_rule& r) {
  json::object o = to_object(r);
  o["kind"] = "rule";
  o["layer"] = of.first.value;
  o["expert"] = of.second.value;
  return json::serialize(o);
}

std::string to_record(const certificate_record& c) {
  return json::serialize(json::object{{"kind", "certificate"},
                                      {"serial", c.serial},
                                      {"node", c.node.value},
                                      {"issued", c.issued_unix_ms},
                                      {"not_after", c.not_after_unix_ms},
                                      {"revoked", c.revoked_unix_ms}});
}

std::string forget_operation(std::uint64_t id) {
  return json::serialize(json::object{{"kind", "forgotten"}, {"operation", id}});
}

std::string forget_token(const std::string& id) {
  return json::serialize(json::object{{"kind", "forgotten"}, {"token", id}});
}

result<void> apply_record(durable_state& to, std::string_view record) {
  boost::system::error_code failed;
  const json::value parsed = json::parse(json::string_view{record.data(), record.size()}, failed);
  if (failed || !parsed.is_object())
    return error{errc::io, "a record of the coordinator's journal is no JSON object"};
  const json::object& o = parsed.get_object();
  std::string kind;
  read(o, "kind", kind);
  if (kind == "marks") apply_marks(to, o);
  if (kind == "node") apply_node(to, o);
  if (kind == "token") apply_token(to, o);
  if (kind == "operation") apply_operation(to, o);
  if (kind == "certificate") apply_certificate(to, o);
  if (kind == "rule") apply_rule(to, o);
  if (kind == "forgotten") apply_forgotten(to, o);
  if (kind == "policy") record_fields::apply_policy(to, o);
  if (kind == "settings") record_fields::apply_settings(to, o);
  if (kind == "plan") record_fields::apply_plan(to, o);
  if (kind == "goal") record_fields::apply_goal(to, o);
  return {};
}

std::vector<std::string> snapshot(const durable_state& of) {
  std::vector<std::string> records{to_record(of.counters)};
  for (const auto& [id, n] : of.nodes) records.push_back(to_record(n));
  for (const auto& [id, t] : of.tokens) records.push_back(to_record(t));
  for (const auto& [id, o] : of.operations) records.push_back(to_record(o));
  for (const auto& [serial, c] : of.certificates) records.push_back(to_record(c));
  for (const auto& [key, r] : of.rules) records.push_back(to_record(key, r));
  if (of.policy) records.push_back(to_record(*of.policy));
  if (!of.tuned.is_empty()) records.push_back(to_record(of.tuned));
  for (const auto& [id, p] : of.plans) records.push_back(to_record(p));
  if (of.goal) records.push_back(to_record(of.goal, false));
  if (of.goal_before) records.push_back(to_record(of.goal_before, true));
  return records;
}

}  // namespace atl::cluster
