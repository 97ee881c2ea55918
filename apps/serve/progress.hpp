// Whether a server that has work gets on with it, from samples of its state. Pure; one owner.
#pragma once

#include "apps/serve/board.hpp"
#include "runtime/base/clock.hpp"

#include <cstdint>

namespace atl::serve {

class progress_watch {
public:
  /// True when requests have been inside for `stall_max` and nothing was computed for any. Rows of
  /// experts count, so a long step on a slow machine is no stall: they move with each of its
  /// layers. A gateway whose shards are on other nodes cannot see what they compute, and is never
  /// stalled: those nodes are watched by heartbeats with progress.
  bool is_stalled(const server_sample& s, time_point_ns now);

  static constexpr duration_ns stall_max = std::chrono::seconds{30};

private:
  std::uint64_t done_ = 0;
  time_point_ns since_;
  bool has_seen_ = false;
};

}  // namespace atl::serve
