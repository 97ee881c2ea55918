#include "cluster/plan_records.hpp"

#include "cluster/record_fields.hpp"
#include "cluster/records.hpp"

#include <algorithm>
#include <charconv>

namespace atl::cluster {

namespace {

namespace json = boost::json;
using record_fields::read;

constexpr std::array<std::string_view, 3> policy_names{"off", "advise", "auto"};
constexpr std::array<std::string_view, 6> state_names{
    "advised", "applying", "done", "superseded", "cancelled", "failed"};

/// The share of a copy that is alone (weight_of_share); not written down.
constexpr std::uint32_t share_alone = 65536;

/// "3", "3:40000,7:25536"; one expert after the other, with ";" between them.
std::string text_of(const experts::replica_lists& lists) {
  std::string text;
  for (std::size_t i = 0; i < lists.size(); ++i) {
    if (i > 0) text += ';';
    bool is_first = true;
    for (const experts::replica& r : lists[i]) {
      if (!std::exchange(is_first, false)) text += ',';
      text += std::to_string(r.group.value);
      if (r.share != share_alone) text += ":" + std::to_string(r.share);
    }
  }
  return text;
}

/// The number that begins the text, which then begins behind it.
std::optional<std::uint32_t> take_number(std::string_view& text) {
  std::uint32_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

bool take(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<experts::replica> take_copy(std::string_view& text) {
  const auto group = take_number(text);
  if (!group) return std::nullopt;
  experts::replica r{.group = group_id{*group}, .share = share_alone};
  if (!take(text, ':')) return r;
  const auto share = take_number(text);
  if (!share || *share == 0) return std::nullopt;
  r.share = *share;
  return r;
}

std::optional<experts::replica_lists> lists_of(std::string_view text) {
  experts::replica_lists lists(1);
  while (!text.empty()) {
    if (take(text, ';')) {
      lists.emplace_back();
      continue;
    }
    auto& list = lists.back();
    if (!list.empty() && !take(text, ',')) return std::nullopt;
    const auto copy = take_copy(text);
    if (!copy) return std::nullopt;
    if (std::any_of(
            list.begin(), list.end(), [&](const auto& r) { return r.group == copy->group; }))
      return std::nullopt;
    list.push_back(*copy);
  }
  return lists;
}

json::array to_json(const plan_step& s) {
  return {s.is_made, s.layer.value, s.expert.value, s.node.value, s.percent, s.reason};
}

std::optional<plan_step> step_of(const json::value& v) {
  const json::array* a = v.if_array();
  if (a == nullptr || a->size() != 6 || !(*a)[0].is_bool() || !(*a)[5].is_string())
    return std::nullopt;
  const auto number = [&](std::size_t at) {
    boost::system::error_code failed;
    const auto n = (*a)[at].to_number<std::uint32_t>(failed);
    return failed ? 0 : n;
  };
  return plan_step{.is_made = (*a)[0].get_bool(),
                   .layer = layer_index{number(1)},
                   .expert = expert_index{number(2)},
                   .node = node_id{number(3)},
                   .percent = number(4),
                   .reason = std::string{(*a)[5].get_string()}};
}

void put(json::object& to, const char* key, const std::optional<double>& value) {
  if (value) to[key] = *value;
}

}  // namespace

std::string_view to_string(balance_policy policy) noexcept {
  return policy_names[static_cast<std::size_t>(policy)];
}

std::optional<balance_policy> policy_of(std::string_view name) noexcept {
  for (std::size_t i = 0; i < policy_names.size(); ++i)
    if (policy_names[i] == name) return static_cast<balance_policy>(i);
  return std::nullopt;
}

std::string_view to_string(plan_state state) noexcept {
  return state_names[static_cast<std::size_t>(state)];
}

std::string to_record(balance_policy policy) {
  return json::serialize(json::object{{"kind", "policy"}, {"policy", to_string(policy)}});
}

std::string to_record(const plan_record& p) {
  json::object o{{"kind", "plan"},
                 {"id", p.id},
                 {"state", to_string(p.state)},
                 {"policys", p.is_policys},
                 {"reason", p.reason},
                 {"created", p.created_unix_ms},
                 {"applied", p.applied_unix_ms},
                 {"ended", p.ended_unix_ms},
                 {"epoch", p.epoch},
                 {"bytes", p.bytes},
                 {"moves", p.moves},
                 {"drops", p.drops},
                 {"bytes_moved", p.bytes_moved},
                 {"took_ms", p.took_ms},
                 {"detail", p.detail}};
  json::array keys;
  for (const request_key& k : p.asked_by) keys.push_back(json::array{k.key, k.digest});
  if (!keys.empty()) o["keys"] = std::move(keys);
  put(o, "hottest_before", p.before.hottest);
  put(o, "hottest_after", p.after.hottest);
  put(o, "finish_before", p.before.finish);
  put(o, "finish_after", p.after.finish);
  put(o, "measured", p.measured_hottest);
  json::array steps, sentences;
  for (const plan_step& s : p.steps) steps.push_back(to_json(s));
  for (const std::string& s : p.sentences) sentences.emplace_back(s);
  o["steps"] = std::move(steps);
  o["sentences"] = std::move(sentences);
  return json::serialize(o);
}

std::string forget_plan(std::uint64_t id) {
  return json::serialize(json::object{{"kind", "forgotten"}, {"plan", id}});
}

std::string to_record(const std::optional<placement_goal>& goal, bool is_before) {
  json::object o{{"kind", "goal"}, {"before", is_before}};
  if (goal) {
    json::array known;
    for (const group_id g : goal->known) known.emplace_back(g.value);
    o["known"] = std::move(known);
    o["plan"] = goal->plan;
    o["copies"] = text_of(goal->copies);
  }
  return json::serialize(o);
}

namespace record_fields {

void apply_policy(durable_state& to, const json::object& o) {
  std::string name;
  read(o, "policy", name);
  to.policy = policy_of(name);
}

void apply_plan(durable_state& to, const json::object& o) {
  plan_record p;
  read(o, "id", p.id);
  read(o, "state", state_names, p.state);
  read(o, "policys", p.is_policys);
  read(o, "reason", p.reason);
  read(o, "created", p.created_unix_ms);
  read(o, "applied", p.applied_unix_ms);
  read(o, "ended", p.ended_unix_ms);
  read(o, "epoch", p.epoch);
  read(o, "bytes", p.bytes);
  read(o, "moves", p.moves);
  read(o, "drops", p.drops);
  read(o, "bytes_moved", p.bytes_moved);
  read(o, "took_ms", p.took_ms);
  read(o, "detail", p.detail);
  read(o, "hottest_before", p.before.hottest);
  read(o, "hottest_after", p.after.hottest);
  read(o, "finish_before", p.before.finish);
  read(o, "finish_after", p.after.finish);
  read(o, "measured", p.measured_hottest);
  const json::value* steps = o.if_contains("steps");
  if (steps != nullptr && steps->is_array())
    for (const json::value& v : steps->get_array())
      if (auto s = step_of(v)) p.steps.push_back(std::move(*s));
  const json::value* sentences = o.if_contains("sentences");
  if (sentences != nullptr && sentences->is_array())
    for (const json::value& v : sentences->get_array())
      if (v.is_string()) p.sentences.emplace_back(v.get_string());
  const json::value* keys = o.if_contains("keys");
  if (keys != nullptr && keys->is_array())
    for (const json::value& k : keys->get_array())
      if (k.is_array() && k.get_array().size() == 2 && k.at(0).is_string() && k.at(1).is_string())
        p.asked_by.push_back(
            {std::string{k.at(0).get_string()}, std::string{k.at(1).get_string()}});
  to.plans[p.id] = std::move(p);
}

void apply_goal(durable_state& to, const json::object& o) {
  bool is_before = false;
  read(o, "before", is_before);
  std::optional<placement_goal>& goal = is_before ? to.goal_before : to.goal;
  goal.reset();
  const json::value* copies = o.if_contains("copies");
  if (copies == nullptr || !copies->is_string()) return;
  auto lists = lists_of(copies->get_string());
  if (!lists) return;
  placement_goal made{.copies = std::move(*lists), .known = {}};
  read(o, "plan", made.plan);
  const json::value* known = o.if_contains("known");
  if (known != nullptr && known->is_array())
    for (const json::value& g : known->get_array()) {
      boost::system::error_code failed;
      const auto number = g.to_number<std::uint32_t>(failed);
      if (!failed) made.known.push_back(group_id{number});
    }
  goal = std::move(made);
}

}  // namespace record_fields
}  // namespace atl::cluster
