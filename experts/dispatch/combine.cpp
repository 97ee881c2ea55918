#include "experts/dispatch/combine.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>
#include <cstddef>

namespace atl::experts {

answer_table::answer_table(std::int64_t rows, std::int64_t k)
    : k_{k}, missing_{rows * k}, pointers_(static_cast<std::size_t>(rows * k), nullptr) {}

std::int64_t answer_table::place(const group_plan& group,
                                 const send_range& range,
                                 const float* payload,
                                 std::int64_t hidden) {
  ATOLL_ASSERT(range.first <= group.rows.size() && range.count <= group.rows.size() - range.first);
  std::int64_t placed = 0;
  const std::uint32_t base = group.offsets[range.first];
  for (std::uint32_t i = range.first; i < range.first + range.count; ++i) {
    for (std::uint32_t a = group.offsets[i]; a < group.offsets[i + 1]; ++a) {
      const std::int64_t at = static_cast<std::int64_t>(group.rows[i]) * k_ + group.ranks[a];
      ATOLL_ASSERT(static_cast<std::size_t>(at) < pointers_.size());
      if (pointers_[at] != nullptr) continue;
      pointers_[at] = payload + static_cast<std::int64_t>(a - base) * hidden;
      ++placed;
    }
  }
  missing_ -= placed;
  return placed;
}

void combine(std::int64_t first,
             std::int64_t count,
             std::int64_t k,
             std::int64_t hidden,
             const float* weights,
             const float* const* answers,
             float* y,
             accumulate_function add) {
  for (std::int64_t row = first; row < first + count; ++row) {
    float* out = y + row * hidden;
    std::fill_n(out, hidden, 0.0F);
    for (std::int64_t rank = 0; rank < k; ++rank) {
      const float* answer = answers[row * k + rank];
      ATOLL_ASSERT(answer != nullptr);
      add(weights[row * k + rank], answer, out, hidden);
    }
  }
}

}  // namespace atl::experts
