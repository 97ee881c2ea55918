#include "runtime/kernels/matmul.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/kernels/reference/matmul.hpp"

#include <algorithm>
#include <cstring>

namespace atl::kernels {

result<matmul> matmul::make(isa set, numerics order) {
  const std::string& refusal = isa_refusal(set);
  if (!refusal.empty()) {
    return error{errc::unsupported,
                 "instruction set " + std::string{to_string(set)} + " cannot be used: " + refusal};
  }
  return matmul{set, order, nullptr};
}

std::size_t
matmul::packed_bytes(tensor::dtype /*weights*/, std::int64_t tokens, std::int64_t k) const {
  return static_cast<std::size_t>(tokens * k) * sizeof(float);
}

void matmul::pack(tensor::dtype /*weights*/,
                  const float* x,
                  std::int64_t x_stride,
                  std::int64_t tokens,
                  std::int64_t k,
                  std::int64_t begin,
                  std::int64_t end,
                  std::byte* packed) const {
  ATOLL_ASSERT(begin % pack_tokens() == 0 && end <= tokens);
  for (std::int64_t t = begin; t < end; ++t)
    std::memcpy(packed + t * k * 4, x + t * x_stride, static_cast<std::size_t>(k) * sizeof(float));
}

void matmul::multiply(const tensor::weight_matrix& w,
                      const std::byte* packed,
                      std::int64_t tokens,
                      float* y,
                      std::int64_t y_stride,
                      tensor::worker& /*on*/) const {
  const auto* x = reinterpret_cast<const float*>(packed);
  reference::multiply_invariant(w, {x, w.cols, tokens}, y, y_stride);
}

std::int64_t matmul::chunk_rows(const tensor::weight_matrix& w, std::int64_t tokens) const {
  constexpr std::int64_t bytes_aim = 256 << 10;
  const auto row_bytes = static_cast<std::int64_t>(w.row_bytes());
  const std::int64_t rows =
      bytes_aim / std::max<std::int64_t>(row_bytes * std::max<std::int64_t>(1, tokens / 16), 1);
  return std::clamp<std::int64_t>(rows / 32 * 32, 32, 256);
}

void matmul::multiply_transposed(const tensor::weight_matrix& w,
                                 const float* x,
                                 std::int64_t x_stride,
                                 std::int64_t tokens,
                                 std::int64_t col_begin,
                                 std::int64_t col_end,
                                 float* y,
                                 std::int64_t y_stride) const {
  reference::multiply_transposed_invariant(
      w, {x, x_stride, tokens}, col_begin, col_end, y, y_stride);
}

}  // namespace atl::kernels
