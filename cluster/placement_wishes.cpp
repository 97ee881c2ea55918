#include "cluster/placement_driver.hpp"
#include "runtime/base/assert.hpp"

#include <algorithm>
#include <tuple>

namespace atl::cluster {

void placement_driver::set_wish(layer_index layer, expert_index expert, expert_wish wish) {
  const auto i = index_of(layer, expert.value);
  ATOLL_ASSERT(i);
  if (wish == wish_of(*i)) return;
  if (wish == expert_wish{})
    wishes_.erase(*i);
  else
    wishes_[*i] = std::move(wish);
  touch(*i);
  is_stale_ = true;
}

const expert_wish& placement_driver::wish_of(std::size_t i) const {
  static const expert_wish none;
  const auto at = wishes_.find(i);
  return at == wishes_.end() ? none : at->second;
}

/// The group of the node that has the expert or is to get it, or its emptiest.
std::optional<group_id> placement_driver::group_for(std::size_t i, node_id node) const {
  std::optional<std::tuple<bool, std::size_t, group_id>> best;
  for (const auto& [group, s] : seats_) {
    if (s.who.node != node) continue;
    const copy* c = find(i, group);
    const bool has_none = c == nullptr || c->is == state::leaving;
    const std::tuple rank{has_none, counts().of(group).used(), group};
    if (!best || rank < *best) best = rank;
  }
  if (!best) return std::nullopt;
  return std::get<group_id>(*best);
}

void placement_driver::add_wishes(repair_input& to) const {
  if (wishes_.empty()) return;
  to.copies_of.assign(copies_.size(), settings_.copies);
  for (const auto& [i, wish] : wishes_) {
    to.copies_of[i] = wish.copies.value_or(settings_.copies);
    const expert_index expert{expert_of(i)};
    for (const node_id node : wish.pins)
      if (const auto group = group_for(i, node)) to.pinned.push_back({*group, layer_of(i), expert});
    for (const auto& [group, s] : seats_) {
      const auto& no = wish.unwanted;
      if (std::find(no.begin(), no.end(), s.who.node) != no.end())
        to.unwanted.push_back({group, layer_of(i), expert});
    }
  }
}

std::uint32_t placement_driver::wanted(std::size_t i) const {
  const std::uint32_t asked = wish_of(i).copies.value_or(settings_.copies);
  const auto* goal = goal_of(i);
  return goal == nullptr ? asked : std::max(asked, static_cast<std::uint32_t>(goal->size()));
}

void placement_driver::set_goal(std::optional<placement_goal> goal) {
  ATOLL_ASSERT(!goal || goal->copies.size() == copies_.size());
  if (goal == goal_) return;
  for (std::size_t i = 0; i < copies_.size(); ++i)
    if (!goal || !goal_ || goal->copies[i] != goal_->copies[i]) touch(i);
  goal_ = std::move(goal);
  goal_knows_all_.reset();
  is_stale_ = true;
}

/// What the goal has for the expert; null where it has nothing, or what was asked for one by one
/// says otherwise.
const std::vector<experts::replica>* placement_driver::goal_of(std::size_t i) const {
  if (!goal_ || goal_->copies[i].empty()) return nullptr;
  const auto& copies = goal_->copies[i];
  const auto asked = wishes_.find(i);
  if (asked == wishes_.end()) return &copies;
  const expert_wish& wish = asked->second;
  if (wish.copies && *wish.copies != copies.size()) return nullptr;
  const auto names = [&](node_id node) {
    return std::any_of(copies.begin(), copies.end(), [&](const experts::replica& r) {
      const auto at = seats_.find(r.group);
      return at != seats_.end() && at->second.who.node == node;
    });
  };
  const bool is_contrary = std::any_of(wish.unwanted.begin(), wish.unwanted.end(), names) ||
                           !std::all_of(wish.pins.begin(), wish.pins.end(), names);
  return is_contrary ? nullptr : &copies;
}

void placement_driver::add_goal(repair_input& to) const {
  if (!goal_) return;
  to.goal.resize(copies_.size());
  for (std::size_t i = 0; i < copies_.size(); ++i)
    if (const auto* copies = goal_of(i)) to.goal[i] = *copies;
}

bool placement_driver::goal_knows_all() const {
  if (!goal_) return false;
  if (goal_knows_all_) return *goal_knows_all_;
  goal_knows_all_ = std::all_of(seats_.begin(), seats_.end(), [&](const auto& s) {
    const holder& h = s.second.who;
    const bool takes = h.accepts_new && h.serves && !h.drains;
    return !takes || std::binary_search(goal_->known.begin(), goal_->known.end(), s.first);
  });
  return *goal_knows_all_;
}

goal_distance placement_driver::distance() const {
  return {.missing = counts().missing(), .extra = counts().extra()};
}

/// How far the expert is from its part of the goal.
void placement_driver::measure_goal(std::size_t i, expert_digest& d) const {
  const auto* goal = goal_of(i);
  if (goal == nullptr) return;
  std::size_t others = copies_[i].size();
  std::size_t replaced = 0;  // copies of groups that cannot have them now are elsewhere
  for (const experts::replica& r : *goal) {
    const copy* c = find(i, r.group);
    const bool takes = index_.of(r.group).takes;
    if (c != nullptr) --others;
    if (c == nullptr && !takes) ++replaced;
    if (takes && (c == nullptr || !c->is_mapped)) ++d.missing;
  }
  d.extra = static_cast<std::uint32_t>(others - std::min(others, replaced));
}

elastic_input placement_driver::facts() const {
  repair_input asked;
  add_limits(asked);
  elastic_input input;
  input.shape = settings_.shape;
  input.copies = settings_.copies;
  input.pinned = asked.pinned;
  input.unwanted = asked.unwanted;
  input.barred = asked.barred;
  input.loads.resize(copies_.size());
  input.present.resize(copies_.size());
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    for (const copy& c : copies_[i])
      if (c.is_mapped) input.present[i].push_back({.group = c.group, .share = c.share});
    std::sort(input.present[i].begin(), input.present[i].end(), [](const auto& a, const auto& b) {
      return a.group < b.group;
    });
  }
  if (!wishes_.empty()) input.copies_of.resize(copies_.size());
  for (const auto& [i, wish] : wishes_) input.copies_of[i] = wish.copies;
  for (const auto& [group, s] : seats_) {
    elastic_group g{.group = group, .node = s.who.node};
    g.capacity = s.who.capacity;
    g.intake = s.who.drains         ? node_intake::draining
               : !s.who.accepts_new ? node_intake::closed
                                    : node_intake::open;
    input.groups.push_back(std::move(g));
  }
  return input;
}

bool placement_driver::is_repairing() const { return counts().short_ones() > 0; }

std::vector<node_id> placement_driver::planned_for(layer_index layer, expert_index expert) const {
  std::vector<node_id> nodes;
  const auto i = index_of(layer, expert.value);
  if (!i) return nodes;
  for (const experts::replica& r : target_[*i]) {
    const auto at = seats_.find(r.group);
    if (at == seats_.end()) continue;
    const node_id node = at->second.who.node;
    if (std::find(nodes.begin(), nodes.end(), node) == nodes.end()) nodes.push_back(node);
  }
  return nodes;
}

std::size_t placement_driver::room_on(node_id node) const {
  std::size_t room = 0;
  for (const auto& [group, s] : seats_) {
    if (s.who.node != node) continue;
    const std::size_t used = counts().of(group).used() + counts().pending(group).size();
    room += s.who.capacity - std::min(s.who.capacity, used);
  }
  return room;
}

}  // namespace atl::cluster
