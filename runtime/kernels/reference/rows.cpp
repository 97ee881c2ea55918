#include "runtime/kernels/reference/rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace atl::kernels::reference {

namespace {

double element(const std::byte* data, tensor::dtype type, std::size_t i) {
  const std::byte* p = data + i * tensor::element_bytes(type);
  if (type == tensor::dtype::f8_e4m3)
    return static_cast<double>(tensor::f8_e4m3_to_f32(static_cast<std::uint8_t>(*p)));
  if (type == tensor::dtype::f32) {
    float value = 0;
    std::memcpy(&value, p, sizeof value);
    return static_cast<double>(value);
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  const float value =
      type == tensor::dtype::bf16 ? tensor::bf16_to_f32(bits) : tensor::f16_to_f32(bits);
  return static_cast<double>(value);
}

}  // namespace

std::vector<double> values_of(const tensor::weight_vector& w) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < w.count; ++i)
    values.push_back(element(w.data, w.type, static_cast<std::size_t>(i)));
  return values;
}

std::vector<double> row_of(const tensor::weight_matrix& table, std::int64_t row) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < table.cols; ++i)
    values.push_back(
        element(table.data, table.type, static_cast<std::size_t>(row * table.cols + i)) *
        static_cast<double>(table.scale(row, i)));
  return values;
}

std::vector<double> rms_norm(std::span<const float> x, const tensor::weight_vector& w, double eps) {
  std::vector<double> y = values_of(w);
  double sum = 0;
  for (const float v : x) sum += static_cast<double>(v) * static_cast<double>(v);
  const double root = std::sqrt(sum / static_cast<double>(x.size()) + eps);
  for (std::size_t i = 0; i < x.size(); ++i) y[i] *= static_cast<double>(x[i]) / root;
  return y;
}

double sigmoid(double x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}

double silu(double x) { return x * sigmoid(x); }

std::vector<double> softmax(std::span<const float> x) {
  const double top = static_cast<double>(*std::max_element(x.begin(), x.end()));
  std::vector<double> y;
  double sum = 0;
  for (const float v : x) {
    y.push_back(std::exp(static_cast<double>(v) - top));
    sum += y.back();
  }
  for (double& v : y) v /= sum;
  return y;
}

std::vector<double> rope(std::span<const float> x,
                         std::span<const float> cos,
                         std::span<const float> sin,
                         bool interleaved) {
  std::vector<double> y(x.begin(), x.end());
  for (std::size_t j = 0; j < cos.size(); ++j) {
    const std::size_t first = interleaved ? 2 * j : j;
    const std::size_t second = interleaved ? 2 * j + 1 : j + cos.size();
    const double a = y[first];
    const double b = y[second];
    const double c = static_cast<double>(cos[j]);
    const double s = static_cast<double>(sin[j]);
    y[first] = a * c - b * s;
    y[second] = a * s + b * c;
  }
  return y;
}

}  // namespace atl::kernels::reference
