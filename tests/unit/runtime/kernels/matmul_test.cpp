// Every kernel against the scalar statement of the invariant class (bit for bit) and against double
// precision (normalised error), on odd shapes that end at an unreadable page.
#include "runtime/kernels/matmul.hpp"
#include "runtime/kernels/reference/matmul.hpp"
#include "tests/unit/runtime/kernels/matmul_cases.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <xmmintrin.h>

namespace atl::kernels {
namespace {

using tensor::dtype;
using testing::make_activations;
using testing::make_weights;
using testing::shape;
using testing::value_range;

constexpr float canary = 12345.678F;

std::vector<float> run(const matmul& mm,
                       const tensor::weight_matrix& w,
                       const std::vector<float>& x,
                       std::int64_t tokens,
                       std::int64_t chunk) {
  const std::int64_t k = w.cols;
  aligned_buffer packed{mm.packed_bytes(w.type, tokens, k) + 64};
  for (std::int64_t begin = 0; begin < tokens; begin += matmul::pack_tokens()) {
    const std::int64_t end = std::min(begin + matmul::pack_tokens(), tokens);
    mm.pack(w.type, x.data(), k, tokens, k, begin, end, packed.as<std::byte>());
  }
  const std::int64_t stride = w.rows + 3;
  std::vector<float> y(static_cast<std::size_t>(tokens * stride), canary);
  tensor::worker on;
  for (std::int64_t r = 0; r < w.rows; r += chunk) {
    const std::int64_t rows = std::min(chunk, w.rows - r);
    mm.multiply(w.row_range(r, rows), packed.as<std::byte>(), tokens, y.data() + r, stride, on);
  }
  return y;
}

/// Bits, all NaNs alike.
std::uint32_t bits_of(float v) {
  return std::isnan(v) ? 0x7fc00000U : std::bit_cast<std::uint32_t>(v);
}

void expect_same(const std::vector<float>& a,
                 const std::vector<float>& b,
                 const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    ASSERT_EQ(bits_of(a[i]), bits_of(b[i]))
        << what << " at " << i << ": " << a[i] << " and " << b[i];
}

class matmul_isa : public ::testing::TestWithParam<isa> {
protected:
  void SetUp() override {
    if (!isa_available(GetParam())) GTEST_SKIP() << isa_refusal(GetParam());
  }
};

TEST_P(matmul_isa, invariant_equals_its_definition_bit_for_bit) {
  const matmul mm = *matmul::make(GetParam(), numerics::invariant);
  std::uint64_t seed = 1;
  for (const dtype type : {dtype::bf16, dtype::f8_e4m3, dtype::f32, dtype::f16})
    for (const shape& s : testing::odd_shapes())
      for (const value_range range : {value_range::normal, value_range::wild}) {
        const auto weights = make_weights(type, s, range, ++seed);
        const auto x = make_activations(s.tokens, s.cols, range, ++seed);
        const auto w = weights.view();
        std::vector<float> want(static_cast<std::size_t>(s.tokens * (s.rows + 3)), canary);
        reference::multiply_invariant(w, {x.data(), s.cols, s.tokens}, want.data(), s.rows + 3);
        expect_same(run(mm, w, x, s.tokens, s.rows), want, s.name(type));
        expect_same(run(mm, w, x, s.tokens, 7), want, s.name(type) + " in chunks of 7 rows");
      }
}

TEST_P(matmul_isa, transposed_equals_its_definition_bit_for_bit) {
  const matmul mm = *matmul::make(GetParam(), numerics::invariant);
  std::uint64_t seed = 1000;
  for (const dtype type : {dtype::bf16, dtype::f8_e4m3, dtype::f32, dtype::f16})
    for (const shape& s : testing::odd_shapes())
      for (const value_range range : {value_range::normal, value_range::wild}) {
        const auto weights = make_weights(type, s, range, ++seed);
        const auto x = make_activations(s.tokens, s.rows, range, ++seed);
        const auto w = weights.view();
        const std::size_t size = static_cast<std::size_t>(s.tokens * (s.cols + 1));
        std::vector<float> want(size, canary);
        std::vector<float> got(size, canary);
        const std::int64_t split = s.cols / 3;
        reference::multiply_transposed_invariant(
            w, {x.data(), s.rows, s.tokens}, 0, s.cols, want.data(), s.cols + 1);
        mm.multiply_transposed(w, x.data(), s.rows, s.tokens, 0, split, got.data(), s.cols + 1);
        mm.multiply_transposed(
            w, x.data(), s.rows, s.tokens, split, s.cols, got.data(), s.cols + 1);
        expect_same(got, want, s.name(type) + " transposed");
      }
}

/// Largest |error| / sum |w x|.
double largest_error(const tensor::weight_matrix& w,
                     const std::vector<float>& x,
                     std::int64_t tokens,
                     const std::vector<float>& y) {
  const auto size = static_cast<std::size_t>(tokens * w.rows);
  std::vector<double> exact(size);
  std::vector<double> magnitude(size);
  reference::multiply(w, {x.data(), w.cols, tokens}, exact.data(), magnitude.data());
  double worst = 0;
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t r = 0; r < w.rows; ++r) {
      const auto i = static_cast<std::size_t>(t * w.rows + r);
      const double got = static_cast<double>(y[static_cast<std::size_t>(t * (w.rows + 3) + r)]);
      worst = std::max(worst, std::fabs(got - exact[i]) / magnitude[i]);
    }
  return worst;
}

TEST_P(matmul_isa, errors_against_double_precision_are_small) {
  std::uint64_t seed = 2000;
  for (const numerics order : {numerics::invariant, numerics::fast}) {
    const matmul mm = *matmul::make(GetParam(), order);
    for (const dtype type : {dtype::bf16, dtype::f8_e4m3, dtype::f32, dtype::f16})
      for (const shape& s : testing::odd_shapes()) {
        const auto weights = make_weights(type, s, value_range::normal, ++seed);
        const auto x = make_activations(s.tokens, s.cols, value_range::normal, ++seed);
        const double worst =
            largest_error(weights.view(), x, s.tokens, run(mm, weights.view(), x, s.tokens, 64));
        // Fast may round activations to bfloat16 (half a unit in 8 bits) from a few tokens on.
        const double bound = order == numerics::fast && s.tokens > 4 ? 0.0042 : 1e-6;
        EXPECT_LT(worst, bound) << s.name(type);
      }
  }
}

TEST_P(matmul_isa, a_nan_weight_or_activation_gives_nan_in_its_row_only) {
  const matmul mm = *matmul::make(GetParam(), numerics::invariant);
  for (const std::int64_t tokens : {1, 3}) {
    const shape s{20, 70, tokens, 1, 0};
    auto weights = make_weights(dtype::f8_e4m3, s, value_range::normal, 5);
    weights.data()[5 * 70 + 33] = std::byte{0xff};
    auto x = make_activations(tokens, s.cols, value_range::normal, 6);
    const auto y = run(mm, weights.view(), x, tokens, 32);
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t r = 0; r < s.rows; ++r)
        EXPECT_EQ(std::isnan(y[static_cast<std::size_t>(t * (s.rows + 3) + r)]), r == 5);
  }
}

