// The first placement of a cluster: experts spread evenly over the groups of the living members,
// refused when a node's memory cannot hold its part.
#pragma once

#include "cluster/membership.hpp"
#include "experts/placement/expert_map.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace atl::cluster {

struct placed_model {
  experts::expert_shape shape;
  std::size_t expert_bytes = 0;  // weights of one (layer, expert)
};

struct node_load {
  node_id node;
  /// An expert in several groups of a node counts once: they share its weights.
  std::size_t bytes = 0;
};

struct initial_placement {
  experts::expert_map map;
  std::vector<experts::group_place> groups;  // groups[i].group is i; members by ascending node
  std::vector<node_load> nodes;              // by ascending node
};

/// Living members bring their groups. errc::invalid_argument without groups, or for copies of 0 or
/// above the groups; errc::out_of_memory naming the node, what it would hold and what it has.
result<initial_placement> plan_initial(const membership& members,
                                       const placed_model& model,
                                       epoch version,
                                       std::uint32_t copies);

}  // namespace atl::cluster
