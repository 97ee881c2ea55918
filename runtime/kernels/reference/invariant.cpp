// The invariant class of runtime/kernels/matmul.hpp, stated in scalar code.
#include "runtime/kernels/cpu/mxcsr.hpp"
#include "runtime/kernels/reference/matmul.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

namespace atl::kernels::reference {
namespace {

using tensor::dtype;
using tensor::scale_block;
using tensor::weight_matrix;

constexpr std::int64_t step_width = 32;
constexpr std::int64_t group_width = 64;
constexpr std::int64_t parts = 3;
constexpr std::int64_t lanes = 16;

/// The stored value, without its block's scale.
float code_at(const weight_matrix& w, std::int64_t row, std::int64_t col) {
  const std::byte* at = w.data + static_cast<std::size_t>(row) * w.row_bytes() +
                        static_cast<std::size_t>(col) * tensor::element_bytes(w.type);
  if (w.type == dtype::f8_e4m3) return tensor::f8_e4m3_to_f32(std::to_integer<std::uint8_t>(*at));
  if (w.type == dtype::f32) {
    float value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return w.type == dtype::f16 ? tensor::f16_to_f32(bits) : tensor::bf16_to_f32(bits);
}

std::array<float, parts> split(float x) {
  const auto cut = [](float v) {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(v) & 0xffff0000U);
  };
  const float hi = cut(x);
  const float rest = x - hi;
  const float mid = cut(rest);
  return {hi, mid, cut(rest - mid)};
}

/// Column at position p of step s.
std::int64_t column(dtype type, std::int64_t step, std::int64_t p) {
  if (type == dtype::bf16) return step * step_width + p;
  return step / 2 * group_width + p / 8 * 16 + step % 2 * 8 + p % 8;
}

float invariant_split(const weight_matrix& w,
                      std::int64_t row,
                      const std::vector<float>& weights,
                      const std::vector<std::array<float, parts>>& x) {
  const bool scaled = w.type == dtype::f8_e4m3;
  const auto steps = static_cast<std::int64_t>(x.size()) / step_width;
  float c = 0;
  float total = 0;
  for (std::int64_t s = 0; s < steps; ++s) {
    for (std::size_t part = 0; part < parts; ++part) {
      std::array<float, 2> chain{};
      for (std::int64_t p = 0; p < step_width; ++p) {
        const auto k = static_cast<std::size_t>(column(w.type, s, p));
        float& sum = chain[static_cast<std::size_t>(p % 2)];
        sum = std::fma(weights[k], x[k][part], sum);
      }
      c = c + (chain[0] + chain[1]);
    }
    const bool block_ends = (s + 1) * step_width % scale_block == 0 || s + 1 == steps;
    if (scaled && block_ends) {
      total = std::fma(c, w.scale(row, s * step_width), total);
      c = 0;
    }
  }
  return scaled ? total : c;
}

float invariant_lanes(const std::vector<float>& weights, const float* x, std::int64_t cols) {
  std::array<float, lanes> a{};
  const std::int64_t padded = (cols + lanes - 1) / lanes * lanes;
  for (std::int64_t k = 0; k < padded; ++k) {
    float& sum = a[static_cast<std::size_t>(k % lanes)];
    const bool inside = k < cols;
    sum = std::fma(inside ? weights[static_cast<std::size_t>(k)] : 0.0F, inside ? x[k] : 0.0F, sum);
  }
  for (std::size_t half = lanes / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) a[i] = a[i] + a[i + half];
  return a[0];
}

[[gnu::noinline]] void
multiply_flushed(const weight_matrix& w, rows_in x, float* y, std::int64_t y_stride) {
  const bool by_parts = w.type == dtype::bf16 || w.type == dtype::f8_e4m3;
  const std::int64_t unit = w.type == dtype::bf16 ? step_width : group_width;
  const auto padded = static_cast<std::size_t>((w.cols + unit - 1) / unit * unit);
  std::vector<float> weights(padded);
  std::vector<std::array<float, parts>> split_x(padded);
  for (std::int64_t t = 0; t < x.tokens; ++t) {
    const float* row_x = x.data + t * x.stride;
    for (std::int64_t k = 0; k < w.cols; ++k)
      split_x[static_cast<std::size_t>(k)] = split(row_x[k]);
    for (std::int64_t r = 0; r < w.rows; ++r) {
      for (std::int64_t k = 0; k < w.cols; ++k)
        weights[static_cast<std::size_t>(k)] = code_at(w, r, k);
      y[t * y_stride + r] = by_parts ? invariant_split(w, r, weights, split_x)
                                     : invariant_lanes(weights, row_x, w.cols);
    }
  }
}

[[gnu::noinline]] float chain_flushed(const weight_matrix& w, const float* x, std::int64_t col) {
  float chain = 0;
  float total = 0;
  for (std::int64_t r = 0; r < w.rows; ++r) {
    chain = std::fma(code_at(w, r, col), x[r], chain);
    const bool run_ends = r + 1 == w.rows || (w.first_row + r + 1) % scale_block == 0;
    if (w.type == dtype::f8_e4m3 && run_ends) {
      total = std::fma(chain, w.scale(r, col), total);
      chain = 0;
    }
  }
  return w.type == dtype::f8_e4m3 ? total : chain;
}

}  // namespace

void multiply_invariant(const weight_matrix& w, rows_in x, float* y, std::int64_t y_stride) {
  const flush_denormals mode;
  multiply_flushed(w, x, y, y_stride);
}

void multiply_transposed_invariant(const weight_matrix& w,
                                   rows_in x,
                                   std::int64_t col_begin,
                                   std::int64_t col_end,
                                   float* y,
                                   std::int64_t y_stride) {
  const flush_denormals mode;
  for (std::int64_t t = 0; t < x.tokens; ++t)
    for (std::int64_t c = col_begin; c < col_end; ++c)
      y[t * y_stride + c] = chain_flushed(w, x.data + t * x.stride, c);
}

}  // namespace atl::kernels::reference
