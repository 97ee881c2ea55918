// f32x16 as one AVX-512 register; included by simd.hpp alone, and empty unless the
// source is compiled for that set. The operations and their meaning are those of its sibling,
// simd_avx2.hpp.
#pragma once

#if defined(__AVX512F__)

#include "runtime/kernels/elementary.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <immintrin.h>

#define ATOLL_INLINE [[gnu::always_inline]] inline

namespace atl::kernels::simd_avx512 {

struct f32x16 {
  __m512 v;

  ATOLL_INLINE static f32x16 of(float x) noexcept { return {_mm512_set1_ps(x)}; }
  ATOLL_INLINE static f32x16 load(const float* p) noexcept { return {_mm512_loadu_ps(p)}; }
  ATOLL_INLINE void store(float* p) const noexcept { _mm512_storeu_ps(p, v); }
};

ATOLL_INLINE f32x16 operator+(f32x16 a, f32x16 b) noexcept { return {_mm512_add_ps(a.v, b.v)}; }
ATOLL_INLINE f32x16 operator-(f32x16 a, f32x16 b) noexcept { return {_mm512_sub_ps(a.v, b.v)}; }
ATOLL_INLINE f32x16 operator*(f32x16 a, f32x16 b) noexcept { return {_mm512_mul_ps(a.v, b.v)}; }
ATOLL_INLINE f32x16 operator/(f32x16 a, f32x16 b) noexcept { return {_mm512_div_ps(a.v, b.v)}; }
ATOLL_INLINE f32x16 fma(f32x16 a, f32x16 b, f32x16 c) noexcept {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
/// a * b - c in even lanes, a * b + c in odd ones, rounded once.
ATOLL_INLINE f32x16 fma_alternate(f32x16 a, f32x16 b, f32x16 c) noexcept {
  return {_mm512_fmaddsub_ps(a.v, b.v, c.v)};
}
ATOLL_INLINE f32x16 fms(f32x16 a, f32x16 b, f32x16 c) noexcept {
  return {_mm512_fmsub_ps(a.v, b.v, c.v)};
}
ATOLL_INLINE f32x16 max(f32x16 a, f32x16 b) noexcept { return {_mm512_max_ps(a.v, b.v)}; }
ATOLL_INLINE f32x16 min(f32x16 a, f32x16 b) noexcept { return {_mm512_min_ps(a.v, b.v)}; }
ATOLL_INLINE f32x16 abs(f32x16 a) noexcept {
  return {_mm512_castsi512_ps(
      _mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7FFFFFFF)))};
}
ATOLL_INLINE f32x16 select_negative(f32x16 x, f32x16 if_negative, f32x16 other) noexcept {
  const __mmask16 m =
      _mm512_cmp_epi32_mask(_mm512_castps_si512(x.v), _mm512_setzero_si512(), _MM_CMPINT_LT);
  return {_mm512_mask_blend_ps(m, other.v, if_negative.v)};
}
/// a where x > y (false for NaN), else b.
ATOLL_INLINE f32x16 select_greater(f32x16 x, f32x16 y, f32x16 a, f32x16 b) noexcept {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, y.v, _CMP_GT_OQ), b.v, a.v)};
}
ATOLL_INLINE f32x16 scale_pow2(f32x16 p, f32x16 t) noexcept {
  const __m512i n = _mm512_sub_epi32(_mm512_castps_si512(t.v),
                                     _mm512_castps_si512(_mm512_set1_ps(rounding_magic)));
  const __m512i half = _mm512_srai_epi32(n, 1);
  const __m512i bias = _mm512_set1_epi32(127);
  const __m512i first = _mm512_slli_epi32(_mm512_add_epi32(half, bias), 23);
  const __m512i second = _mm512_slli_epi32(_mm512_add_epi32(_mm512_sub_epi32(n, half), bias), 23);
  return {
      _mm512_mul_ps(_mm512_mul_ps(p.v, _mm512_castsi512_ps(first)), _mm512_castsi512_ps(second))};
}
/// Lanes 2j and 2j+1 exchanged.
ATOLL_INLINE f32x16 swap_pairs(f32x16 a) noexcept { return {_mm512_permute_ps(a.v, 0xB1)}; }
/// p[0], p[0], p[1], p[1], ... p[7], p[7].
ATOLL_INLINE f32x16 load_twice(const float* p) noexcept {
  const __m512i index = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  return {_mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)))};
}
ATOLL_INLINE f32x16 load_f16(const std::byte* p) noexcept {
  __m256i bits;
  std::memcpy(&bits, p, sizeof bits);
  return {_mm512_cvtph_ps(bits)};
}
ATOLL_INLINE f32x16 load_bf16(const std::byte* p) noexcept {
  __m256i bits;
  std::memcpy(&bits, p, sizeof bits);
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
}
/// l[i] += l[i+8] for i < 8: the first step of the lane tree.
ATOLL_INLINE __m256 fold_halves(f32x16 a) noexcept {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a.v), 1));
  return _mm256_add_ps(_mm512_castps512_ps256(a.v), high);
}

/// Rows become columns. Four rows at a time inside 128-bit parts, then the parts.
ATOLL_INLINE void transpose(f32x16 (&row)[16]) noexcept {
  __m512 part[4][4];  // [rows 4i..][column j of each part]
  for (int i = 0; i < 4; ++i) {
    const f32x16* r = row + 4 * i;
    const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(r[0].v, r[1].v));
    const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(r[0].v, r[1].v));
    const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(r[2].v, r[3].v));
    const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(r[2].v, r[3].v));
    part[i][0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    part[i][1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    part[i][2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    part[i][3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
  for (int j = 0; j < 4; ++j) {
    const __m512 even_top = _mm512_shuffle_f32x4(part[0][j], part[1][j], 0x88);
    const __m512 odd_top = _mm512_shuffle_f32x4(part[0][j], part[1][j], 0xDD);
    const __m512 even_low = _mm512_shuffle_f32x4(part[2][j], part[3][j], 0x88);
    const __m512 odd_low = _mm512_shuffle_f32x4(part[2][j], part[3][j], 0xDD);
    row[j] = {_mm512_shuffle_f32x4(even_top, even_low, 0x88)};
    row[4 + j] = {_mm512_shuffle_f32x4(odd_top, odd_low, 0x88)};
    row[8 + j] = {_mm512_shuffle_f32x4(even_top, even_low, 0xDD)};
    row[12 + j] = {_mm512_shuffle_f32x4(odd_top, odd_low, 0xDD)};
  }
}

}  // namespace atl::kernels::simd_avx512

#endif
