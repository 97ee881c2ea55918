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
    const bool has_none = c == nullptr || c->is == state::released || c->is == state::leaving;
    std::size_t used = 0;
    for (const auto& list : copies_)
      for (const copy& other : list) used += other.group == group ? 1 : 0;
    const std::tuple rank{has_none, used, group};
    if (!best || rank < *best) best = rank;
  }
  if (!best) return std::nullopt;
  return std::get<group_id>(*best);
}

void placement_driver::add_wishes(repair_input& to) const {
  if (wishes_.empty()) return;
  to.copies_of.assign(copies_.size(), settings_.copies);
  for (const auto& [i, wish] : wishes_) {
    to.copies_of[i] = wanted(i);
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
    std::size_t used = 0;
    for (std::size_t i = 0; i < copies_.size(); ++i) {
      const copy* c = find(i, group);
      const bool is_there = c != nullptr && c->is != state::released;
      used += is_there || is_wanted(i, group) ? 1 : 0;
    }
    room += s.who.capacity - std::min(s.who.capacity, used);
  }
  return room;
}

}  // namespace atl::cluster
