#include "runtime/kernels/isa.hpp"
#include "runtime/kernels/math.hpp"
#include "runtime/kernels/reference/rows.hpp"
#include "runtime/kernels/rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace atl::kernels {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t lengths[] = {1, 2, 7, 15, 16, 17, 31, 48, 100, 576, 2048, 2061};

std::vector<row_kernels> sets() {
  std::vector<row_kernels> found;
  for (const isa set : {isa::avx2, isa::avx512})
    if (isa_available(set)) found.push_back(row_kernels::make(set));
  return found;
}

std::vector<float> random_row(std::int64_t n, unsigned seed, float size = 1.0F) {
  std::mt19937 random{seed};
  std::normal_distribution<float> normal{0.0F, size};
  std::vector<float> row(static_cast<std::size_t>(n));
  for (float& v : row) v = normal(random);
  return row;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void expect_close(const std::vector<float>& got, const std::vector<double>& expected, double part) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], expected[i], part * std::fabs(expected[i]) + 1e-38) << i;
}

/// Values stored in a type, at an odd address.
struct stored {
  std::vector<std::byte> bytes;
  tensor::dtype type;
  std::int64_t count;

  stored(const std::vector<float>& values, tensor::dtype t)
      : bytes(1 + values.size() * tensor::element_bytes(t)),
        type{t},
        count{static_cast<std::int64_t>(values.size())} {
    std::byte* out = bytes.data() + 1;
    for (const float v : values) {
      const std::uint16_t half =
          t == tensor::dtype::f16 ? tensor::f32_to_f16(v) : tensor::f32_to_bf16(v);
      const std::uint8_t eight = tensor::f32_to_f8_e4m3(v);
      if (t == tensor::dtype::f32)
        std::memcpy(out, &v, 4);
      else if (t == tensor::dtype::f8_e4m3)
        std::memcpy(out, &eight, 1);
      else
        std::memcpy(out, &half, 2);
      out += tensor::element_bytes(t);
    }
  }

  const std::byte* data() const { return bytes.data() + 1; }
  tensor::weight_vector vector() const { return {data(), type, count}; }
};

constexpr tensor::dtype plain_types[] = {
    tensor::dtype::f32, tensor::dtype::f16, tensor::dtype::bf16};

TEST(rows, rms_norm) {
  for (const std::int64_t n : lengths)
    for (const tensor::dtype type : plain_types) {
      const std::vector<float> x = random_row(n, 1, 3.0F);
      const stored w{random_row(n, 2), type};
      const std::vector<double> expected = reference::rms_norm(x, w.vector(), 1e-6);
      std::vector<std::vector<float>> results;
      for (const row_kernels& rows : sets()) {
        std::vector<float> y = x;
        rows.rms_norm(y.data(), w.vector(), 1e-6F, y.data(), n);  // in place
        expect_close(y, expected, 1e-6);
        results.push_back(y);
      }
      for (const auto& y : results) EXPECT_TRUE(same_bits(y, results.front()));
    }
}

/// The sum of f(i, sum) over 16 lanes and their tree, as rows.hpp promises.
template <class Function>
float in_lanes(std::size_t n, Function&& f) {
  float lane[16] = {};
  for (std::size_t i = 0; i < n; ++i) lane[i % 16] = f(i, lane[i % 16]);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
  return lane[0];
}

