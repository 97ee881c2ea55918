// Which replica computes a row. Pure and deterministic: a choice depends on the call, the row, the
// expert, the map and what is to be avoided alone, so the same call is routed the same way wherever
// it is planned. The choice never changes a result, only where it is computed.
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

/// One of `replicas`, in proportion to their shares over many rows, as far as they may be used;
/// no_group where none may.
group_id choose_group(std::span<const experts::replica> replicas,
                      const avoided_groups& avoid,
                      std::uint64_t call,
                      std::uint32_t row,
                      expert_index expert);

/// chosen (rows, k): expert indices of `layer`; pairs: numbers row * k + rank; out: targets
/// (pairs).
void route(const experts::expert_map& map,
           layer_index layer,
           std::uint64_t call,
           std::int64_t k,
           std::span<const std::uint32_t> pairs,
           const std::uint32_t* chosen,
           const avoided_groups& avoid,
           group_id* targets);

}  // namespace atl::cluster
