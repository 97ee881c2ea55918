#include "experts/dispatch/credits.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>

namespace atl::experts {

credit_ledger::credit_ledger(std::uint32_t rows_max) : rows_max_{rows_max} {
  ATOLL_ASSERT(rows_max > 0);
}

std::uint32_t credit_ledger::free(group_id group) const {
  const auto found = taken_.find(group);
  return found == taken_.end() ? rows_max_ : rows_max_ - found->second;
}

std::uint32_t credit_ledger::most_taken() const {
  std::uint32_t most = 0;
  for (const auto& [group, rows] : taken_) most = std::max(most, rows);
  return most;
}

void credit_ledger::take(group_id group, std::uint32_t rows) {
  std::uint32_t& taken = taken_[group];
  ATOLL_ASSERT(rows <= rows_max_ - taken);
  taken += rows;
}

void credit_ledger::give_back(group_id group, std::uint32_t rows) {
  const auto found = taken_.find(group);
  ATOLL_ASSERT(found != taken_.end() && rows <= found->second);
  found->second -= rows;
}

}  // namespace atl::experts
