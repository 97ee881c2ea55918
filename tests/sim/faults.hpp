// What befalls a cluster in one run: kinds, and a plan of them drawn from the seed. Each seed turns
// a random subset of the kinds on. In a mild plan one node, or the wires of one, is struck at a
// time, and the next fault waits until the cluster has recovered: then no request may fail. Towards
// its end, and anywhere in a wild one, two strike at once. Plain values.
#pragma once

#include "runtime/base/random.hpp"
#include "tests/sim/cluster_world.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace atl::sim {

enum class fault_kind : std::uint8_t {
  kill,                 // peers are told
  kill_silently,        // they are not
  freeze,               // takes no turn, then goes on
  cut,                  // a node from all others, both paths
  cut_one_way,          // what it sends, or what it is sent
  cut_data,             // the data path of two nodes
  cut_control,          // a node's path to the coordinator
  reset,                // connections of a node break
  delay,                // all wires
  control_delay,        // a node's path to the coordinator, by seconds
  reorder,              // all wires of the data path
  duplicate,            // all wires
  corrupt,              // all wires of the data path, one of the control path
  loss,                 // frames of the data path vanish
  control_loss,         // connections of the control path break, with what is under way
  slow,                 // a node computes many times slower
  memory,               // a node's allocator refuses now and then
  clock_jump,           // a node's calendar
  disk,                 // the coordinator's disk refuses
  coordinator_crash,    // at any time
  crash_in_placement,   // the coordinator's, at a step of a placement change
  crash_in_compaction,  // the coordinator's, at a step of the compaction of its journal
  hang_up,              // clients go away
  drain,                // a node is drained, and comes back into use
  cordon,               // a node gets nothing new for a while
  leave,                // a node leaves, and comes again
  upgrade,              // one node after the other leaves and comes again as another version
  rebalance,            // an operator has experts moved to where the load is, or changes his mind
};
inline constexpr std::size_t fault_kinds = 28;

std::string_view to_string(fault_kind kind) noexcept;
/// "kill+freeze": as in fault_plan::pairs.
std::string pair_name(fault_kind a, fault_kind b);
/// A set of kinds from "kill,freeze" or "all"; nothing where a name is unknown.
std::optional<std::vector<fault_kind>> parse_faults(const std::string& list);

struct fault {
  fault_kind kind = fault_kind::kill;
  duration_ns from{0};  // since the beginning of the faults
  duration_ns lasts{0};
  node_id node;          // that is struck
  node_id other;         // of a pair
  double amount = 0;     // chance, factor, or which of several ways
  std::size_t step = 0;  // of a change, at which it strikes (crash_steps.hpp)
};

struct fault_plan {
  bool is_mild = false;
  std::vector<fault> list;   // by time
  duration_ns one_by_one{};  // so long do the faults of a mild plan come one at a time
  duration_ns until{0};      // then all is healed
  /// Two at once, by name; the second may come while the cluster recovers from the first.
  std::vector<std::string> pairs;
};

/// Seeds s, s + 1, ... go through all pairs of kinds, two a seed, and through all steps at which
/// the coordinator may die; the rest is drawn.
fault_plan
draw_faults(random_source& random, const world_plan& world, const std::vector<fault_kind>& allowed);
/// Of so many kinds, a kind with itself too.
constexpr std::size_t pairs_of(std::size_t kinds) { return kinds * (kinds + 1) / 2; }

std::string to_string(const fault& f);

}  // namespace atl::sim
