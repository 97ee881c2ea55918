// The floating-point mode of the kernels: round to nearest, all exceptions masked, denormal inputs
// and results taken as zero. Set while an object lives, restored after. The compiler does not know
// that arithmetic depends on the mode: put the object in one function and the arithmetic behind a
// call that is not inlined.
#pragma once

#include <xmmintrin.h>

namespace atl::kernels {

class flush_denormals {
public:
  flush_denormals() noexcept : saved_{_mm_getcsr()} { _mm_setcsr(mode); }
  flush_denormals(const flush_denormals&) = delete;
  flush_denormals& operator=(const flush_denormals&) = delete;
  ~flush_denormals() { _mm_setcsr(saved_); }

private:
  static constexpr unsigned mode = 0x1f80U | 0x8000U | 0x0040U;  // masks, FTZ, DAZ
  unsigned saved_;
};

}  // namespace atl::kernels
