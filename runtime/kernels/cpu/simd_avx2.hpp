// f32x16 as two AVX registers; included by simd.hpp alone, and empty unless the
// source is compiled for that set. The operations and their meaning are those of its sibling,
// simd_avx512.hpp.
#pragma once

#if defined(__AVX2__) && !defined(__AVX512F__)

#include "runtime/kernels/elementary.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <immintrin.h>

#define ATOLL_INLINE [[gnu::always_inline]] inline

namespace atl::kernels::simd_avx2 {

struct f32x16 {
  __m256 lo;
  __m256 hi;

  ATOLL_INLINE static f32x16 of(float x) noexcept { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  ATOLL_INLINE static f32x16 load(const float* p) noexcept {
    return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
  }
  ATOLL_INLINE void store(float* p) const noexcept {
    _mm256_storeu_ps(p, lo);
    _mm256_storeu_ps(p + 8, hi);
  }
};

ATOLL_INLINE f32x16 operator+(f32x16 a, f32x16 b) noexcept {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
ATOLL_INLINE f32x16 operator-(f32x16 a, f32x16 b) noexcept {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
ATOLL_INLINE f32x16 operator*(f32x16 a, f32x16 b) noexcept {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
ATOLL_INLINE f32x16 operator/(f32x16 a, f32x16 b) noexcept {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
ATOLL_INLINE f32x16 fma(f32x16 a, f32x16 b, f32x16 c) noexcept {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
/// a * b - c in even lanes, a * b + c in odd ones, rounded once.
ATOLL_INLINE f32x16 fma_alternate(f32x16 a, f32x16 b, f32x16 c) noexcept {
  return {_mm256_fmaddsub_ps(a.lo, b.lo, c.lo), _mm256_fmaddsub_ps(a.hi, b.hi, c.hi)};
}
ATOLL_INLINE f32x16 fms(f32x16 a, f32x16 b, f32x16 c) noexcept {
  return {_mm256_fmsub_ps(a.lo, b.lo, c.lo), _mm256_fmsub_ps(a.hi, b.hi, c.hi)};
}
ATOLL_INLINE f32x16 max(f32x16 a, f32x16 b) noexcept {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
ATOLL_INLINE f32x16 min(f32x16 a, f32x16 b) noexcept {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
ATOLL_INLINE f32x16 abs(f32x16 a) noexcept {
  const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF));
  return {_mm256_and_ps(a.lo, mask), _mm256_and_ps(a.hi, mask)};
}
ATOLL_INLINE f32x16 select_negative(f32x16 x, f32x16 if_negative, f32x16 other) noexcept {
  return {_mm256_blendv_ps(other.lo, if_negative.lo, x.lo),
          _mm256_blendv_ps(other.hi, if_negative.hi, x.hi)};
}
/// a where x > y (false for NaN), else b.
ATOLL_INLINE f32x16 select_greater(f32x16 x, f32x16 y, f32x16 a, f32x16 b) noexcept {
  return {_mm256_blendv_ps(b.lo, a.lo, _mm256_cmp_ps(x.lo, y.lo, _CMP_GT_OQ)),
          _mm256_blendv_ps(b.hi, a.hi, _mm256_cmp_ps(x.hi, y.hi, _CMP_GT_OQ))};
}
ATOLL_INLINE __m256 scale_pow2(__m256 p, __m256 t) noexcept {
  const __m256i n =
      _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_castps_si256(_mm256_set1_ps(rounding_magic)));
  const __m256i half = _mm256_srai_epi32(n, 1);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256i first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i second = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias), 23);
  return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(first)), _mm256_castsi256_ps(second));
}
ATOLL_INLINE f32x16 scale_pow2(f32x16 p, f32x16 t) noexcept {
  return {scale_pow2(p.lo, t.lo), scale_pow2(p.hi, t.hi)};
}
/// Lanes 2j and 2j+1 exchanged.
ATOLL_INLINE f32x16 swap_pairs(f32x16 a) noexcept {
  return {_mm256_permute_ps(a.lo, 0xB1), _mm256_permute_ps(a.hi, 0xB1)};
}
/// p[0], p[0], p[1], p[1], ... p[7], p[7].
ATOLL_INLINE f32x16 load_twice(const float* p) noexcept {
  const __m256 a = _mm256_loadu_ps(p);
  return {_mm256_permutevar8x32_ps(a, _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0)),
          _mm256_permutevar8x32_ps(a, _mm256_set_epi32(7, 7, 6, 6, 5, 5, 4, 4))};
}
ATOLL_INLINE f32x16 load_f16(const std::byte* p) noexcept {
  __m128i bits[2];
  std::memcpy(bits, p, sizeof bits);
  return {_mm256_cvtph_ps(bits[0]), _mm256_cvtph_ps(bits[1])};
}
ATOLL_INLINE f32x16 load_bf16(const std::byte* p) noexcept {
  __m128i bits[2];
  std::memcpy(bits, p, sizeof bits);
  const auto widen = [](__m128i half) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  };
  return {widen(bits[0]), widen(bits[1])};
}
/// l[i] += l[i+8] for i < 8: the first step of the lane tree.
ATOLL_INLINE __m256 fold_halves(f32x16 a) noexcept { return _mm256_add_ps(a.lo, a.hi); }

/// Four rows inside their 128-bit parts: r[j] gets column j of each part.
ATOLL_INLINE void transpose_parts(__m256 (&r)[4]) noexcept {
  const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(r[0], r[1]));
  const __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(r[0], r[1]));
  const __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(r[2], r[3]));
  const __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(r[2], r[3]));
  r[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
  r[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
  r[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
  r[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
}
/// Rows become columns.
ATOLL_INLINE void transpose(f32x16 (&row)[16]) noexcept {
  __m256 low[4][4];   // [rows 4i..][column j of parts 0 and 1]
  __m256 high[4][4];  // of parts 2 and 3
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      low[i][j] = row[4 * i + j].lo;
      high[i][j] = row[4 * i + j].hi;
    }
    transpose_parts(low[i]);
    transpose_parts(high[i]);
  }
  for (int j = 0; j < 4; ++j) {
    row[j] = {_mm256_permute2f128_ps(low[0][j], low[1][j], 0x20),
              _mm256_permute2f128_ps(low[2][j], low[3][j], 0x20)};
    row[4 + j] = {_mm256_permute2f128_ps(low[0][j], low[1][j], 0x31),
                  _mm256_permute2f128_ps(low[2][j], low[3][j], 0x31)};
    row[8 + j] = {_mm256_permute2f128_ps(high[0][j], high[1][j], 0x20),
                  _mm256_permute2f128_ps(high[2][j], high[3][j], 0x20)};
    row[12 + j] = {_mm256_permute2f128_ps(high[0][j], high[1][j], 0x31),
                   _mm256_permute2f128_ps(high[2][j], high[3][j], 0x31)};
  }
}

}  // namespace atl::kernels::simd_avx2

#endif
