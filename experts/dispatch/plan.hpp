// The dispatch plan of rows at one layer: which rows travel to which expert group, and for which of
// their experts. Pure: the same input gives the same plan. A row travels once to each group that is
// to compute any of its experts; its answers come back one row per (row, expert).
//
// What is planned is a list of pairs (row, gate rank), numbered row * k + rank: all of a batch at
// first, what still lacks an answer later on.
#pragma once

#include "runtime/base/ids.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace atl::experts {

/// Stands where no group could be chosen.
inline constexpr group_id no_group{0xFFFF'FFFF};

/// The rows one group gets. Assignments are the (row, expert) pairs in the order of `rows`, within
/// a row by ascending gate rank; those of rows[i] are [offsets[i], offsets[i + 1]).
struct group_plan {
  group_id group;
  std::vector<std::uint32_t> rows;     // rows of the batch, ascending, each once
  std::vector<std::uint32_t> offsets;  // (rows + 1)
  std::vector<std::uint32_t> experts;  // (assignments) expert index within the layer
  std::vector<std::uint32_t> ranks;    // (assignments) gate rank, [0, k)
};

/// pairs: ascending; experts (rows, k): the gate's choice; targets (pairs): for each of `pairs` the
/// group that shall compute it, or no_group, which leaves it out. By ascending group; only groups
/// that get rows.
std::vector<group_plan> plan_dispatch(std::int64_t k,
                                      std::span<const std::uint32_t> pairs,
                                      const std::uint32_t* experts,
                                      const group_id* targets);

/// A part of one group's rows that travels as one frame: rows [first, first + count) of its plan,
/// with the assignments [offsets[first], offsets[first + count]).
struct send_range {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  friend bool operator==(const send_range&, const send_range&) = default;
};

}  // namespace atl::experts
