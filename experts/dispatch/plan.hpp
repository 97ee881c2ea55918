// The dispatch plan of one batch of rows at one layer: which rows travel to which expert group, and
// for which of their experts. Pure: the same input gives the same plan. A row travels once to each
// group that holds any of its chosen experts; its answers come back one row per (row, expert).
#pragma once

#include "runtime/base/ids.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace atl::experts {

/// The rows one group gets. Assignments are the (row, expert) pairs in the order of `rows`, within
/// a row by ascending gate rank; those of rows[i] are [offsets[i], offsets[i + 1]).
struct group_plan {
  group_id group;
  std::vector<std::uint32_t> rows;     // rows of the batch, ascending, each once
  std::vector<std::uint32_t> offsets;  // (rows + 1)
  std::vector<std::uint32_t> experts;  // (assignments) expert index within the layer
  std::vector<std::uint32_t> ranks;    // (assignments) gate rank, [0, k)
};

struct dispatch_plan {
  std::int64_t rows = 0;
  std::int64_t k = 0;
  std::vector<group_plan> groups;  // by ascending group id; only groups that get rows
};

/// experts (rows, k): the gate's choice; targets (rows, k): for each the group that shall compute
/// it, below `groups` (chosen among the replicas by the caller).
dispatch_plan plan_dispatch(std::int64_t rows,
                            std::int64_t k,
                            std::uint32_t groups,
                            const std::uint32_t* experts,
                            const group_id* targets);

/// A part of one group's rows that travels as one frame: rows [first, first + count) of
/// plan.groups[slot], with the assignments [offsets[first], offsets[first + count]).
struct send_range {
  std::uint32_t slot = 0;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  friend bool operator==(const send_range&, const send_range&) = default;
};

/// What of a plan has left. Rows without credit wait here; none is ever dropped.
class dispatch_progress {
public:
  explicit dispatch_progress(const dispatch_plan& plan);

  /// The rows of `slot` that go now, at most `credits` of them: the next ones in order. Count 0
  /// when nothing waits or there is no credit.
  send_range take(std::uint32_t slot, std::uint32_t credits);
  std::uint32_t waiting_rows(std::uint32_t slot) const;
  bool all_sent() const noexcept { return waiting_ == 0; }

private:
  struct slot_state {
    std::uint32_t sent = 0;
    std::uint32_t rows = 0;
  };
  std::vector<slot_state> slots_;
  std::uint64_t waiting_ = 0;
};

}  // namespace atl::experts
