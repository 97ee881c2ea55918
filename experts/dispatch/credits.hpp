// Row credits per expert group: how many rows a router may have in flight at each. A bound on the
// groups' mailboxes. Groups need not be known before, nor their ids be dense. Not thread-safe: one
// owner.
#pragma once

#include "runtime/base/ids.hpp"

#include <cstdint>
#include <map>

namespace atl::experts {

class credit_ledger {
public:
  /// Every group starts with `rows_max` credits, one per row in flight.
  explicit credit_ledger(std::uint32_t rows_max);

  std::uint32_t free(group_id group) const;
  std::uint32_t rows_max() const noexcept { return rows_max_; }
  /// At the group that has most.
  std::uint32_t most_taken() const;
  /// `rows` is at most free(group).
  void take(group_id group, std::uint32_t rows);
  /// Rows answered, or lost with their group. Never more than were taken.
  void give_back(group_id group, std::uint32_t rows);

private:
  std::uint32_t rows_max_;
  std::map<group_id, std::uint32_t> taken_;
};

}  // namespace atl::experts
