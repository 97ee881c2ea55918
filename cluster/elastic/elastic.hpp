// Where copies of experts should be under the load of the moment, and what it takes to get there:
// the rules of operators, the groups that live and two averages of each expert's load in, a goal
// for the placement driver out. Wraps plan_balance (cluster/balance). Pure and deterministic: no
// clock, no randomness. Callable from any thread.
//
//  - The load of an expert is its slow average, or its part of the layer's load by a faster one
//    that is far above that and no accident of small counts (detector.hpp), plus a little for every
//    expert alike: a cluster at rest spreads evenly, so that a joiner gets its share.
//  - Groups of one node balance as one, with their speeds summed; a copy goes to the one of them
//    that would finish first.
//  - Operators come first: pinned copies are in the goal, unwanted ones are not once there are
//    enough others, and an expert with a number of copies of its own gets that many, not more.
//  - Copies beyond those wanted stay while the layer needs them to finish within `cold_gain` of
//    the lower bound; cold ones are given up, those with the least load first.
//  - No group holds more than its capacity, unless it does now; no two copies on one node; moves
//    stay within the budgets, except for experts that have no copy.
#pragma once

#include "cluster/balance/balance.hpp"
#include "cluster/expert_loads.hpp"
#include "cluster/repair_plan.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace atl::cluster {

/// A living expert group.
struct elastic_group {
  group_id group;
  node_id node;
  std::string name = {};     // of its node; in sentences
  std::size_t capacity = 0;  // experts it may hold in all
  double speed = 1;          // rows per second, or any unit that all groups share; > 0
  std::string domain = {};   // what fails together; empty: the node alone
  node_intake intake = node_intake::open;
};

struct elastic_limits {
  std::size_t moved_experts_max = std::numeric_limits<std::size_t>::max();
  std::uint64_t moved_bytes_max = std::numeric_limits<std::uint64_t>::max();
  /// A layer is changed only if it then finishes earlier by more than this fraction.
  double hysteresis = 0.05;
  /// A copy beyond those wanted is given up if the layer finishes no later without it, or still
  /// within this fraction of the lower bound.
  double cold_gain = 0.03;
};

struct elastic_input {
  experts::expert_shape shape;
  std::vector<elastic_group> groups;  // in any order
  /// Copies that serve, with their shares. Those of groups that are not named are passed over.
  experts::replica_lists present;
  std::vector<expert_load_rates> loads;  // by expert, as `present`
  std::uint32_t copies = 1;              // wanted of each, on different nodes
  /// What operators ask of single experts, by expert: so many copies, neither more nor fewer.
  /// Empty, or as many as `present`.
  std::vector<std::optional<std::uint32_t>> copies_of = {};
  std::vector<expert_copy> pinned = {};    // stay, and are made where there is room
  std::vector<expert_copy> unwanted = {};  // leave, and are not made
  std::vector<expert_copy> barred = {};    // are not made
  /// By expert, not 0: its extra copies are not given up as cold. Empty, or as many as `present`.
  std::vector<char> kept = {};
  std::uint64_t expert_bytes = 1;
  elastic_limits limits = {};
};

enum class elastic_reason : std::uint8_t {
  missing,   // the expert had no copy
  drain,     // its only copies were on draining nodes
  cover,     // wanted copies or failure domains were too few
  balance,   // takes load off the nodes that finish last
  rule,      // an operator asked for it, or asked to have it gone
  cold,      // given up: the layer finishes about as early without it
  makes_way  // given up: its place, or its load, went to a copy that is made
};

/// A copy to be made or given up.
struct elastic_move {
  expert_copy what = {};
  double share = 0;  // of the expert's rows, of one that is made
  elastic_reason reason = elastic_reason::balance;
};

/// What a layer's finishing time was and is to be, over that of an even spread: the hottest node's
/// load over the mean where speeds are equal, 1 for a layer without load.
struct elastic_layer {
  std::optional<double> before;  // none where an expert has no copy
  double after = 1;
  double best = 1;  // what more moves would reach
};

struct elastic_plan {
  /// The goal: by expert, with shares as whole numbers; empty where an operator wants none.
  experts::replica_lists target;
  std::vector<elastic_move> moves;  // by layer, expert, group
  std::vector<elastic_move> drops;  // likewise
  std::uint64_t bytes = 0;          // to be moved
  std::vector<elastic_layer> layers;
  std::optional<double> finish_before;  // load over speed, summed over the layers
  double finish_after = 0;
  bool has_new_shares = false;         // of copies that stay, and the layers finish earlier by them
  std::vector<std::string> sentences;  // for people: what is done and why, most telling first

  bool has_work() const { return has_new_shares || !moves.empty() || !drops.empty(); }
  double hottest_before() const;  // of the worst layer; infinite where one has a hole
  double hottest_after() const;
};

/// errc::invalid_argument: no group, no expert, lists of another shape, two groups of one id, a
/// speed or load that is no number in range, or no room for a copy of each expert.
result<elastic_plan> plan_elastic(const elastic_input& input);

std::string to_string(elastic_reason reason);

}  // namespace atl::cluster
