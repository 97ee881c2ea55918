// Bringing the experts' answers together. Answers may arrive in any order, in several frames, from
// several groups and more than once (a repeated call, a second copy asked); the first of each wins,
// and the sum is taken in gate-rank order whatever came first:
//   y[row] = sum over rank of weight[row, rank] * answer[row, rank]
// float32, one fused multiply-add per element and rank, from zero.
#pragma once

#include "experts/dispatch/plan.hpp"
#include "runtime/kernels/row_codec.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace atl::experts {

/// Where the answer of each (row, rank) lies, and from how many places it may still come. Borrows
/// the payloads: whoever fills the table keeps them until the sum is taken. Not thread-safe while
/// filled; read by any thread after.
///
/// An answer is expected from a plan from expect() on, until place() or give_up() of the range that
/// it is in, each once.
class answer_table {
public:
  answer_table(std::int64_t rows, std::int64_t k);

  /// All pairs of the plan are expected from one more place.
  void expect(const group_plan& plan);
  /// The answers to one sent range: one row of `row_bytes` for each of its assignments. Returns how
  /// many of them were new; 0 means the payload is not referred to.
  std::int64_t place(const group_plan& plan,
                     const send_range& range,
                     const std::byte* payload,
                     std::size_t row_bytes);
  /// No answer will come to this range.
  void give_up(const group_plan& plan, const send_range& range);

  /// Pairs of the range that have no answer and are expected from at most `places`; ascending.
  std::vector<std::uint32_t>
  open_pairs(const group_plan& plan, const send_range& range, unsigned places) const;
  bool has_open(const group_plan& plan, const send_range& range) const;

  std::int64_t missing() const noexcept { return missing_; }
  bool complete() const noexcept { return missing_ == 0; }
  /// (rows, k) pointers to rows as they travel; null where missing.
  const std::byte* const* pointers() const noexcept { return pointers_.data(); }

private:
  std::int64_t k_;
  std::int64_t missing_;
  std::vector<const std::byte*> pointers_;
  std::vector<std::uint16_t> expected_;  // (rows, k) places
};

/// y[i] = fma(w, x[i], y[i]) for i in [0, n): accumulate of the row kernels.
using accumulate_function = void (*)(float w, const float* x, float* y, std::int64_t n);

/// Rows [first, first + count): weights (rows, k), answers (rows, k) all present, in the form that
/// the codec reads, y (rows, hidden) overwritten. Rows of f32 are read where they lie, aligned to 4
/// bytes. Ranges of one batch may run on different threads.
void combine(std::int64_t first,
             std::int64_t count,
             std::int64_t k,
             std::int64_t hidden,
             const float* weights,
             const std::byte* const* answers,
             const kernels::row_codec& codec,
             float* y,
             accumulate_function add);

}  // namespace atl::experts
