// Where each (layer, expert) should be, given who is there and what they hold: the one function
// behind the first placement, the repair after a death, the share of a joiner and a drain. Pure and
// deterministic; the caller carries it out and plans again until nothing is left to do.
//
//  - What is there stays there, unless a rule below moves it.
//  - Experts without a live copy come first, then those with the fewest copies. A new copy goes to
//    the acceptor that holds the fewest experts of that layer, then to the one with the most free
//    share of its memory; never to a group or node that has that expert already.
//  - An expert without a copy that finds all memory full takes the place of a copy that others
//    double: a layer with a hole serves nobody.
//  - Between groups, the number of experts of one layer, and of all layers, may differ by one for
//    each wanted copy. Beyond that, copies move from the fullest to the emptiest that can take
//    them.
//  - Copies that were asked for one by one (pinned, unwanted) come before all that evens out.
//  - With a goal nothing is evened out: its copies are made where groups take them, others given up
//    once there are as many as the goal has. What is lost is replaced at once, in the goal's place
//    where that is possible; a copy for a group that is here, but takes nothing now, is waited for.
//  - A draining group gives up each copy once there are enough elsewhere, or at least one and no
//    room for more.
//
// Copies are counted by nodes: two on one node are lost together.
#pragma once

#include "experts/placement/expert_map.hpp"

#include <compare>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace atl::cluster {

/// An expert group that may hold weights.
struct holder {
  group_id group;
  node_id node;
  std::size_t capacity = 0;  // experts it may hold in all
  bool accepts_new = true;   // not cordoned
  bool serves = true;        // its copies may be used; if not, they do not count and it gets none
  bool drains = false;       // gives up all it holds, accepts nothing
};

/// A copy of one (layer, expert) in a group.
struct expert_copy {
  group_id group;
  layer_index layer;
  expert_index expert;
  friend auto operator<=>(const expert_copy&, const expert_copy&) = default;
};

struct repair_input {
  experts::expert_shape shape;
  std::vector<holder> holders;  // in any order
  /// As in a map, but lists may be empty. Copies in groups that are not among `holders` or do not
  /// serve are not there.
  experts::replica_lists present;
  std::uint32_t copies = 1;  // wanted, on different nodes
  /// The most copies moved for balance and drains in one plan, 0 for no bound. Replacing what was
  /// lost is not bounded.
  std::size_t moves_max = 0;
  /// Copies that are not to be made now: the group could not, or must not, take that expert.
  std::vector<expert_copy> barred = {};
  /// Wanted of each expert, in place of `copies`: empty, or as many as `present`. 0: none at all.
  std::vector<std::uint32_t> copies_of = {};
  /// Copies that are to be there. They are made where there is room, and neither moved nor evicted.
  std::vector<expert_copy> pinned = {};
  /// Copies that are given up as soon as their expert has enough others, and not made.
  std::vector<expert_copy> unwanted = {};
  /// Where copies should be, with their shares: empty, or as many lists as `present`. An expert
  /// with an empty list stays where it is.
  experts::replica_lists goal = {};
};

struct expert_shortage {
  layer_index layer;
  expert_index expert;
  std::uint32_t short_by = 0;  // nodes that should hold it besides those that will, drains aside
  friend auto operator<=>(const expert_shortage&, const expert_shortage&) = default;
};

/// Carried out in this order: stop using what is evicted and release it, load, use the target,
/// release. Without evictions no expert has fewer live copies at any time than before or than is
/// wanted, except those that a drain gives up for lack of room. No group holds more than its
/// capacity at any time, unless it did before. Lists ascend by group, layer, expert.
struct repair_plan {
  /// By ascending group; kept copies keep their share, a new one gets the mean of those there were.
  /// Those of the goal get its shares, and copies that it does not name their mean.
  /// A list is empty for an unplaceable expert.
  experts::replica_lists target;
  std::vector<expert_copy> evictions;
  std::vector<expert_copy> loads;
  std::vector<expert_copy> releases;
  std::vector<expert_shortage> short_of;  // fewer nodes or less memory than the wanted copies need
  std::vector<experts::expert_map::held_expert> unplaceable;  // no memory for a single copy

  bool has_work() const { return !evictions.empty() || !loads.empty() || !releases.empty(); }
};

/// errc::invalid_argument: no copies wanted, no expert, layers not ascending, lists of another
/// shape, or two holders of one group. Without any copy present the target is that of
/// experts::spread_evenly, if memory allows and there is one node, or as many as copies with
/// equally many groups each.
result<repair_plan> plan_repair(const repair_input& input);

}  // namespace atl::cluster
