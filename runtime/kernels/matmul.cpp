#include "runtime/kernels/matmul.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/kernels/cpu/mxcsr.hpp"
#include "runtime/kernels/cpu/table.hpp"

#include <algorithm>
#include <array>

namespace atl::kernels {
namespace {

const kernel_table* find_table(isa set, numerics order) {
  if (set == isa::avx2) return order == numerics::invariant ? &avx2_invariant : &avx2_fast;
  if (set == isa::amx) return order == numerics::invariant ? &amx_invariant() : &amx_fast();
  if (order == numerics::invariant) return &avx512_invariant;
  return has_avx512_bf16() ? &avx512_bf16_fast() : &avx512_fast;
}

const format_kernels& kernels_for(const kernel_table& table, tensor::dtype weights) {
  switch (weights) {
  case tensor::dtype::f32: return table.f32;
  case tensor::dtype::f16: return table.f16;
  case tensor::dtype::bf16: return table.bf16;
  case tensor::dtype::f8_e4m3: break;
  }
  return table.f8;
}

}  // namespace

result<matmul> matmul::make(isa set, numerics order) {
  const std::string& refusal = isa_refusal(set);
  if (!refusal.empty()) {
    return error{errc::unsupported,
                 "instruction set " + std::string{to_string(set)} + " cannot be used: " + refusal};
  }
  return matmul{set, order, find_table(set, order)};
}

std::size_t matmul::packed_bytes(tensor::dtype weights, std::int64_t tokens, std::int64_t k) const {
  return kernels_for(*table_, weights).packed_bytes(tokens, k);
}

void matmul::pack(tensor::dtype weights,
                  const float* x,
                  std::int64_t x_stride,
                  std::int64_t tokens,
                  std::int64_t k,
                  std::int64_t begin,
                  std::int64_t end,
                  std::byte* packed) const {
  ATOLL_ASSERT(begin >= 0 && begin % pack_tokens() == 0);
  ATOLL_ASSERT(end <= tokens && (end == tokens || end % pack_tokens() == 0));
  const flush_denormals mode;
  kernels_for(*table_, weights).pack({x, x_stride, tokens, k, begin, end, packed});
}

void matmul::multiply(const tensor::weight_matrix& w,
                      const std::byte* packed,
                      std::int64_t tokens,
                      float* y,
                      std::int64_t y_stride,
                      tensor::worker& on) const {
  ATOLL_ASSERT(w.type != tensor::dtype::f8_e4m3 || w.scales != nullptr);
  if (tokens == 0 || w.rows == 0) return;
  const format_kernels& run = kernels_for(*table_, w.type);
  on.scratch.reserve(run.scratch_bytes(tokens, w.cols));
  const flush_denormals mode;
  run.multiply({w.data,
                w.rows,
                w.cols,
                w.scales,
                w.scale_cols,
                w.first_row,
                packed,
                tokens,
                y,
                y_stride,
                on.scratch.as<std::byte>()});
}

std::int64_t matmul::chunk_rows(const tensor::weight_matrix& w, std::int64_t tokens) const {
  // Enough work to hide taking the chunk (some microseconds), little enough that workers end
  // together: 512 KiB of weights (the first rows of a chunk are not prefetched), fewer when many
  // tokens make a row expensive.
  constexpr std::int64_t weight_bytes = 512 << 10;
  constexpr std::int64_t unit = 32;  // rows that the widest kernel takes at once
  const std::int64_t cost = std::max<std::int64_t>(1, tokens / 8);
  const auto row_bytes = static_cast<std::int64_t>(w.row_bytes());
  const std::int64_t rows = weight_bytes / std::max<std::int64_t>(1, row_bytes * cost);
  return std::clamp<std::int64_t>(rows / unit * unit, unit, 256);
}

void matmul::multiply_transposed(const tensor::weight_matrix& w,
                                 const float* x,
                                 std::int64_t x_stride,
                                 std::int64_t tokens,
                                 std::int64_t col_begin,
                                 std::int64_t col_end,
                                 float* y,
                                 std::int64_t y_stride) const {
  ATOLL_ASSERT(col_begin >= 0 && col_end <= w.cols);
  ATOLL_ASSERT(w.type != tensor::dtype::f8_e4m3 || w.scales != nullptr);
  const flush_denormals mode;
  kernels_for(*table_, w.type)
      .multiply_transposed({w.data,
                            w.rows,
                            w.cols,
                            w.scales,
                            w.scale_cols,
                            w.first_row,
                            x,
                            x_stride,
                            tokens,
                            col_begin,
                            col_end,
                            y,
                            y_stride});
}

}  // namespace atl::kernels
