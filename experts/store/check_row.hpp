// The check row: equal weights and equal arithmetic give an expert the same check on every node, so
// that a copy can be compared with the others before any row is sent to it. Pure functions, safe
// from any thread.
#pragma once

#include "runtime/base/ids.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace atl::experts {

/// The input: `hidden` floats in [-1, 1], of (layer, expert, index) alone: the upper 53 bits of
/// Philox2x64-10 at (layer * 2^32 + expert, index), so each is its own number on every machine.
std::vector<float> check_row(layer_index layer, std::uint32_t expert, std::int64_t hidden);

/// The check: XXH3-64 of the bits of the expert's answer to its check row.
std::uint64_t check_of(std::span<const float> answer) noexcept;

}  // namespace atl::experts
