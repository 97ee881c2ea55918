#include "cluster/control.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace atl::cluster {
namespace {

/// A journal's record holds 1 MiB.
constexpr std::size_t goal_bytes_max = 900 << 10;
constexpr double whole_share = 65'536;
constexpr const char* reason_of_steps = "rule";  // an operator asked for it

error refused(const std::string& why) { return {errc::invalid_argument, why}; }

std::string named(node_id node) { return "node " + std::to_string(node.value); }

std::string named(const wanted_place& w) {
  return "layer " + std::to_string(w.layer.value) + " expert " + std::to_string(w.expert.value);
}

bool has(const experts::replica_lists::value_type& list, group_id group) {
  return std::any_of(list.begin(), list.end(), [group](const auto& r) { return r.group == group; });
}

std::uint32_t weight_of(double share, std::size_t copies) {
  const double part = share > 0 ? share : 1.0 / static_cast<double>(copies);
  return static_cast<std::uint32_t>(std::max(1.0, std::round(part * whole_share)));
}

/// Whether two lists of the same groups part the rows otherwise.
bool parts_otherwise(const experts::replica_lists::value_type& a,
                     const experts::replica_lists::value_type& b) {
  constexpr double noise = 0.001;
  const auto sum = [](const auto& list) {
    double all = 0;
    for (const auto& r : list) all += r.share;
    return all;
  };
  for (const auto& r : a)
    for (const auto& other : b)
      if (r.group == other.group && std::abs(r.share / sum(a) - other.share / sum(b)) > noise)
        return true;
  return false;
}

/// What is to be made, or with `is_made` false given up, to get from one to the other.
void add_steps(const experts::expert_shape& shape,
               const experts::replica_lists& from,
               const experts::replica_lists& to,
               bool is_made,
               const std::map<group_id, seat>& seats,
               plan_record& p) {
  for (std::size_t i = 0; i < to.size(); ++i) {
    for (const experts::replica& r : is_made ? to[i] : from[i]) {
      if (has(is_made ? from[i] : to[i], r.group)) continue;
      ++(is_made ? p.moves : p.drops);
      const auto at = seats.find(r.group);
      if (p.steps.size() == plan_record::steps_max || at == seats.end()) continue;
      const double share = std::min(100.0, 100.0 * r.share / whole_share);
      p.steps.push_back({.is_made = is_made,
                         .layer = shape.layers[i / shape.experts],
                         .expert = expert_index{static_cast<std::uint32_t>(i % shape.experts)},
                         .node = at->second.who.node,
                         .percent = is_made ? static_cast<std::uint32_t>(std::lround(share)) : 0,
                         .reason = reason_of_steps});
    }
  }
}

}  // namespace

/// Whether the expert may be there, as far as that does not depend on the others.
result<void> control::check_place(const wanted_place& w) const {
  const expert_key of{w.layer, w.expert};
  ATOLL_TRY(check_expert(of));
  for (const auto& [id, until] : changes_) {
    const expert_change& c = *kept_.operations.at(id).change;
    if (expert_key{c.layer, c.expert} == of)
      return refused("operation " + std::to_string(id) + " changes " + named(w) +
                     " already; wait for it, or cancel it");
  }
  if (w.nodes.empty())
    return refused(named(w) +
                   " would have no copy; without one every request whose tokens are routed to it "
                   "fails. Drop the last one by itself, with force");
  std::set<node_id> nodes;
  for (const auto& [node, share] : w.nodes) {
    if (!nodes.insert(node).second)
      return refused(named(w) + " is to be on " + named(node) + " twice");
    ATOLL_TRY(check_target(of, node, false));
  }
  const expert_rule rule = rule_of(of);
  for (const node_id pin : rule.pins)
    if (nodes.count(pin) == 0)
      return refused(named(w) + " is pinned to " + named(pin) + "; unpin it there first");
  if (rule.copies && *rule.copies != nodes.size())
    return refused("an operator wants " + std::to_string(*rule.copies) + " copies of " + named(w) +
                   ", not " + std::to_string(nodes.size()) + "; replicate it first");
  if (nodes.size() < settings_.copies)
    return refused(named(w) + " is to have " + std::to_string(settings_.copies) + " copies, not " +
                   std::to_string(nodes.size()) + "; replicate it first");
  return {};
}

