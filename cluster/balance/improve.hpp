// From a placement to a better one, copy by copy: what is missing, what draining nodes hand over,
// cover, and then steps that take load off the nodes that finish last. Pure.
#pragma once

#include "cluster/balance/layer_state.hpp"

#include <limits>
#include <vector>

namespace atl::cluster::balancing {

inline constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

/// A step of balance: e goes from node i (or, i = nowhere, gets a further copy) to j; f, if any,
/// leaves j for i, or for where its other copies are.
struct change {
  std::uint32_t e = nowhere, i = nowhere, f = nowhere, j = nowhere;
};

/// After a step of balance: what has been moved so far, and when the layer finishes.
struct milestone {
  std::size_t moved = 0;
  double finish = 0;
  change last = {};  // that led here
};

/// Each of these moves while state.moved() stays within `moved_max`.
/// A copy for each expert that has none, without a limit; copies that only cover make way. False
/// where there is no place for one.
bool place_missing(layer_state& state);
/// Copies elsewhere for what only draining nodes hold; what is elsewhere leaves them.
void drain(layer_state& state, std::size_t moved_max);
/// A second domain for experts in one, the heaviest first.
void cover(layer_state& state, std::size_t moved_max);
/// Settles, then takes steps while they make the finishing time smaller and it is above `enough`:
/// a copy for an expert of a node that finishes last, on a node that does not, in a free slot or
/// in that of a copy others can do without; or two experts change places. The first milestone is
/// the start.
std::vector<milestone>
balance(layer_state& state, double enough, std::size_t moved_max, std::size_t steps_max);
/// The first steps of a path again, from where it began.
void repeat(layer_state& state, const std::vector<milestone>& path, std::size_t steps);
/// Leaves a placement that no step makes better by a few exchanges at random (the same ones each
/// time) and steps from there; the best it meets. Counts no moves.
void search(layer_state& state, double enough, std::size_t rounds);
/// Gives up new copies without load that cover does not need.
void prune(layer_state& state);

}  // namespace atl::cluster::balancing
