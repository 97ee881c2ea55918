// The tile kernels, on software tiles, against the definition of the invariant class.
#include "runtime/base/memory.hpp"
#include "runtime/kernels/cpu/amx_check.hpp"
#include "runtime/kernels/cpu/mxcsr.hpp"
#include "runtime/kernels/isa.hpp"
#include "runtime/kernels/reference/matmul.hpp"
#include "tests/unit/runtime/kernels/matmul_cases.hpp"
#include "tests/unit/runtime/kernels/software_tiles.hpp"

#include <gtest/gtest.h>

#include <bit>

namespace atl::kernels {
namespace {

using tensor::dtype;
using testing::make_activations;
using testing::make_weights;
using testing::shape;
using testing::value_range;

std::vector<float> run(const format_kernels& kernels,
                       const tensor::weight_matrix& w,
                       const std::vector<float>& x,
                       std::int64_t tokens) {
  aligned_buffer packed{kernels.packed_bytes(tokens, w.cols)};
  aligned_buffer scratch{kernels.scratch_bytes(tokens, w.cols)};
  std::memset(scratch.as<std::byte>(), 0xff, scratch.bytes());
  std::vector<float> y(static_cast<std::size_t>(tokens * w.rows));
  const flush_denormals mode;
  for (std::int64_t begin = 0; begin < tokens; begin += 16)
    kernels.pack({x.data(),
                  w.cols,
                  tokens,
                  w.cols,
                  begin,
                  std::min(begin + 16, tokens),
                  packed.as<std::byte>()});
  kernels.multiply({w.data,
                    w.rows,
                    w.cols,
                    w.scales,
                    w.scale_cols,
                    w.first_row,
                    packed.as<std::byte>(),
                    tokens,
                    y.data(),
                    w.rows,
                    scratch.as<std::byte>()});
  return y;
}

const format_kernels& of(const kernel_table& table, dtype type) {
  return type == dtype::bf16 ? table.bf16 : table.f8;
}

class tiles : public ::testing::Test {
protected:
  void SetUp() override {
    if (!isa_available(isa::avx512)) GTEST_SKIP() << isa_refusal(isa::avx512);
  }
};

TEST_F(tiles, invariant_equals_its_definition_bit_for_bit) {
  std::uint64_t seed = 1;
  auto shapes = testing::odd_shapes();
  shapes.push_back({64, 256, 16, 0, 0});
  shapes.push_back({96, 128, 48, 0, 96});
  for (const dtype type : {dtype::bf16, dtype::f8_e4m3})
    for (const shape& s : shapes)
      for (const value_range range : {value_range::normal, value_range::wild}) {
        const auto weights = make_weights(type, s, range, ++seed);
        const auto x = make_activations(s.tokens, s.cols, range, ++seed);
        std::vector<float> want(static_cast<std::size_t>(s.tokens * s.rows));
        reference::multiply_invariant(
            weights.view(), {x.data(), s.cols, s.tokens}, want.data(), s.rows);
        const auto got =
            run(of(testing::software_tile_invariant(), type), weights.view(), x, s.tokens);
        for (std::size_t i = 0; i < want.size(); ++i)
          ASSERT_TRUE(std::bit_cast<std::uint32_t>(got[i]) ==
                          std::bit_cast<std::uint32_t>(want[i]) ||
                      (std::isnan(got[i]) && std::isnan(want[i])))
              << s.name(type) << " at " << i << ": " << got[i] << " and " << want[i];
      }
}

TEST_F(tiles, fast_errors_are_those_of_rounded_activations) {
  std::uint64_t seed = 100;
  for (const dtype type : {dtype::bf16, dtype::f8_e4m3})
    for (const shape& s : testing::odd_shapes()) {
      const auto weights = make_weights(type, s, value_range::normal, ++seed);
      const auto x = make_activations(s.tokens, s.cols, value_range::normal, ++seed);
      std::vector<double> exact(static_cast<std::size_t>(s.tokens * s.rows));
      std::vector<double> magnitude(exact.size());
      reference::multiply(
          weights.view(), {x.data(), s.cols, s.tokens}, exact.data(), magnitude.data());
      const auto got = run(of(testing::software_tile_fast(), type), weights.view(), x, s.tokens);
      const double bound = s.tokens > 16 ? 0.0042 : 1e-6;
      for (std::size_t i = 0; i < exact.size(); ++i)
        ASSERT_LE(std::fabs(static_cast<double>(got[i]) - exact[i]), bound * magnitude[i])
            << s.name(type);
    }
}

TEST_F(tiles, the_check_at_start_accepts_equal_orders_and_names_a_different_one) {
  EXPECT_EQ(compare_tables(testing::software_tile_invariant(), avx512_invariant), "");
  EXPECT_EQ(compare_tables(avx2_invariant, avx512_invariant), "");
  EXPECT_NE(compare_tables(avx512_fast, avx512_invariant), "");
}

}  // namespace
}  // namespace atl::kernels
