// The placement as a router uses it: one current map, possibly a next one being prepared, and
// earlier ones that calls in flight still refer to. New weights load first, then the epoch flips,
// then the old ones go. Not thread-safe: one owner.
#pragma once

#include "experts/placement/expert_map.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace atl::cluster {

using map_ptr = std::shared_ptr<const experts::expert_map>;

class placement_table {
public:
  explicit placement_table(map_ptr current);

  const map_ptr& current() const noexcept { return current_; }
  const map_ptr& pending() const noexcept { return pending_; }

  /// The earliest epoch that a call still refers to, or the current one.
  epoch oldest() const noexcept;

  /// Prepares the next map. errc::stale_epoch unless its epoch is later than the current one and
  /// than one pending, which it replaces.
  result<void> stage(map_ptr next);
  /// Makes the pending map of that epoch current. errc::stale_epoch if it is not the pending one.
  result<void> flip(epoch version);

  /// A call starts under the current map; it keeps that epoch until leave().
  map_ptr enter();
  /// A call of that epoch ended. True if it was the last of an epoch that is no longer current:
  /// what only that epoch needed can go.
  bool leave(epoch version);

  /// The map of a call in flight: current, or an earlier one that still has calls.
  /// errc::stale_epoch otherwise.
  result<map_ptr> find(epoch version) const;

private:
  struct draining_map {
    map_ptr map;
    std::uint64_t calls = 0;
  };
  map_ptr current_;
  map_ptr pending_;
  std::uint64_t current_calls_ = 0;
  std::vector<draining_map> draining_;  // by ascending epoch
};

}  // namespace atl::cluster