TEST(rows, reductions_add_in_the_order_they_promise) {
  for (const std::int64_t n : lengths) {
    const std::vector<float> x = random_row(n, 1, 3.0F);
    const stored w{random_row(n, 2), tensor::dtype::f32};
    const float squares =
        in_lanes(x.size(), [&](std::size_t i, float sum) { return std::fma(x[i], x[i], sum); });
    const float r = rsqrt_f32(squares / static_cast<float>(n) + 1e-6F);
    const float top = *std::max_element(x.begin(), x.end());
    const float total =
        in_lanes(x.size(), [&](std::size_t i, float sum) { return sum + exp_f32(x[i] - top); });
    const std::vector<double> weights = reference::values_of(w.vector());
    for (const row_kernels& rows : sets()) {
      std::vector<float> y(x.size());
      rows.rms_norm(x.data(), w.vector(), 1e-6F, y.data(), n);
      std::vector<float> p = x;
      rows.softmax(p.data(), n);
      for (std::size_t i = 0; i < x.size(); ++i) {
        const float weight = static_cast<float>(weights[i]);
        ASSERT_EQ(y[i], x[i] * r * weight) << i;
        ASSERT_EQ(p[i], exp_f32(x[i] - top) / total) << i;
      }
    }
  }
}

TEST(rows, rms_norm_of_zeros_is_kept_finite_by_eps) {
  const stored w{std::vector<float>(20, 1.0F), tensor::dtype::bf16};
  for (const row_kernels& rows : sets()) {
    std::vector<float> y(20, 0.0F);
    rows.rms_norm(y.data(), w.vector(), 1e-6F, y.data(), 20);
    EXPECT_EQ(y, std::vector<float>(20, 0.0F));
    std::vector<float> small(20, 1e-3F);
    rows.rms_norm(small.data(), w.vector(), 3e-6F, small.data(), 20);
    EXPECT_NEAR(small[0], 0.5, 1e-6) << "1e-3 / sqrt(1e-6 + 3e-6)";
  }
}

TEST(rows, elementwise_functions) {
  for (const std::int64_t n : lengths) {
    const std::vector<float> a = random_row(n, 3, 4.0F);
    const std::vector<float> b = random_row(n, 4);
    for (const row_kernels& rows : sets()) {
      std::vector<float> swiglu(a.size() + 1, 7.0F);
      std::vector<float> sum = a;
      std::vector<float> fused = a;
      std::vector<float> scaled(a.size());
      std::vector<float> sigmoid = a;
      rows.swiglu(a.data(), b.data(), swiglu.data(), n);
      rows.add(sum.data(), b.data(), n);
      rows.accumulate(0.3F, b.data(), fused.data(), n);
      rows.scale_copy(0.3F, b.data(), scaled.data(), n);
      rows.sigmoid(sigmoid.data(), n);
      EXPECT_EQ(swiglu.back(), 7.0F) << "wrote past the end";
      for (std::size_t i = 0; i < a.size(); ++i) {
        EXPECT_EQ(swiglu[i], silu_f32(a[i]) * b[i]);
        EXPECT_NEAR(swiglu[i], reference::silu(a[i]) * static_cast<double>(b[i]), 1e-5);
        EXPECT_EQ(sum[i], a[i] + b[i]);
        EXPECT_EQ(fused[i], std::fma(0.3F, b[i], a[i]));
        EXPECT_EQ(scaled[i], 0.3F * b[i]);
        EXPECT_EQ(sigmoid[i], sigmoid_f32(a[i]));
      }
    }
  }
}

TEST(rows, rope_in_both_orders) {
  for (const std::int64_t pairs : {1, 3, 8, 16, 29, 32}) {
    const std::vector<float> x = random_row(2 * pairs, 5);
    std::vector<float> cos;
    std::vector<float> sin;
    for (std::int64_t j = 0; j < pairs; ++j) {
      cos.push_back(sin_cos(static_cast<float>(j)).cos);
      sin.push_back(sin_cos(static_cast<float>(j)).sin);
    }
    for (const bool interleaved : {true, false}) {
      const std::vector<double> expected = reference::rope(x, cos, sin, interleaved);
      for (const row_kernels& rows : sets()) {
        std::vector<float> y = x;
        rows.rope(y.data(), cos.data(), sin.data(), pairs, interleaved);
        for (std::int64_t j = 0; j < pairs; ++j) {
          const auto first = static_cast<std::size_t>(interleaved ? 2 * j : j);
          const auto second = static_cast<std::size_t>(interleaved ? 2 * j + 1 : j + pairs);
          const float c = cos[static_cast<std::size_t>(j)];
          const float s = sin[static_cast<std::size_t>(j)];
          EXPECT_NEAR(y[first], expected[first], 1e-6);
          EXPECT_NEAR(y[second], expected[second], 1e-6);
          EXPECT_EQ(y[first], std::fma(x[first], c, -(x[second] * s)));
          EXPECT_EQ(y[second], std::fma(x[second], c, x[first] * s));
        }
      }
    }
  }
}

