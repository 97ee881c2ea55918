// What actors answer when they are asked what they hold and have done. Plain values.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace atl::actors {

/// Steps by their rows: [i] counts those of up to 2^i rows and more than 2^(i-1), the last all that
/// are larger.
using step_sizes = std::array<std::uint64_t, 14>;

/// What an actor holds at this moment.
struct held {
  std::uint64_t requests = 0;
  std::uint64_t replays = 0;  // requests that a gateway gave to another shard, since the start
  std::uint64_t sequences = 0;
  std::uint64_t pages_used = 0;
  std::uint64_t pages_total = 0;
  std::uint64_t rows_in_flight = 0;
  std::uint64_t group_rows = 0;  // of them, of a router: the most to one group
  std::uint64_t steps = 0;
  std::uint64_t rows = 0;
  step_sizes steps_by_rows{};
  // Of a shard's prefix cache, since the start but for pages_cached.
  std::uint64_t pages_cached = 0;    // held by no sequence
  std::uint64_t page_evictions = 0;  // cached pages given up for others
  std::uint64_t prefix_queries = 0;  // tokens of sequences that started
  std::uint64_t prefix_hits = 0;     // of them, tokens whose pages were cached
  // Of a router, since the start. Rows count once for each frame they travel in.
  std::uint64_t rows_sent = 0;           // repeats of a frame not counted
  std::uint64_t row_bytes_sent = 0;      // of these rows as they travelled
  std::uint64_t row_bytes_received = 0;  // of the answers to them
  std::uint64_t rows_hedged = 0;         // of them, to a second copy while a first may still answer
  std::uint64_t rows_moved = 0;          // of them, to another copy because the first was lost
  std::uint64_t frames_repeated = 0;     // to the same group
  std::uint64_t answers_late = 0;        // nothing waited for them any more
  std::uint64_t answers_odd = 0;         // of another shape than asked for, or from another node
};

/// Rows computed per (layer, expert) since the start.
struct expert_counts {
  std::vector<std::vector<std::uint64_t>> rows;  // [layer][expert]
  // Of one group: how long its jobs took, in what time a quota of processors grants what they used
  // (0 without a quota), and how long they should have taken by experts::kernel_cost.
  std::uint64_t busy_ns = 0;
  std::uint64_t quota_ns = 0;
  double expected_ns = 0;
};

}  // namespace atl::actors
