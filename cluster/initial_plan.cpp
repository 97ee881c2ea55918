#include "cluster/initial_plan.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace atl::cluster {

namespace {

std::vector<experts::group_place> places_of(const membership& members) {
  std::vector<experts::group_place> places;
  for (const member& m : members.members) {
    if (m.state == member_state::dead) continue;
    for (std::uint32_t i = 0; i < m.groups; ++i) {
      places.push_back(
          {.group = group_id{static_cast<std::uint32_t>(places.size())}, .node = m.node});
    }
  }
  return places;
}

/// Experts that the groups of a node hold, each once.
std::size_t distinct_experts(const experts::expert_map& map,
                             const std::vector<experts::group_place>& places,
                             node_id node) {
  std::vector<experts::expert_map::held_expert> held;
  for (const experts::group_place& place : places) {
    if (place.node != node) continue;
    const auto part = map.held_by(place.group);
    held.insert(held.end(), part.begin(), part.end());
  }
  std::sort(held.begin(), held.end());
  return static_cast<std::size_t>(std::unique(held.begin(), held.end()) - held.begin());
}

}  // namespace

result<initial_placement> plan_initial(const membership& members,
                                       const placed_model& model,
                                       epoch version,
                                       std::uint32_t copies) {
  std::vector<experts::group_place> places = places_of(members);
  ATOLL_ASSIGN(experts::expert_map map,
               experts::spread_evenly(version, model.shape, places, copies));
  std::vector<node_load> nodes;
  for (const member& m : members.members) {
    if (m.state == member_state::dead || m.groups == 0) continue;
    const std::size_t count = distinct_experts(map, places, m.node);
    const std::size_t bytes = count * model.expert_bytes;
    if (bytes > m.expert_bytes) {
      return error{errc::out_of_memory,
                   "node " + std::to_string(m.node.value) + " would hold " + std::to_string(count) +
                       " experts of " + std::to_string(model.expert_bytes) + " bytes, " +
                       std::to_string(bytes) + " in all, and has " +
                       std::to_string(m.expert_bytes) +
                       " bytes for them; add nodes or memory, or lower the number of replicas"};
    }
    nodes.push_back({.node = m.node, .bytes = bytes});
  }
  return initial_placement{
      .map = std::move(map), .groups = std::move(places), .nodes = std::move(nodes)};
}

}  // namespace atl::cluster
