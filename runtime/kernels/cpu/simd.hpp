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

#include "runtime/kernels/cpu/simd_avx2.hpp"
#include "runtime/kernels/cpu/simd_avx512.hpp"

namespace atl::kernels::ATOLL_SIMD {

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
