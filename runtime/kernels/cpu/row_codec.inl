// Rows as they travel, compiled once per instruction set by rows_avx2.cpp and rows_avx512.cpp.
// Loops without branches over whole numbers, which the compiler makes vectors of: but for one
// division and one product, each rounded once, nothing here could differ between instruction sets.

#include "runtime/kernels/cpu/row_tables.hpp"
#include "runtime/kernels/cpu/simd.hpp"

#include <cstring>

namespace atl::kernels::ATOLL_SIMD {

namespace {

constexpr std::uint32_t sign_bit = 0x80000000U;
constexpr std::uint32_t infinite = 0x7F800000U;  // the bits of infinity; NaN lie above

ATOLL_INLINE std::uint32_t bits_of(float x) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

ATOLL_INLINE float float_of(std::uint32_t bits) noexcept {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// a where the condition holds, else b, as arithmetic: what a branch guards is no vector.
ATOLL_INLINE std::uint32_t choose(bool condition, std::uint32_t a, std::uint32_t b) noexcept {
  const std::uint32_t mask = 0U - static_cast<std::uint32_t>(condition);
  return (a & mask) | (b & ~mask);
}

void copy_in(const float* x, std::int64_t n, std::byte* out) {
  std::memcpy(out, x, static_cast<std::size_t>(n) * sizeof(float));
}

void copy_out(const std::byte* in, std::int64_t n, float* y) {
  std::memcpy(y, in, static_cast<std::size_t>(n) * sizeof(float));
}

void encode_bf16(const float* x, std::int64_t n, std::byte* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t bits = bits_of(x[i]);
    const std::uint32_t rounded = bits + 0x7FFFU + ((bits >> 16) & 1U);
    const bool is_nan = (bits & ~sign_bit) > infinite;
    const auto half = static_cast<std::uint16_t>((is_nan ? bits | 0x400000U : rounded) >> 16);
    std::memcpy(out + 2 * i, &half, sizeof half);
  }
}

void decode_bf16(const std::byte* in, std::int64_t n, float* y) {
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint16_t half;
    std::memcpy(&half, in + 2 * i, sizeof half);
    y[i] = float_of(std::uint32_t{half} << 16);
  }
}

/// Of a finite value of at most 448 and a little.
ATOLL_INLINE std::uint8_t f8_of(float x) noexcept {
  const std::uint32_t bits = bits_of(x);
  const std::uint32_t size = bits & ~sign_bit;
  // From 2^-6 on: three bits of mantissa, exponent bias 7 for 127; 0x7E is 448.
  const std::uint32_t normal = ((size + 0x7FFFFU + ((size >> 20) & 1U)) >> 20) - (120U << 3);
  const std::uint32_t most = normal < 0x7EU ? normal : 0x7EU;
  // Below, multiples of 2^-9: the sum with 2^14 is rounded to them.
  const std::uint32_t tiny = bits_of(float_of(size) + 0x1p14F) - 0x46800000U;
  const std::uint32_t code = choose(size < 0x3C800000U, tiny, most);
  return static_cast<std::uint8_t>(code | ((bits & sign_bit) >> 24));
}

ATOLL_INLINE float f8_value(std::uint8_t stored) noexcept {
  const std::uint32_t code = stored & 0x7FU;
  const std::uint32_t normal = (code << 20) + (120U << 23);
  const std::uint32_t tiny = bits_of(static_cast<float>(static_cast<std::int32_t>(code)) * 0x1p-9F);
  const std::uint32_t finite = choose(code < 8, tiny, normal);
  const std::uint32_t sign = (std::uint32_t{stored} & 0x80U) << 24;
  return float_of(choose(code == 0x7FU, 0x7FC00000U, finite) | sign);
}

void encode_block(const float* x, std::int64_t n, std::byte* scale, std::byte* out) {
  std::uint32_t top = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t size = bits_of(x[i]) & ~sign_bit;
    top = size > top ? size : top;
  }
  float s = 1.0F;
  if (top >= infinite) {
    std::memset(out, 0x7F, static_cast<std::size_t>(n));
  } else {
    constexpr float least = 1e-4F;
    const float most = float_of(top);
    s = (most > least ? most : least) / 448.0F;
    for (std::int64_t i = 0; i < n; ++i) out[i] = std::byte{f8_of(x[i] / s)};
  }
  std::memcpy(scale, &s, sizeof s);
}

ATOLL_INLINE std::int64_t scales_of(std::int64_t n) noexcept {
  return (n + row_codec::block - 1) / row_codec::block;
}

void encode_f8(const float* x, std::int64_t n, std::byte* out) {
  std::byte* elements = out + scales_of(n) * static_cast<std::int64_t>(sizeof(float));
  for (std::int64_t b = 0; b < scales_of(n); ++b) {
    const std::int64_t first = b * row_codec::block;
    const std::int64_t count = n - first < row_codec::block ? n - first : row_codec::block;
    encode_block(x + first, count, out + 4 * b, elements + first);
  }
  for (std::int64_t i = n; i % 4 != 0; ++i) elements[i] = std::byte{0};
}

void decode_f8(const std::byte* in, std::int64_t n, float* y) {
  const std::byte* elements = in + scales_of(n) * static_cast<std::int64_t>(sizeof(float));
  for (std::int64_t b = 0; b < scales_of(n); ++b) {
    const std::int64_t first = b * row_codec::block;
    const std::int64_t end = n - first < row_codec::block ? n : first + row_codec::block;
    float s;
    std::memcpy(&s, in + 4 * b, sizeof s);
    for (std::int64_t i = first; i < end; ++i)
      y[i] = f8_value(static_cast<std::uint8_t>(elements[i])) * s;
  }
}

}  // namespace

const row_codecs codecs{{tensor::dtype::f32, copy_in, copy_out},
                        {tensor::dtype::bf16, encode_bf16, decode_bf16},
                        {tensor::dtype::f8_e4m3, encode_f8, decode_f8}};

}  // namespace atl::kernels::ATOLL_SIMD
