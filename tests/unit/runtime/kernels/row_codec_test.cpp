// Rows as they travel, against the scalar conversions of runtime/tensor/dtype.hpp and against
// double precision, on every instruction set.
#include "runtime/kernels/isa.hpp"
#include "runtime/kernels/row_codec.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace atl::kernels {
namespace {

using tensor::dtype;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t lengths[] = {1, 2, 3, 7, 16, 31, 127, 128, 129, 255, 256, 300, 2048, 2061};

std::vector<isa> sets() {
  std::vector<isa> found;
  for (const isa set : {isa::avx2, isa::avx512})
    if (isa_available(set)) found.push_back(set);
  return found;
}

/// As transport/wire/rows.hpp lays rows out.
std::size_t bytes_of(dtype type, std::size_t n) {
  if (type == dtype::f8_e4m3) return (n + 127) / 128 * 4 + (n + 3) / 4 * 4;
  return n * tensor::element_bytes(type);
}

/// To an odd address, with a byte behind it that must stay.
std::vector<std::byte> encode(isa set, dtype type, const std::vector<float>& x) {
  const std::size_t bytes = bytes_of(type, x.size());
  std::vector<std::byte> buffer(bytes + 2, std::byte{0xA5});
  row_codec::make(set, type).encode(
      x.data(), static_cast<std::int64_t>(x.size()), buffer.data() + 1);
  EXPECT_EQ(buffer.front(), std::byte{0xA5});
  EXPECT_EQ(buffer.back(), std::byte{0xA5});
  return {buffer.begin() + 1, buffer.end() - 1};
}

std::vector<float> decode(isa set, dtype type, const std::vector<std::byte>& row, std::size_t n) {
  std::vector<std::byte> odd(1 + row.size());
  std::copy(row.begin(), row.end(), odd.begin() + 1);
  std::vector<float> y(n);
  row_codec::make(set, type).decode(odd.data() + 1, static_cast<std::int64_t>(n), y.data());
  return y;
}

template <class T>
T read(const std::vector<std::byte>& bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// Rounded to nearest, ties to even, on a grid of multiples of `step`; exact in double.
double on_grid(double x, double step) { return std::nearbyint(x / step) * step; }

/// The E4M3 value nearest to x in double precision: three bits of mantissa, exponent -6 at least.
double nearest_f8(double x) {
  const double size = std::fabs(x);
  if (size >= 448) return std::copysign(448.0, x);
  const int exponent = size == 0 ? -6 : std::max(-6, std::ilogb(size));
  return std::copysign(std::min(448.0, on_grid(size, std::ldexp(1.0, exponent - 3))), x);
}

/// Values of all sizes, with every kind of special one.
std::vector<float> mixed(std::size_t n, unsigned seed) {
  std::mt19937 random{seed};
  std::vector<float> row(n);
  for (float& v : row) v = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
  const float special[] = {0.0F,
                           -0.0F,
                           infinity,
                           -infinity,
                           NAN,
                           1e-45F,
                           -1e-45F,
                           3.4028235e38F,
                           1.1754942e-38F,
                           1.00390625F,
                           1.01171875F,
                           -1.00390625F};
  for (std::size_t i = 0; i < n; i += 5) row[i] = special[i / 5 % std::size(special)];
  return row;
}

std::vector<float> normal_row(std::size_t n, unsigned seed, float size) {
  std::mt19937 random{seed};
  std::normal_distribution<float> normal{0.0F, size};
  std::vector<float> row(n);
  for (float& v : row) v = normal(random);
  return row;
}

TEST(row_codec, f32_is_the_row_itself) {
  for (const isa set : sets())
    for (const std::int64_t n : lengths) {
      const auto x = mixed(static_cast<std::size_t>(n), 3);
      const auto row = encode(set, dtype::f32, x);
      EXPECT_EQ(std::memcmp(row.data(), x.data(), row.size()), 0);
      const auto y = decode(set, dtype::f32, row, x.size());
      EXPECT_EQ(std::memcmp(y.data(), x.data(), row.size()), 0);
    }
}

TEST(row_codec, bf16_rounds_to_nearest_even_as_the_scalar_code_does) {
  for (const isa set : sets()) {
    for (const std::int64_t n : lengths) {
      const auto x = mixed(static_cast<std::size_t>(n), static_cast<unsigned>(n));
      const auto row = encode(set, dtype::bf16, x);
      for (std::size_t i = 0; i < x.size(); ++i)
        ASSERT_EQ(read<std::uint16_t>(row, 2 * i), tensor::f32_to_bf16(x[i])) << x[i];
    }
    // Half-way cases by hand: down to even, up to even; up from beyond the half; to infinity.
    const std::vector<float> x{1.00390625F, 1.01171875F, 1.0039064F, 3.4028235e38F, -1e-45F, NAN};
    const auto row = encode(set, dtype::bf16, x);
    const std::uint16_t expected[] = {0x3F80, 0x3F82, 0x3F81, 0x7F80, 0x8000, 0x7FC0};
    for (std::size_t i = 0; i < x.size(); ++i)
      EXPECT_EQ(read<std::uint16_t>(row, 2 * i), expected[i]) << i;
  }
}

TEST(row_codec, bf16_reads_back_every_code) {
  std::vector<std::byte> row(2 * 65536);
  for (std::uint32_t code = 0; code < 65536; ++code) {
    const auto half = static_cast<std::uint16_t>(code);
    std::memcpy(row.data() + std::size_t{2} * code, &half, 2);
  }
  for (const isa set : sets()) {
    const auto y = decode(set, dtype::bf16, row, 65536);
    for (std::uint32_t code = 0; code < 65536; ++code)
      ASSERT_EQ(std::bit_cast<std::uint32_t>(y[code]), code << 16);
  }
}

TEST(row_codec, bf16_errs_by_a_256th_at_most) {
  for (const isa set : sets()) {
    const auto x = normal_row(4096, 5, 3.0F);
    const auto y = decode(set, dtype::bf16, encode(set, dtype::bf16, x), x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
      ASSERT_LE(std::fabs(double{y[i]} - double{x[i]}), 0x1p-8 * std::fabs(double{x[i]}));
  }
}

TEST(row_codec, f8_scales_each_block_and_rounds_to_nearest_even) {
  for (const isa set : sets())
    for (const std::int64_t n : lengths)
      for (const float size : {1e-7F, 1e-3F, 1.0F, 5e4F}) {
        auto x = normal_row(static_cast<std::size_t>(n), static_cast<unsigned>(n), size);
        if (n > 100) std::fill(x.begin() + 3, x.begin() + 9, 0.0F);
        const auto row = encode(set, dtype::f8_e4m3, x);
        const std::size_t blocks = (x.size() + 127) / 128;
        for (std::size_t i = 0; i < x.size(); ++i) {
          const auto first = x.begin() + static_cast<std::ptrdiff_t>(i / 128 * 128);
          const auto end =
              x.begin() + static_cast<std::ptrdiff_t>(std::min(x.size(), (i / 128 + 1) * 128));
          float top = 1e-4F;
          for (auto v = first; v != end; ++v) top = std::max(top, std::fabs(*v));
          const auto scale = read<float>(row, 4 * (i / 128));
          ASSERT_EQ(scale, top / 448.0F);
          const auto code = read<std::uint8_t>(row, 4 * blocks + i);
          ASSERT_EQ(code, tensor::f32_to_f8_e4m3(x[i] / scale));
          ASSERT_EQ(double{tensor::f8_e4m3_to_f32(code)}, nearest_f8(double{x[i] / scale}));
        }
        for (std::size_t at = 4 * blocks + x.size(); at < row.size(); ++at)
          ASSERT_EQ(row[at], std::byte{0});
      }
}

TEST(row_codec, f8_takes_ties_to_even_also_among_its_denormals) {
  // The largest value makes the scale 1, so what stands here is rounded as it is.
  const std::vector<float> x{448.0F,
                             17.0F,
                             19.0F,
                             -17.0F,
                             0x1p-10F,
                             0x3p-10F,
                             0x1p-9F,
                             0x1.8p-8F,
                             0x1.fp-7F,
                             0x1.ep-7F,
                             0x1.1p-6F,
                             -0.0F,
                             0x1.8p-11F,
                             432.0F,
                             433.0F,
                             0x1.08p-6F,
                             -0x1.8p-10F};
  const std::uint8_t expected[] = {0x7E,
                                   0x58,
                                   0x5A,
                                   0xD8,
                                   0x00,
                                   0x02,
                                   0x01,
                                   0x03,
                                   0x08,
                                   0x08,
                                   0x08,
                                   0x80,
                                   0x00,
                                   0x7E,
                                   0x7E,
                                   0x08,
                                   0x81};
  for (const isa set : sets()) {
    const auto row = encode(set, dtype::f8_e4m3, x);
    ASSERT_EQ(read<float>(row, 0), 1.0F);
    for (std::size_t i = 0; i < x.size(); ++i)
      EXPECT_EQ(read<std::uint8_t>(row, 4 + i), expected[i]) << x[i];
  }
}

TEST(row_codec, f8_reads_back_every_code_times_its_scale) {
  std::vector<std::byte> row(8 + 256);
  const float scales[] = {0.37F, 1e30F};
  std::memcpy(row.data(), scales, sizeof scales);
  for (std::size_t code = 0; code < 256; ++code) row[8 + code] = static_cast<std::byte>(code);
  for (const isa set : sets()) {
    const auto y = decode(set, dtype::f8_e4m3, row, 256);
    for (std::size_t code = 0; code < 256; ++code) {
      const float value = tensor::f8_e4m3_to_f32(static_cast<std::uint8_t>(code));
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(y[code]));
        continue;
      }
      ASSERT_EQ(std::bit_cast<std::uint32_t>(y[code]),
                std::bit_cast<std::uint32_t>(
                    static_cast<float>(double{value} * double{scales[code / 128]})));
    }
  }
}

TEST(row_codec, f8_errs_by_a_sixteenth_at_most) {
  for (const isa set : sets())
    for (const float size : {1e-7F, 1.0F, 1e30F}) {
      const auto x = normal_row(4096, 6, size);
      const auto row = encode(set, dtype::f8_e4m3, x);
      const auto y = decode(set, dtype::f8_e4m3, row, x.size());
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double step = 0x1p-10 * double{read<float>(row, 4 * (i / 128))};
        ASSERT_LE(std::fabs(double{y[i]} - double{x[i]}),
                  std::max(0x1p-4 * std::fabs(double{x[i]}), step) * (1 + 0x1p-22));
      }
    }
}

TEST(row_codec, f8_keeps_the_largest_numbers_and_makes_whole_blocks_nan) {
  constexpr float largest = std::numeric_limits<float>::max();
  for (const isa set : sets()) {
    std::vector<float> x(384, 1.0F);
    x[5] = -largest;
    x[130] = infinity;
    x[300] = -NAN;
    const auto row = encode(set, dtype::f8_e4m3, x);
    for (std::size_t b = 0; b < 3; ++b) {
      EXPECT_TRUE(std::isfinite(read<float>(row, 4 * b)));
      EXPECT_GT(read<float>(row, 4 * b), 0.0F);
    }
    const auto y = decode(set, dtype::f8_e4m3, row, x.size());
    EXPECT_EQ(y[5], -largest);
    EXPECT_EQ(y[6], 0.0F);
    for (std::size_t i = 128; i < x.size(); ++i) EXPECT_TRUE(std::isnan(y[i]));
  }
}

}  // namespace
}  // namespace atl::kernels