TEST_P(matmul_isa, denormal_inputs_and_results_are_zero) {
  const matmul mm = *matmul::make(GetParam(), numerics::invariant);
  const shape s{1, 2, 1, 0, 0};
  const struct {
    float weight;
    float activation;
    float want;
  } cases[] = {{0x1p-130F, 0x1p100F, 0},          // a denormal weight
               {0x1p100F, 0x1p-130F, 0},          // a denormal activation
               {0x1p-70F, 0x1p-60F, 0},           // a denormal product
               {0x1p-70F, 0x1p-56F, 0x1p-126F}};  // the smallest that is not
  for (const auto& c : cases) {
    auto weights = make_weights(dtype::bf16, s, value_range::normal, 5);
    const std::uint16_t bits[2] = {tensor::f32_to_bf16(c.weight), 0};
    std::memcpy(weights.data(), bits, sizeof bits);
    EXPECT_EQ(run(mm, weights.view(), {c.activation, 0}, 1, 1)[0], c.want) << c.weight;
  }
  // A denormal result of the very last addition: both activations have three parts, and the sums of
  // the first two parts cancel.
  auto weights = make_weights(dtype::bf16, {1, 33, 1, 0, 0}, value_range::normal, 5);
  std::vector<std::uint16_t> bits(33);
  bits.front() = tensor::f32_to_bf16(0x1p-110F);
  bits.back() = tensor::f32_to_bf16(-0x1p-110F);
  std::memcpy(weights.data(), bits.data(), bits.size() * sizeof bits[0]);
  std::vector<float> x(33);
  x.front() = 1 + 0x1p-8F + 0x1.8p-16F;
  x.back() = 1 + 0x1p-8F + 0x1p-16F;
  EXPECT_EQ(run(mm, weights.view(), x, 1, 1)[0], 0.0F);
}

TEST_P(matmul_isa, the_callers_floating_point_mode_is_restored) {
  const matmul mm = *matmul::make(GetParam(), numerics::invariant);
  const unsigned before = _mm_getcsr();
  const shape s{3, 40, 2, 0, 0};
  const auto weights = make_weights(dtype::bf16, s, value_range::normal, 5);
  run(mm, weights.view(), make_activations(2, 40, value_range::normal, 6), 2, 3);
  EXPECT_EQ(_mm_getcsr() & ~0x3fU, before & ~0x3fU);
}

INSTANTIATE_TEST_SUITE_P(all,
                         matmul_isa,
                         ::testing::Values(isa::avx2, isa::avx512, isa::amx),
                         [](const auto& set) { return std::string{to_string(set.param)}; });

TEST(isa, best_is_available_and_names_go_both_ways) {
  const auto best = best_isa();
  ASSERT_TRUE(best.has_value());
  EXPECT_TRUE(isa_available(*best));
  for (const isa set : {isa::avx2, isa::avx512, isa::amx}) {
    EXPECT_EQ(isa_from_string(to_string(set)), set);
    EXPECT_EQ(matmul::make(set, numerics::invariant).has_value(), isa_available(set));
  }
  EXPECT_FALSE(isa_from_string("sse2").has_value());
}

}  // namespace
}  // namespace atl::kernels
