#include "runtime/kernels/isa.hpp"
#include "runtime/kernels/math.hpp"
#include "runtime/kernels/rows.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace atl::kernels {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

/// Distance of `got` from the exact value in units of the last place of a float there.
double ulps(float got, double exact) {
  const double size = std::fabs(exact);
  const int exponent = size < 0x1p-126 ? -126 : std::ilogb(size);
  return std::fabs(static_cast<double>(got) - exact) / std::ldexp(1.0, exponent - 23);
}

/// Calls check(x) for floats of every sign and exponent, 8 million of them, NaN and infinities
/// among them.
template <class Check>
void for_many_floats(Check&& check) {
  for (std::uint64_t bits = 0; bits <= 0xFFFFFFFFU; bits += 509)
    check(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  for (const float x : {0.0F, -0.0F, infinity, -infinity, not_a_number, 1e-45F, -1e-45F}) check(x);
}

TEST(math, exp_is_within_two_ulp) {
  double worst = 0;
  for_many_floats([&](float x) {
    const float y = exp_f32(x);
    if (std::isnan(x)) {
      EXPECT_TRUE(std::isnan(y));
      return;
    }
    const double exact = std::exp(static_cast<double>(x));
    if (exact > static_cast<double>(std::numeric_limits<float>::max())) {
      EXPECT_EQ(y, infinity) << x;
      return;
    }
    worst = std::max(worst, ulps(y, exact));
  });
  EXPECT_LT(worst, 1.2);
  EXPECT_EQ(exp_f32(0.0F), 1.0F);
  EXPECT_EQ(exp_f32(-0.0F), 1.0F);
  EXPECT_EQ(exp_f32(-infinity), 0.0F);
  EXPECT_EQ(exp_f32(-103.9F), 1e-45F) << "the smallest denormal";
  EXPECT_EQ(exp_f32(-104.1F), 0.0F);
}

TEST(math, sigmoid_keeps_its_relative_accuracy) {
  double worst = 0;
  for_many_floats([&](float x) {
    if (std::isnan(x)) {
      EXPECT_TRUE(std::isnan(sigmoid_f32(x)));
      return;
    }
    const double e = std::exp(-std::fabs(static_cast<double>(x)));
    worst = std::max(worst, ulps(sigmoid_f32(x), (std::signbit(x) ? e : 1.0) / (1.0 + e)));
  });
  EXPECT_LT(worst, 4.0);
  EXPECT_EQ(sigmoid_f32(0.0F), 0.5F);
  EXPECT_EQ(sigmoid_f32(infinity), 1.0F);
  EXPECT_EQ(sigmoid_f32(-infinity), 0.0F);
}

TEST(math, silu_of_large_values) {
  EXPECT_EQ(silu_f32(100.0F), 100.0F);
  EXPECT_EQ(silu_f32(infinity), infinity);
  EXPECT_TRUE(std::isnan(silu_f32(-infinity)));
  EXPECT_NEAR(silu_f32(-20.0F), -20.0 / (1 + std::exp(20.0)), 1e-14);
}

TEST(math, rsqrt_is_a_root_and_a_division) {
  EXPECT_EQ(rsqrt_f32(4.0F), 0.5F);
  EXPECT_EQ(rsqrt_f32(0.0F), infinity);
  EXPECT_TRUE(std::isnan(rsqrt_f32(-1.0F)));
  for (float x = 1e-6F; x < 1e6F; x *= 1.37F)
    EXPECT_LT(ulps(rsqrt_f32(x), 1 / std::sqrt(static_cast<double>(x))), 1.6) << x;
}

TEST(math, sine_and_cosine_are_within_one_ulp) {
  double worst = 0;
  const auto check = [&](float x) {
    const sine_cosine y = sin_cos(x);
    worst = std::max(worst, ulps(y.sin, std::sin(static_cast<double>(x))));
    worst = std::max(worst, ulps(y.cos, std::cos(static_cast<double>(x))));
  };
  for_many_floats([&](float x) {
    if (std::fabs(x) <= 1e6F) check(x);
  });
  // Whole numbers of radians are what positions give, and some come close to multiples of pi.
  for (int i = 0; i <= 1000000; ++i) check(static_cast<float>(i));
  EXPECT_LT(worst, 0.51);
  EXPECT_EQ(sin_cos(0.0F).sin, 0.0F);
  EXPECT_EQ(sin_cos(0.0F).cos, 1.0F);
  for (const float x : {infinity, -infinity, not_a_number, 2e9F}) {
    EXPECT_TRUE(std::isnan(sin_cos(x).sin));
    EXPECT_TRUE(std::isnan(sin_cos(x).cos));
  }
}

/// Same bits, or both NaN.
bool same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

TEST(math, vectors_equal_scalars) {
  for (const isa set : {isa::avx2, isa::avx512}) {
    if (!isa_available(set)) continue;
    const row_kernels rows = row_kernels::make(set);
    std::vector<float> x;
    std::int64_t different = 0;
    const auto compare = [&] {
      const auto n = static_cast<std::int64_t>(x.size());
      const std::vector<float> ones(x.size(), 1.0F);
      std::vector<float> s = x;
      std::vector<float> u(x.size());
      rows.sigmoid(s.data(), n);
      rows.swiglu(x.data(), ones.data(), u.data(), n);
      for (std::size_t i = 0; i < x.size(); ++i)
        different += same(s[i], sigmoid_f32(x[i])) && same(u[i], silu_f32(x[i])) ? 0 : 1;
      x.clear();
    };
    for_many_floats([&](float v) {
      x.push_back(v);
      if (x.size() == 4099) compare();
    });
    compare();
    EXPECT_EQ(different, 0) << to_string(set);
  }
}

}  // namespace
}  // namespace atl::kernels