TEST(rows, embed_every_type) {
  for (const std::int64_t cols : {1, 17, 128, 300}) {
    const std::vector<float> values = random_row(5 * cols, 6);
    const std::int64_t scale_cols = (cols + 127) / 128;
    std::vector<float> scales = random_row(3 * scale_cols, 7);
    for (const tensor::dtype type :
         {tensor::dtype::f32, tensor::dtype::f16, tensor::dtype::bf16, tensor::dtype::f8_e4m3}) {
      const stored data{values, type};
      tensor::weight_matrix table{data.data(), type, 5, cols};
      if (type == tensor::dtype::f8_e4m3) {
        table.scales = scales.data();
        table.scale_cols = scale_cols;
        table.first_row = 126;  // rows 0 and 1 in one block, the others in the next
      }
      for (const std::int64_t row : {0, 2, 4}) {
        const std::vector<double> expected = reference::row_of(table, row);
        for (const row_kernels& rows : sets()) {
          std::vector<float> y(static_cast<std::size_t>(cols));
          rows.embed(table, row, y.data());
          for (std::size_t i = 0; i < y.size(); ++i)
            EXPECT_EQ(y[i], static_cast<float>(expected[i]));
        }
      }
    }
  }
}

TEST(rows, softmax) {
  for (const std::int64_t n : lengths) {
    const std::vector<float> x = random_row(n, 8, 5.0F);
    const std::vector<double> expected = reference::softmax(x);
    std::vector<std::vector<float>> results;
    for (const row_kernels& rows : sets()) {
      std::vector<float> y = x;
      rows.softmax(y.data(), n);
      expect_close(y, expected, 2e-6);
      results.push_back(y);
    }
    for (const auto& y : results) EXPECT_TRUE(same_bits(y, results.front()));
  }
}

TEST(rows, softmax_of_large_and_excluded_values) {
  for (const row_kernels& rows : sets()) {
    std::vector<float> y{1000.0F, 1000.0F, -infinity};
    rows.softmax(y.data(), 3);
    EXPECT_EQ(y, (std::vector<float>{0.5F, 0.5F, 0.0F}));
    std::vector<float> negative(40, -1e30F);
    rows.softmax(negative.data(), 40);
    EXPECT_EQ(negative, std::vector<float>(40, 0.025F));
  }
}

TEST(rows, argmax) {
  for (const row_kernels& rows : sets()) {
    for (const std::int64_t n : lengths) {
      const std::vector<float> x = random_row(n, 9);
      EXPECT_EQ(rows.argmax(x.data(), n), std::max_element(x.begin(), x.end()) - x.begin());
    }
    std::vector<float> ties(200, -3.0F);
    EXPECT_EQ(rows.argmax(ties.data(), 200), 0);
    ties[130] = ties[67] = ties[181] = 2.0F;
    EXPECT_EQ(rows.argmax(ties.data(), 200), 67) << "the lowest of equals, over lanes";
    ties[3] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(rows.argmax(ties.data(), 200), 67) << "NaN never wins";
    const std::vector<float> lowest(20, -infinity);
    EXPECT_EQ(rows.argmax(lowest.data(), 20), 0);
    EXPECT_EQ(rows.argmax(ties.data(), 1), 0);
  }
}

}  // namespace
}  // namespace atl::kernels
