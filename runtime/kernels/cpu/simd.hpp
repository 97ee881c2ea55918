// Sixteen float32 lanes as one value: one AVX-512 register, or two AVX registers. The same
// operations, with the same bits, under either set of compiler flags. For sources of this folder
// that are compiled once per instruction set; everything is inlined and lives in a namespace named
// after the set, so that no code for one set can be linked in place of the other's. For the same
// reason such sources include no header whose inline functions other sources emit too (result.hpp,
// say): the linker keeps any one copy. Without either flag the header is empty.
#pragma once

#if defined(__AVX512F__)
#define ATOLL_SIMD simd_avx512
#elif defined(__AVX2__)
#define ATOLL_SIMD simd_avx2
#endif

#ifdef ATOLL_SIMD

#include "runtime/kernels/elementary.hpp"

#include <cstdint>
#include <cstring>
#include <immintrin.h>

#define ATOLL_INLINE [[gnu::always_inline]] inline

namespace atl::kernels::ATOLL_SIMD {

#if defined(__AVX512F__)

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

#else

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

#endif

/// The first `count` < 16 values at p, the other lanes `fill`.
ATOLL_INLINE f32x16 load_part(const float* p, std::int64_t count, float fill = 0.0F) noexcept {
  alignas(64) float buffer[16];
  f32x16::of(fill).store(buffer);
  std::memcpy(buffer, p, static_cast<std::size_t>(count) * sizeof(float));
  return f32x16::load(buffer);
}

ATOLL_INLINE void store_part(f32x16 a, float* p, std::int64_t count) noexcept {
  alignas(64) float buffer[16];
  a.store(buffer);
  std::memcpy(p, buffer, static_cast<std::size_t>(count) * sizeof(float));
}

/// The sum of the lanes as a tree: l[i] += l[i+8], then +4, +2, +1.
ATOLL_INLINE float sum_lanes(f32x16 a) noexcept {
  const __m256 eight = fold_halves(a);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

}  // namespace atl::kernels::ATOLL_SIMD

#endif
