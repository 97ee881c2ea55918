#include "experts/dispatch/credits.hpp"

#include "runtime/base/assert.hpp"

namespace atl::experts {

credit_ledger::credit_ledger(std::uint32_t groups, std::uint32_t rows_max)
    : rows_max_{rows_max}, free_(groups, rows_max) {
  ATOLL_ASSERT(rows_max > 0);
}

std::uint32_t credit_ledger::free(group_id group) const {
  ATOLL_ASSERT(group.value < free_.size());
  return free_[group.value];
}

void credit_ledger::take(group_id group, std::uint32_t rows) {
  ATOLL_ASSERT(rows <= free(group));
  free_[group.value] -= rows;
}

void credit_ledger::give_back(group_id group, std::uint32_t rows) {
  ATOLL_ASSERT(rows <= rows_max_ - free(group));
  free_[group.value] += rows;
}

}  // namespace atl::experts
