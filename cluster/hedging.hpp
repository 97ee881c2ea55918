// When an answer is late, and how often a second copy may be asked for it. Pure arithmetic on
// observed times; the answers of both copies are equal, so only work is at stake.
// Not thread-safe: one owner each.
#pragma once

#include "runtime/base/clock.hpp"

#include <cstdint>

namespace atl::cluster {

/// How long one expert group takes to answer, as its caller sees it.
///   late after: max(4 * slowest of late within [100 ms, 2 s], 4 * rows * slowest time per row)
/// "Of late": a maximum that loses 1/128 with each answer, so a slow one counts for some hundred.
/// A row's time is taken over at least 16 rows: below, an answer costs what a frame costs. Before
/// the first answer it is late after 2 s.
class answer_times {
public:
  static constexpr duration_ns least = std::chrono::milliseconds{100};
  static constexpr duration_ns most = std::chrono::seconds{2};

  void observe(std::uint32_t rows, duration_ns took);
  duration_ns late_after(std::uint32_t rows) const;

private:
  std::int64_t slowest_ns_ = 0;
  std::int64_t slowest_row_ns_ = 0;
  bool has_seen_ = false;
};

/// At most one row in twenty is sent a second time for being late: a bucket that each row sent
/// fills by a twentieth, up to that of 40,960 rows. It begins empty.
class hedge_budget {
public:
  void sent(std::uint32_t rows);
  /// Whether so many rows may be sent again now; if so they are counted.
  bool take(std::uint32_t rows);

private:
  std::uint64_t twentieths_ = 0;
};

}  // namespace atl::cluster
