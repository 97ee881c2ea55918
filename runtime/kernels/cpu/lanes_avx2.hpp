// Eight float32 lanes of AVX2 with FMA and F16C, for the kernel templates of this folder. Include
// only in files compiled for them. Everything has internal linkage, see table.hpp.
#pragma once

#ifdef __AVX2__

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <immintrin.h>

namespace atl::kernels {
namespace {

struct lanes_avx2 {
  static constexpr int count = 8;
  static constexpr int direct_tokens = 2;  // tokens up to which no panel pays
  static constexpr int panel_vectors = 2;  // row vectors and tokens of the blocked kernel:
  static constexpr int panel_tokens = 1;   // 2 * 1 * 6 accumulators of 16 registers
  using floats = __m256;
  using words = __m256i;

  static floats zero() { return _mm256_setzero_ps(); }
  static floats broadcast(const float* at) { return _mm256_broadcast_ss(at); }
  static floats load(const float* at) { return _mm256_loadu_ps(at); }
  static void store(float* at, floats v) { _mm256_storeu_ps(at, v); }
  static void store_first(float* at, floats v, std::int64_t lanes) {
    alignas(32) float all[count];
    _mm256_store_ps(all, v);
    std::memcpy(at, all, static_cast<std::size_t>(lanes) * sizeof(float));
  }
  static floats fma(floats a, floats b, floats c) { return _mm256_fmadd_ps(a, b, c); }
  static floats add(floats a, floats b) { return _mm256_add_ps(a, b); }

  static floats load_f16(const std::byte* at) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  }
  static floats load_bf16(const std::byte* at) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    return even(_mm256_cvtepu16_epi32(half));
  }
  static floats load_f8(const std::byte* at) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
    floats decoded[4];
    decode(_mm256_cvtepu8_epi32(bytes), decoded);
    return decoded[0];
  }

  /// The first and second bfloat16 of each lane.
  static floats even(words w) { return _mm256_castsi256_ps(_mm256_slli_epi32(w, 16)); }
  static floats odd(words w) {
    return _mm256_castsi256_ps(
        _mm256_and_si256(w, _mm256_set1_epi32(static_cast<int>(0xffff0000U))));
  }

  /// The four E4M3 codes of each lane. As bfloat16 a code is (code << 4) + 0x3c00, but 0..7 are
  /// multiples of 2^-9 and 127 is a NaN.
  static void decode(words codes, floats (&out)[4]) {
    const __m256i magnitude = _mm256_and_si256(codes, _mm256_set1_epi8(0x7f));
    const __m256i tiny = _mm256_cmpgt_epi8(_mm256_set1_epi8(8), magnitude);
    const __m256i tiny_high =
        _mm256_shuffle_epi8(table(0x00, 0x3b, 0x3b, 0x3b, 0x3c, 0x3c, 0x3c, 0x3c), magnitude);
    const __m256i tiny_low =
        _mm256_shuffle_epi8(table(0x00, 0x00, -0x80, -0x40, 0x00, 0x20, 0x40, 0x60), magnitude);
    const __m256i exponent = _mm256_and_si256(_mm256_srli_epi16(magnitude, 4), _mm256_set1_epi8(7));
    const __m256i usual_high = _mm256_add_epi8(exponent, _mm256_set1_epi8(0x3c));
    const __m256i usual_low =
        _mm256_and_si256(_mm256_slli_epi16(magnitude, 4), _mm256_set1_epi8(-0x10));
    const __m256i low = _mm256_blendv_epi8(usual_low, tiny_low, tiny);
    const __m256i nan = _mm256_and_si256(_mm256_cmpeq_epi8(magnitude, _mm256_set1_epi8(0x7f)),
                                         _mm256_set1_epi8(0x7f));
    const __m256i sign = _mm256_and_si256(codes, _mm256_set1_epi8(-0x80));
    const __m256i high = _mm256_or_si256(_mm256_or_si256(nan, sign),
                                         _mm256_blendv_epi8(usual_high, tiny_high, tiny));
    for (int i = 0; i < 4; ++i) out[i] = place(high, low, i);
  }

  /// out[d] lane i = the 32-bit word d of row i; rows of 64 bytes, `stride` bytes apart.
  static void transpose(const std::byte* rows, std::size_t stride, words (&out)[16]) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      words r[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i)
        r[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(
            rows + static_cast<std::size_t>(i) * stride + half * 32));
      words pair[8];
#pragma GCC unroll 4
      for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        pair[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
      }
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        const words a = _mm256_unpacklo_epi64(pair[j], pair[j + 2]);
        const words b = _mm256_unpackhi_epi64(pair[j], pair[j + 2]);
        const words c = _mm256_unpacklo_epi64(pair[j + 4], pair[j + 6]);
        const words d = _mm256_unpackhi_epi64(pair[j + 4], pair[j + 6]);
        const int at = half * 8 + j * 2;
        out[at] = _mm256_permute2x128_si256(a, c, 0x20);
        out[at + 1] = _mm256_permute2x128_si256(b, d, 0x20);
        out[at + 4] = _mm256_permute2x128_si256(a, c, 0x31);
        out[at + 5] = _mm256_permute2x128_si256(b, d, 0x31);
      }
    }
  }

private:
  static __m256i table(int a, int b, int c, int d, int e, int f, int g, int h) {
    return _mm256_broadcastsi128_si256(_mm_setr_epi8(static_cast<char>(a),
                                                     static_cast<char>(b),
                                                     static_cast<char>(c),
                                                     static_cast<char>(d),
                                                     static_cast<char>(e),
                                                     static_cast<char>(f),
                                                     static_cast<char>(g),
                                                     static_cast<char>(h),
                                                     0,
                                                     0,
                                                     0,
                                                     0,
                                                     0,
                                                     0,
                                                     0,
                                                     0));
  }

  /// A float32 of byte `i` of each lane: bytes 0 and 1 zero, 2 from `low`, 3 from `high`.
  static floats place(__m256i high, __m256i low, int i) {
    const auto from = [i](int byte_wanted) {
      const int none = 0x80 << 24 | 0x80 << 16 | 0x80 << 8 | 0x80;
      const int keep = 0xff << (8 * byte_wanted);
      const auto index = [&](int lane) {
        return (none & ~keep) | (((lane * 4 + i) << (8 * byte_wanted)) & keep);
      };
      return _mm256_setr_epi32(
          index(0), index(1), index(2), index(3), index(0), index(1), index(2), index(3));
    };
    return _mm256_castsi256_ps(
        _mm256_or_si256(_mm256_shuffle_epi8(high, from(3)), _mm256_shuffle_epi8(low, from(2))));
  }
};

}  // namespace
}  // namespace atl::kernels

#endif
