// What the kernels of one instruction set and numeric class offer, as plain functions. They expect
// the floating-point mode of mxcsr.hpp and never fail. Internal to runtime/kernels: everything here
// is free of inline code, so that no function compiled for a large instruction set can be linked
// into code that runs on a small one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace atl::kernels {

/// Tokens [begin, end) of x (tokens, k) into `packed`.
struct pack_range {
  const float* x;
  std::int64_t x_stride;
  std::int64_t tokens;
  std::int64_t k;
  std::int64_t begin;
  std::int64_t end;
  std::byte* packed;
};

/// y (tokens, rows) = x W^T; fields as in matmul::multiply and tensor::weight_matrix.
struct product {
  const std::byte* weights;
  std::int64_t rows;
  std::int64_t cols;
  const float* scales;
  std::int64_t scale_cols;
  std::int64_t first_row;
  const std::byte* packed;
  std::int64_t tokens;
  float* y;
  std::int64_t y_stride;
  std::byte* scratch;  // 64-byte aligned, scratch_bytes() long
};

/// y[t, c] = sum over r of w[r, c] x[t, r], c in [col_begin, col_end).
struct transposed_product {
  const std::byte* weights;
  std::int64_t rows;
  std::int64_t cols;
  const float* scales;
  std::int64_t scale_cols;
  std::int64_t first_row;
  const float* x;
  std::int64_t x_stride;
  std::int64_t tokens;
  std::int64_t col_begin;
  std::int64_t col_end;
  float* y;
  std::int64_t y_stride;
};

/// Kernels for one type of weights.
struct format_kernels {
  std::size_t (*packed_bytes)(std::int64_t tokens, std::int64_t k);
  void (*pack)(const pack_range&);
  std::size_t (*scratch_bytes)(std::int64_t tokens, std::int64_t k);
  void (*multiply)(const product&);
  void (*multiply_transposed)(const transposed_product&);
};

struct kernel_table {
  format_kernels f32;
  format_kernels f16;
  format_kernels bf16;
  format_kernels f8;
};

extern const kernel_table avx2_invariant;
extern const kernel_table avx2_fast;
extern const kernel_table avx512_invariant;
extern const kernel_table avx512_fast;
/// With vdpbf16ps.
const kernel_table& avx512_bf16_fast();
/// Only where the process may use tiles.
const kernel_table& amx_invariant();
const kernel_table& amx_fast();

}  // namespace atl::kernels
