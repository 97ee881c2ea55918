#include "runtime/kernels/reference/matmul.hpp"

#include <cmath>
#include <cstring>

namespace atl::kernels::reference {

double weight_at(const tensor::weight_matrix& w, std::int64_t row, std::int64_t col) {
  const std::size_t bytes = tensor::element_bytes(w.type);
  const std::byte* at = w.data + static_cast<std::size_t>(row) * w.row_bytes() +
                        static_cast<std::size_t>(col) * bytes;
  switch (w.type) {
  case tensor::dtype::f32: {
    float value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  case tensor::dtype::f16:
  case tensor::dtype::bf16: {
    std::uint16_t bits = 0;
    std::memcpy(&bits, at, sizeof bits);
    return w.type == tensor::dtype::f16 ? tensor::f16_to_f32(bits) : tensor::bf16_to_f32(bits);
  }
  case tensor::dtype::f8_e4m3: break;
  }
  const auto code = std::to_integer<std::uint8_t>(*at);
  return static_cast<double>(tensor::f8_e4m3_to_f32(code)) * static_cast<double>(w.scale(row, col));
}

void multiply(const tensor::weight_matrix& w, rows_in x, double* y, double* magnitude) {
  for (std::int64_t t = 0; t < x.tokens; ++t)
    for (std::int64_t r = 0; r < w.rows; ++r) {
      double sum = 0;
      double total = 0;
      for (std::int64_t c = 0; c < w.cols; ++c) {
        const double term = weight_at(w, r, c) * static_cast<double>(x.data[t * x.stride + c]);
        sum += term;
        total += std::fabs(term);
      }
      y[t * w.rows + r] = sum;
      if (magnitude != nullptr) magnitude[t * w.rows + r] = total;
    }
}

void multiply_transposed(const tensor::weight_matrix& w, rows_in x, double* y, double* magnitude) {
  for (std::int64_t t = 0; t < x.tokens; ++t)
    for (std::int64_t c = 0; c < w.cols; ++c) {
      double sum = 0;
      double total = 0;
      for (std::int64_t r = 0; r < w.rows; ++r) {
        const double term = weight_at(w, r, c) * static_cast<double>(x.data[t * x.stride + r]);
        sum += term;
        total += std::fabs(term);
      }
      y[t * w.cols + c] = sum;
      if (magnitude != nullptr) magnitude[t * w.cols + c] = total;
    }
}

}  // namespace atl::kernels::reference
