// Sixteen float32 lanes of AVX-512, for the kernel templates of this folder. Include only in files
// compiled for AVX-512 F, BW, DQ, VL and VBMI. Everything has internal linkage, see table.hpp.
#pragma once

#ifdef __AVX512VBMI__

#include <cstddef>
#include <cstdint>
#include <immintrin.h>

namespace atl::kernels {
namespace {

/// Byte tables of the bfloat16 values of the 128 E4M3 codes without sign, high and low byte.
struct alignas(64) f8_byte_tables {
  std::uint8_t high[128];
  std::uint8_t low[128];
};

constexpr f8_byte_tables make_f8_byte_tables() {
  f8_byte_tables made{};
  for (unsigned code = 0; code < 128; ++code) {
    unsigned value = (code << 4) + 0x3c00U;  // exponent bias 7 to 127, 3 to 7 bits of mantissa
    if (code < 8) {                          // code * 2^-9
      unsigned shift = 0;
      while (code != 0 && (code << shift) < 8) ++shift;
      value = code == 0 ? 0 : (((121U - shift) << 7) | (((code << shift) & 7U) << 4));
    }
    if (code == 127) value = 0x7fc0U;  // NaN
    made.high[code] = static_cast<std::uint8_t>(value >> 8);
    made.low[code] = static_cast<std::uint8_t>(value);
  }
  return made;
}

constexpr f8_byte_tables f8_bytes = make_f8_byte_tables();

struct lanes_avx512 {
  static constexpr int count = 16;
  static constexpr int direct_tokens = 4;  // tokens up to which no panel pays
  static constexpr int panel_vectors = 2;  // row vectors and tokens of the blocked kernel:
  static constexpr int panel_tokens = 2;   // 2 * 2 * 6 accumulators of 32 registers
  using floats = __m512;
  using words = __m512i;

  static floats zero() { return _mm512_setzero_ps(); }
  static floats broadcast(const float* at) { return _mm512_set1_ps(*at); }
  static floats load(const float* at) { return _mm512_loadu_ps(at); }
  static void store(float* at, floats v) { _mm512_storeu_ps(at, v); }
  static void store_first(float* at, floats v, std::int64_t lanes) {
    _mm512_mask_storeu_ps(at, static_cast<__mmask16>((1U << lanes) - 1U), v);
  }
  static floats fma(floats a, floats b, floats c) { return _mm512_fmadd_ps(a, b, c); }
  static floats add(floats a, floats b) { return _mm512_add_ps(a, b); }

  static floats load_f16(const std::byte* at) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  }
  static floats load_bf16(const std::byte* at) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    return even(_mm512_cvtepu16_epi32(half));
  }
  static floats load_f8(const std::byte* at) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    floats decoded[4];
    decode(_mm512_cvtepu8_epi32(bytes), decoded);
    return decoded[0];
  }

  /// The first and second bfloat16 of each lane.
  static floats even(words w) { return _mm512_castsi512_ps(_mm512_slli_epi32(w, 16)); }
  static floats odd(words w) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(w, _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
  }

  /// The four E4M3 codes of each lane.
  static void decode(words codes, floats (&out)[4]) {
    const __m512i high0 = _mm512_load_si512(f8_bytes.high);
    const __m512i high1 = _mm512_load_si512(f8_bytes.high + 64);
    const __m512i low0 = _mm512_load_si512(f8_bytes.low);
    const __m512i low1 = _mm512_load_si512(f8_bytes.low + 64);
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    const __m512i low = _mm512_permutex2var_epi8(low0, codes, low1);
    const __m512i magnitude = _mm512_permutex2var_epi8(high0, codes, high1);
    // magnitude | (codes & sign)
    const __m512i high = _mm512_ternarylogic_epi32(magnitude, codes, sign, 0xf8);
    for (int i = 0; i < 4; ++i) out[i] = place(high, low, i);
  }

  /// out[d] lane i = the 32-bit word d of row i; rows of 64 bytes, `stride` bytes apart.
  static void transpose(const std::byte* rows, std::size_t stride, words (&out)[16]) {
    words r[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i)
      r[i] = _mm512_loadu_si512(rows + static_cast<std::size_t>(i) * stride);
      // Without this GCC 12 stores each row to the stack and reads it back as a memory operand.
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) asm("" : "+v"(r[i]));
    words pair[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      pair[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
      pair[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    words quad[16];
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
      quad[i] = _mm512_unpacklo_epi64(pair[i], pair[i + 2]);
      quad[i + 1] = _mm512_unpackhi_epi64(pair[i], pair[i + 2]);
      quad[i + 2] = _mm512_unpacklo_epi64(pair[i + 1], pair[i + 3]);
      quad[i + 3] = _mm512_unpackhi_epi64(pair[i + 1], pair[i + 3]);
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const words a = _mm512_shuffle_i32x4(quad[j], quad[j + 4], 0x88);
      const words b = _mm512_shuffle_i32x4(quad[j], quad[j + 4], 0xdd);
      const words c = _mm512_shuffle_i32x4(quad[j + 8], quad[j + 12], 0x88);
      const words d = _mm512_shuffle_i32x4(quad[j + 8], quad[j + 12], 0xdd);
      out[j] = _mm512_shuffle_i32x4(a, c, 0x88);
      out[j + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
      out[j + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
      out[j + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
  }

private:
  /// A float32 of byte `i` of each lane: bytes 0 and 1 zero, 2 from `low`, 3 from `high`.
  static floats place(__m512i high, __m512i low, int i) {
    constexpr __mmask64 top_bytes = 0x8888888888888888ULL;
    const int one = 0x00008080 | i << 16 | i << 24;
    const __m512i from =
        _mm512_set4_epi32(one + 0x0c0c0000, one + 0x08080000, one + 0x04040000, one);
    return _mm512_castsi512_ps(
        _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(low, from), top_bytes, high, from));
  }
};

}  // namespace
}  // namespace atl::kernels

#endif
