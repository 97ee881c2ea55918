#include "runtime/kernels/rope_table.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace atl::kernels {
namespace {

/// DeepSeek-V3: rope_dim 64, theta 10000, factor 40 over 4096 positions.
yarn_parameters v3() { return {40, 4096, 32, 1, 1.0, 1.0, {}}; }

void expect_close(float got, double expected) {
  EXPECT_NEAR(static_cast<double>(got) / expected, 1.0, 3e-7) << got << " " << expected;
}

TEST(rope_table, plain_frequencies) {
  const rope_table table{64, 10000, {}};
  ASSERT_EQ(table.pairs(), 32);
  for (int i = 0; i < 32; ++i)
    expect_close(table.inverse_frequencies()[static_cast<std::size_t>(i)],
                 std::pow(10000.0, -2.0 * i / 64));
  EXPECT_EQ(table.multiplier(), 1.0F);
  EXPECT_EQ(table.softmax_factor(), 1.0);
}

TEST(rope_table, yarn_frequencies_of_deepseek) {
  const rope_table table{64, 10000, v3()};
  const std::vector<float>& f = table.inverse_frequencies();
  ASSERT_EQ(f.size(), 32U);
  // Values checked by an independent computation.
  expect_close(f[0], 1);
  expect_close(f[9], 0.0749894209);
  expect_close(f[11], 0.0390069266);
  expect_close(f[15], 0.00833450895);
  expect_close(f[22], 1.77827941e-4);
  expect_close(f[23], 3.33380358e-5);
  expect_close(f[24], 2.5e-5);
  expect_close(f[31], 3.33380358e-6);
}

TEST(rope_table, softmax_factor_and_multiplier) {
  const double base = 1 / std::sqrt(192.0);
  const rope_table v3_table{64, 10000, v3()};
  EXPECT_NEAR(v3_table.softmax_factor() * base, 0.1352337789, 1e-10);
  EXPECT_EQ(v3_table.multiplier(), 1.0F);

  yarn_parameters lite = v3();
  lite.mscale = lite.mscale_all_dim = 0.707;
  EXPECT_NEAR(rope_table(64, 10000, lite).softmax_factor() * base, 0.1147213868, 1e-10);
  EXPECT_EQ(rope_table(64, 10000, lite).multiplier(), 1.0F);

  // Without mscale_all_dim the softmax is not scaled, but sine and cosine are.
  yarn_parameters plain = v3();
  plain.mscale_all_dim = 0;
  const double m = 0.1 * std::log(40.0) + 1;
  EXPECT_EQ(rope_table(64, 10000, plain).softmax_factor(), 1.0);
  EXPECT_NEAR(rope_table(64, 10000, plain).multiplier(), m, 1e-6);

  yarn_parameters different = v3();
  different.mscale = 0.5;
  EXPECT_NEAR(rope_table(64, 10000, different).multiplier(), (0.05 * std::log(40.0) + 1) / m, 1e-6);

  yarn_parameters given = v3();
  given.attention_factor = 1.25;
  EXPECT_EQ(rope_table(64, 10000, given).multiplier(), 1.25F);

  yarn_parameters shrinking = v3();
  shrinking.factor = 0.5;
  EXPECT_EQ(rope_table(64, 10000, shrinking).softmax_factor(), 1.0);
}

TEST(rope_table, a_ramp_without_width_does_not_divide_by_zero) {
  // All pairs turn more often than beta_fast, or none does.
  for (const double original : {1.0, 1e9}) {
    yarn_parameters yarn = v3();
    yarn.original_max_position = original;
    const rope_table table{4, 10000, yarn};
    for (const float f : table.inverse_frequencies()) EXPECT_TRUE(std::isfinite(f) && f > 0);
  }
}

TEST(rope_table, angles_are_rounded_to_float_first) {
  const rope_table table{64, 10000, v3()};
  std::vector<float> cos(32);
  std::vector<float> sin(32);
  for (const std::int64_t position : {0, 1, 77, 4096, 163839, 1000000}) {
    table.angles(position, cos.data(), sin.data());
    for (std::size_t i = 0; i < 32; ++i) {
      const float angle = static_cast<float>(position) * table.inverse_frequencies()[i];
      EXPECT_NEAR(cos[i], std::cos(static_cast<double>(angle)), 6e-8);
      EXPECT_NEAR(sin[i], std::sin(static_cast<double>(angle)), 6e-8);
    }
  }
  yarn_parameters given = v3();
  given.attention_factor = 2.0;
  rope_table(64, 10000, given).angles(0, cos.data(), sin.data());
  EXPECT_EQ(cos[5], 2.0F);
  EXPECT_EQ(sin[5], 0.0F);
}

}  // namespace
}  // namespace atl::kernels
