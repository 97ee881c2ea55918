// Which replica computes a row. Pure and deterministic: a choice depends on the call, its rows, the
// map, what is to be avoided and what is expected of the groups alone, so the same call is routed
// the same way wherever it is planned. The choice never changes a result, only where it is
// computed.
//
// The rows of one expert are cut into blocks of up to 16, which stay together: a copy reads the
// expert's weights once for all rows it gets. For each block two replicas are drawn, in proportion
// to their shares, and the first gets it unless the other is expected to be done sooner by more
// than a twentieth; what the call has given to a group already counts. Experts with most rows
// choose first. Of the rows of one expert, a replica gets at most
//   ceil(capacity factor * its fair share of them), or one block if that is more;
// what is beyond goes to the other replicas. No row is ever left out for it.
#pragma once

#include "experts/dispatch/plan.hpp"
#include "experts/placement/expert_map.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace atl::cluster {

/// Groups that do not serve everybody, each list ascending.
struct avoided_groups {
  std::vector<group_id> gone;     // get no rows
  std::vector<group_id> shunned;  // get rows for which there is no other copy
};

/// Pairs (row, expert) given to a group now are expected to be answered after
/// start_ns + pairs * pair_ns.
struct group_estimate {
  group_id group;
  double start_ns = 0;
  double pair_ns = 0;
};

inline constexpr std::uint32_t routing_block_rows = 16;
inline constexpr double capacity_factor_default = 1.2;
inline constexpr double capacity_factor_max = 1000;

/// What a choice is made on beside the rows.
struct routing_state {
  const experts::expert_map& map;
  const avoided_groups& avoid;
  std::span<const group_estimate> expected;  // ascending; a group without one is done at once
  double capacity_factor = capacity_factor_default;  // at least 1
};

/// chosen (rows, k): expert indices of `layer`; pairs: numbers row * k + rank, no row with an
/// expert twice; out: targets (pairs), no_group where no replica may be used.
void route(const routing_state& state,
           layer_index layer,
           std::uint64_t call,
           std::span<const std::uint32_t> pairs,
           const std::uint32_t* chosen,
           group_id* targets);

}  // namespace atl::cluster
