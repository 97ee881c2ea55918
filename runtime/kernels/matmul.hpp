// Products of stored weights with rows of activations: y = x W^T, and the transposed product that
// absorbed attention needs. Weights stay as they are stored (row-major, mapped, any alignment) and
// are never read past their end; activations are packed once and used for many matrices.
//
// The invariant class. y[t, r] is a function of row r of W and row t of x alone, the same bits for
// any instruction set, number of tokens, chunk of rows and alignment. Everything is computed with
// denormal inputs and results taken as zero (MXCSR FTZ and DAZ, set and restored here), rounding to
// nearest. It is the order in which Intel's TDPBF16PS adds:
//   parts     x = hi + mid + lo, each a bfloat16: hi = x with its low 16 bits cleared, mid = x - hi
//             cleared alike, lo = the rest (all exact; Dekker's splitting with truncation).
//   step      32 positions p and one part: e = fma(w[p], x[p], e) over even p ascending from +0, o
//             the same over odd p; the step's value is e + o.
//   bfloat16  K is padded with zeros to a multiple of 32; position p of step s is k = 32 s + p.
//             C = +0; for each s, for hi, mid, lo: C = C + step. y = C.
//   FP8       K is padded with zeros to a multiple of 64. Each group of 64 has two steps h = 0, 1;
//             position p of step h is k = 64 g + 16 (p / 8) + 8 h + p % 8 (the order that unpacking
//             bytes to words gives). C = +0 for each 128 columns; for each group and h, for hi,
//             mid, lo: C = C + step. After each 128 columns: total = fma(C, scale, total), total
//             from +0.
//   f32, f16  16 lanes, lane = k % 16, K padded with zeros to a multiple of 16:
//             a[lane] = fma(w[k], x[k], a[lane]) from +0; then a[i] += a[i + 8] for i < 8, with 4,
//             2 and 1 in turn; y = a[0].
// A NaN stays a NaN, its payload is not promised. An infinite activation gives NaN with bfloat16
// and FP8 weights (its remainder has no value).
//
// Transposed: y[t, c] is one chain over r ascending from +0: y = fma(w[r, c], x[t, r], y). With FP8
// weights one such chain for each run of rows that share a scale, then
// total = fma(chain, scale, total), total from +0. Same flushing; x is not split.
//
// The fast class has no fixed order: a few tokens are as accurate as above, many tokens may be
// rounded to bfloat16 before the product.
//
// Threads: const and free of state; different workers may pack different ranges of tokens into one
// buffer, and multiply different row ranges by the same packed activations, at once.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/kernels/isa.hpp"
#include "runtime/tensor/device.hpp"
#include "runtime/tensor/view.hpp"

#include <cstddef>
#include <cstdint>

namespace atl::kernels {

enum class numerics : std::uint8_t { invariant, fast };

struct kernel_table;

class matmul {
public:
  /// Refused when the machine cannot run `set`, with the reason.
  static result<matmul> make(isa set, numerics order);

  isa set() const noexcept { return set_; }
  numerics order() const noexcept { return order_; }

  /// Bytes that pack() writes for x (tokens, k) and weights of that type.
  std::size_t packed_bytes(tensor::dtype weights, std::int64_t tokens, std::int64_t k) const;

  /// Ranges given to pack() begin at a multiple of this.
  static constexpr std::int64_t pack_tokens() { return 16; }

  /// Packs tokens [begin, end) of x (tokens, k), row t at x + t * x_stride, into `packed` (64-byte
  /// aligned, packed_bytes() long). `tokens` and `k` are those of the whole product.
  void pack(tensor::dtype weights,
            const float* x,
            std::int64_t x_stride,
            std::int64_t tokens,
            std::int64_t k,
            std::int64_t begin,
            std::int64_t end,
            std::byte* packed) const;

  /// y (tokens, w.rows), row t at y + t * y_stride: all tokens of `packed` by all rows of w.
  void multiply(const tensor::weight_matrix& w,
                const std::byte* packed,
                std::int64_t tokens,
                float* y,
                std::int64_t y_stride,
                tensor::worker& on) const;

  /// Rows per chunk for parallel work on this matrix with that many tokens.
  std::int64_t chunk_rows(const tensor::weight_matrix& w, std::int64_t tokens) const;

  /// y[t, c] = sum over r of w[r, c] x[t, r] for c in [col_begin, col_end); y[t, c] is at
  /// y + t * y_stride + c, row t of x at x + t * x_stride. W_UK of one head is such a w:
  /// (nope_dim, kv_rank).
  void multiply_transposed(const tensor::weight_matrix& w,
                           const float* x,
                           std::int64_t x_stride,
                           std::int64_t tokens,
                           std::int64_t col_begin,
                           std::int64_t col_end,
                           float* y,
                           std::int64_t y_stride) const;

private:
  matmul(isa set, numerics order, const kernel_table* table)
      : set_{set}, order_{order}, table_{table} {}

  isa set_;
  numerics order_;
  const kernel_table* table_;
};

}  // namespace atl::kernels
