// What befalls a cluster in one run: kinds, and a plan of them drawn from the seed. Each seed turns
// a random subset of the kinds on. In a mild plan one node, or the wires of one, is struck at a
// time, and the next fault waits until the cluster has recovered: then no request may fail. Plain
// values.
#pragma once

#include "runtime/base/random.hpp"
#include "tests/sim/cluster_world.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace atl::sim {

enum class fault_kind : std::uint8_t {
  kill,                // peers are told
  kill_silently,       // they are not
  freeze,              // takes no turn, then goes on
  cut,                 // a node from all others, both paths
  cut_one_way,         // what it sends, or what it is sent
  cut_data,            // the data path of two nodes
  cut_control,         // a node's path to the coordinator
  reset,               // connections of a node break
  delay,               // all wires
  reorder,             // all wires of the data path
  duplicate,           // all wires
  corrupt,             // all wires of the data path, one of the control path
  slow,                // a node computes many times slower
  disk,                // the coordinator's disk refuses
  coordinator_crash,   // at any time
  crash_in_placement,  // the coordinator's, right after an order of a placement change has left
  hang_up,             // clients go away
};
inline constexpr std::size_t fault_kinds = 17;

std::string_view to_string(fault_kind kind) noexcept;
/// A set of kinds from "kill,freeze" or "all"; nothing where a name is unknown.
std::optional<std::vector<fault_kind>> parse_faults(const std::string& list);

struct fault {
  fault_kind kind = fault_kind::kill;
  duration_ns from{0};  // since the beginning of the faults
  duration_ns lasts{0};
  node_id node;       // that is struck
  node_id other;      // of a pair
  double amount = 0;  // chance, factor, or which of several ways
};

struct fault_plan {
  bool is_mild = false;
  std::vector<fault> list;  // by time
  duration_ns until{0};     // then all is healed
};

fault_plan
draw_faults(random_source& random, const world_plan& world, const std::vector<fault_kind>& allowed);

std::string to_string(const fault& f);

}  // namespace atl::sim
