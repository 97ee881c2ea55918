#include "runtime/kernels/math.hpp"

#include "runtime/kernels/elementary.hpp"

#include <cmath>
#include <limits>

namespace atl::kernels {

namespace {

/// Taylor polynomials in double on |r| <= pi/4 (plus rounding): the first term left out is below
/// 2e-14 of the result, far under half an ulp of float.
double sine_polynomial(double r) noexcept {
  const double z = r * r;
  double p = 1.0 / 6227020800.0;
  p = p * z - 1.0 / 39916800.0;
  p = p * z + 1.0 / 362880.0;
  p = p * z - 1.0 / 5040.0;
  p = p * z + 1.0 / 120.0;
  p = p * z - 1.0 / 6.0;
  return r + r * z * p;
}

double cosine_polynomial(double r) noexcept {
  const double z = r * r;
  double p = -1.0 / 87178291200.0;
  p = p * z + 1.0 / 479001600.0;
  p = p * z - 1.0 / 3628800.0;
  p = p * z + 1.0 / 40320.0;
  p = p * z - 1.0 / 720.0;
  p = p * z + 1.0 / 24.0;
  p = p * z - 0.5;
  return 1.0 + z * p;
}

}  // namespace

float exp_f32(float x) noexcept { return exp_of(f32x1::of(x)).v; }

float sigmoid_f32(float x) noexcept { return sigmoid_of(f32x1::of(x)).v; }

float silu_f32(float x) noexcept { return silu_of(f32x1::of(x)).v; }

float rsqrt_f32(float x) noexcept { return 1.0F / std::sqrt(x); }

sine_cosine sin_cos(float angle) noexcept {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  if (!(std::fabs(angle) <= 0x1p30F)) return {nan, nan};
  const double x = static_cast<double>(angle);
  // pi/2 in two parts of 33 bits and a rest (Cody and Waite): n times a part is exact while
  // n < 2^20, that is |x| < 1.6e6. 1.5 * 2^52 rounds to an integer as rounding_magic does.
  constexpr double magic = 6755399441055744.0;
  const double n = (x * 0x1.45f306dc9c883p-1 + magic) - magic;
  double r = x - n * 0x1.921fb544p+0;
  r = r - n * 0x1.0b4611a6p-34;
  r = r - n * 0x1.3198a2e037073p-69;
  const auto quadrant = static_cast<unsigned>(static_cast<std::int64_t>(n) & 3);
  const double s = sine_polynomial(r);
  const double c = cosine_polynomial(r);
  switch (quadrant) {
  case 0: return {static_cast<float>(s), static_cast<float>(c)};
  case 1: return {static_cast<float>(c), static_cast<float>(-s)};
  case 2: return {static_cast<float>(-s), static_cast<float>(-c)};
  default: return {static_cast<float>(-c), static_cast<float>(s)};
  }
}

}  // namespace atl::kernels
