// Which replica computes a row. Pure and deterministic: a choice depends on the call, the row, the
// expert and the map alone, so the same call is routed the same way wherever it is planned. The
// choice never changes a result, only where it is computed.
#pragma once

#include "experts/placement/expert_map.hpp"

#include <cstdint>
#include <span>

namespace atl::cluster {

/// One of `replicas` (not empty), in proportion to their shares over many rows.
const experts::replica& choose_replica(std::span<const experts::replica> replicas,
                                       std::uint64_t call,
                                       std::uint32_t row,
                                       expert_index expert);

/// chosen (rows, k): expert indices of `layer`; out: targets (rows, k).
void route(const experts::expert_map& map,
           layer_index layer,
           std::uint64_t call,
           std::int64_t rows,
           std::int64_t k,
           const std::uint32_t* chosen,
           group_id* targets);

}  // namespace atl::cluster
