#include "experts/dispatch/combine.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>
#include <cstddef>

namespace atl::experts {

namespace {

/// visit(pair, assignment) for all of the range.
template <class Visit>
void for_pairs(const group_plan& plan,
               const send_range& range,
               std::int64_t k,
               std::size_t pairs,
               Visit&& visit) {
  ATOLL_ASSERT(range.first <= plan.rows.size() && range.count <= plan.rows.size() - range.first);
  for (std::uint32_t i = range.first; i < range.first + range.count; ++i) {
    for (std::uint32_t a = plan.offsets[i]; a < plan.offsets[i + 1]; ++a) {
      const std::size_t pair =
          std::size_t{plan.rows[i]} * static_cast<std::size_t>(k) + plan.ranks[a];
      ATOLL_ASSERT(pair < pairs);
      visit(pair, a);
    }
  }
}

}  // namespace

answer_table::answer_table(std::int64_t rows, std::int64_t k)
    : k_{k},
      missing_{rows * k},
      pointers_(static_cast<std::size_t>(rows * k), nullptr),
      expected_(pointers_.size(), 0) {}

void answer_table::expect(const group_plan& plan) {
  const send_range all{0, static_cast<std::uint32_t>(plan.rows.size())};
  for_pairs(
      plan, all, k_, pointers_.size(), [&](std::size_t pair, std::uint32_t) { ++expected_[pair]; });
}

std::int64_t answer_table::place(const group_plan& plan,
                                 const send_range& range,
                                 const std::byte* payload,
                                 std::size_t row_bytes) {
  std::int64_t placed = 0;
  const std::uint32_t base = plan.offsets[range.first];
  for_pairs(plan, range, k_, pointers_.size(), [&](std::size_t pair, std::uint32_t a) {
    ATOLL_ASSERT(expected_[pair] > 0);
    --expected_[pair];
    if (pointers_[pair] != nullptr) return;
    pointers_[pair] = payload + std::size_t{a - base} * row_bytes;
    ++placed;
  });
  missing_ -= placed;
  return placed;
}

void answer_table::give_up(const group_plan& plan, const send_range& range) {
  for_pairs(plan, range, k_, pointers_.size(), [&](std::size_t pair, std::uint32_t) {
    ATOLL_ASSERT(expected_[pair] > 0);
    --expected_[pair];
  });
}

std::vector<std::uint32_t>
answer_table::open_pairs(const group_plan& plan, const send_range& range, unsigned places) const {
  std::vector<std::uint32_t> open;
  for_pairs(plan, range, k_, pointers_.size(), [&](std::size_t pair, std::uint32_t) {
    if (pointers_[pair] == nullptr && expected_[pair] <= places)
      open.push_back(static_cast<std::uint32_t>(pair));
  });
  return open;
}

bool answer_table::has_open(const group_plan& plan, const send_range& range) const {
  bool is_open = false;
  for_pairs(plan, range, k_, pointers_.size(), [&](std::size_t pair, std::uint32_t) {
    is_open = is_open || pointers_[pair] == nullptr;
  });
  return is_open;
}

void combine(std::int64_t first,
             std::int64_t count,
             std::int64_t k,
             std::int64_t hidden,
             const float* weights,
             const std::byte* const* answers,
             const kernels::row_codec& codec,
             float* y,
             accumulate_function add) {
  static thread_local std::vector<float> scratch;
  const bool is_plain = codec.type == tensor::dtype::f32;
  if (!is_plain) scratch.resize(static_cast<std::size_t>(hidden));
  for (std::int64_t row = first; row < first + count; ++row) {
    float* out = y + row * hidden;
    std::fill_n(out, hidden, 0.0F);
    for (std::int64_t rank = 0; rank < k; ++rank) {
      const std::byte* answer = answers[row * k + rank];
      ATOLL_ASSERT(answer != nullptr);
      if (!is_plain) codec.decode(answer, hidden, scratch.data());
      const float* values = is_plain ? reinterpret_cast<const float*>(answer) : scratch.data();
      add(weights[row * k + rank], values, out, hidden);
    }
  }
}

}  // namespace atl::experts
