// What the balancer is given, refused where it makes no sense, and cut into layers. Pure.
#pragma once

#include "cluster/balance/balance.hpp"
#include "cluster/balance/layer_state.hpp"

#include <vector>

namespace atl::cluster::balancing {

result<void> check(const balance_input& input);

/// One for each layer, of a checked input. Memory over all layers is divided into slots of each
/// layer: what a node holds now first; what is left evenly, to the layers with the fewest slots so
/// far.
std::vector<layer_problem> problems_of(const balance_input& input);

/// Gives up copies on nodes with more than their slots: those that others can do without first.
void shed(layer_state& state);

}  // namespace atl::cluster::balancing