result<std::uint64_t> control::place(const std::vector<wanted_place>& wanted, time_point_ns now) {
  if (const std::string why = what_stops_planning(); !why.empty()) return refused(why);
  if (balance_.applying)
    return refused("plan " + std::to_string(*balance_.applying) +
                   " is being applied; wait for it, or cancel it");
  const elastic_input in = facts(now);
  placement_goal goal{.copies = driver_.goal() ? driver_.goal()->copies : in.present, .known = {}};
  std::map<node_id, group_id> group_of;  // a node of a cluster has one
  for (const elastic_group& g : in.groups) {
    goal.known.push_back(g.group);
    group_of.emplace(g.node, g.group);
  }
  std::sort(goal.known.begin(), goal.known.end());
  std::set<expert_key> named_once;
  bool has_new_shares = false;
  for (const wanted_place& w : wanted) {
    ATOLL_TRY(check_place(w));
    if (!named_once.emplace(w.layer, w.expert).second) return refused(named(w) + " is named twice");
    const auto& layers = settings_.model.shape.layers;
    const auto layer = std::lower_bound(layers.begin(), layers.end(), w.layer) - layers.begin();
    auto& list = goal.copies[static_cast<std::size_t>(layer) * settings_.model.shape.experts +
                             w.expert.value];
    experts::replica_lists::value_type made;
    bool is_elsewhere = list.size() != w.nodes.size(), gives_shares = false;
    for (const auto& [node, share] : w.nodes) {
      const auto group = group_of.find(node);
      if (group == group_of.end()) return refused(named(node) + " takes no experts yet");
      is_elsewhere = is_elsewhere || !has(list, group->second);
      gives_shares = gives_shares || share > 0;
      made.push_back({.group = group->second, .share = weight_of(share, w.nodes.size())});
    }
    if (!is_elsewhere && !gives_shares) continue;  // whose shares stay
    has_new_shares = has_new_shares || (!is_elsewhere && parts_otherwise(made, list));
    list = std::move(made);
  }
  for (const elastic_group& g : in.groups) {
    std::size_t after = 0;
    for (std::size_t i = 0; i < goal.copies.size(); ++i)
      after += has(goal.copies[i].empty() ? in.present[i] : goal.copies[i], g.group) ? 1 : 0;
    if (after > g.capacity && after > driver_.copies_on(g.node).held)
      return refused(named(g.node) + " is full: its memory takes " + std::to_string(g.capacity) +
                     " experts, and it would hold " + std::to_string(after));
  }
  plan_record p;
  p.reason = "an operator said where experts are to be";
  p.created_unix_ms = settings_.unix_ms ? settings_.unix_ms() : 0;
  p.epoch = driver_.published().value;
  add_steps(settings_.model.shape, in.present, goal.copies, true, driver_.seats(), p);
  add_steps(settings_.model.shape, in.present, goal.copies, false, driver_.seats(), p);
  p.bytes = p.moves * settings_.model.expert_bytes;
  p.sentences.push_back(std::to_string(wanted.size()) + " of " +
                        std::to_string(goal.copies.size()) + " experts were named");
  const bool has_work = has_new_shares || p.moves + p.drops > 0;
  plan_record& kept = keep_plan(std::move(p));
  goal.plan = kept.id;
  if (to_record(goal, false).size() > goal_bytes_max) {
    end_plan(kept, plan_state::failed, "the goal is too large for the coordinator's journal");
  } else if (!has_work) {
    end_plan(kept, plan_state::done, "it is so already");
  } else {
    begin_plan(kept, std::move(goal), now);
  }
  const std::uint64_t id = kept.id;
  reconcile(now);
  return id;
}

}  // namespace atl::cluster
