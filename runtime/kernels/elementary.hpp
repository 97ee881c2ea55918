// The formulas of math.hpp, written once over a value type V that is a scalar or a vector of
// lanes. V brings, found by argument-dependent lookup: fma(a, b, c), + - * /, max(a, b), min(a, b)
// (the second operand where either is NaN, as the x86 instructions do), abs(a),
// select_negative(x, if_negative, otherwise) by the sign bit of x, scale_pow2(p, t) and
// V::of(float). Everything is inlined: sources compiled for different instruction sets share no
// symbol.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace atl::kernels {

/// 1.5 * 2^23: adding it to a float of magnitude < 2^22 rounds that to an integer, which then
/// stands in the low bits of the sum.
inline constexpr float rounding_magic = 12582912.0F;

/// One lane.
struct f32x1 {
  float v;

  [[gnu::always_inline]] static f32x1 of(float x) noexcept { return {x}; }
};

[[gnu::always_inline]] inline f32x1 operator+(f32x1 a, f32x1 b) noexcept { return {a.v + b.v}; }
[[gnu::always_inline]] inline f32x1 operator-(f32x1 a, f32x1 b) noexcept { return {a.v - b.v}; }
[[gnu::always_inline]] inline f32x1 operator*(f32x1 a, f32x1 b) noexcept { return {a.v * b.v}; }
[[gnu::always_inline]] inline f32x1 operator/(f32x1 a, f32x1 b) noexcept { return {a.v / b.v}; }
[[gnu::always_inline]] inline f32x1 fma(f32x1 a, f32x1 b, f32x1 c) noexcept {
  return {std::fma(a.v, b.v, c.v)};
}
[[gnu::always_inline]] inline f32x1 max(f32x1 a, f32x1 b) noexcept { return a.v > b.v ? a : b; }
[[gnu::always_inline]] inline f32x1 min(f32x1 a, f32x1 b) noexcept { return a.v < b.v ? a : b; }
[[gnu::always_inline]] inline f32x1 abs(f32x1 a) noexcept {
  return {std::bit_cast<float>(std::bit_cast<std::uint32_t>(a.v) & 0x7FFFFFFFU)};
}
[[gnu::always_inline]] inline f32x1 select_negative(f32x1 x, f32x1 if_negative, f32x1 other) {
  return (std::bit_cast<std::uint32_t>(x.v) >> 31) != 0 ? if_negative : other;
}

/// p * 2^n where t = rounding_magic + n and |n| <= 160, in two steps so that results below the
/// normal range are rounded once and those above it overflow.
[[gnu::always_inline]] inline f32x1 scale_pow2(f32x1 p, f32x1 t) noexcept {
  const std::int32_t n = static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(t.v) -
                                                   std::bit_cast<std::uint32_t>(rounding_magic));
  const std::int32_t half = n >> 1;
  const auto power = [](std::int32_t e) {
    return std::bit_cast<float>((static_cast<std::uint32_t>(e) + 127U) << 23);
  };
  return {(p.v * power(half)) * power(n - half)};
}

/// x = n ln 2 + r with |r| <= ln 2 / 2 (ln 2 in two parts, the first with 15 bits so that n times
/// it is exact); e^r = 1 + (r + r^2 P(r)), P of degree 4 interpolating (e^r - 1 - r) / r^2 at the
/// Chebyshev nodes of |r| <= 0.3473, relative error 1.1e-8 with these rounded coefficients.
template <class V>
[[gnu::always_inline]] inline V exp_of(V x) noexcept {
  // Beyond these the result is 0 or infinity; NaN passes, being the second operand.
  x = min(V::of(89.0F), max(V::of(-104.0F), x));
  const V t = fma(x, V::of(0x1.715476p+0F), V::of(rounding_magic));
  const V n = t - V::of(rounding_magic);
  V r = fma(n, V::of(-0x1.62e4p-1F), x);
  r = fma(n, V::of(-0x1.7f7d1cp-20F), r);
  V p = V::of(0x1.6d1208p-10F);
  p = fma(p, r, V::of(0x1.120c6cp-7F));
  p = fma(p, r, V::of(0x1.555518p-5F));
  p = fma(p, r, V::of(0x1.5554dcp-3F));
  p = fma(p, r, V::of(0.5F));
  const V rest = fma(r * r, p, r);
  return scale_pow2(V::of(1.0F) + rest, t);
}

template <class V>
[[gnu::always_inline]] inline V sigmoid_of(V x) noexcept {
  const V e = exp_of(V::of(0.0F) - abs(x));
  return select_negative(x, e, V::of(1.0F)) / (V::of(1.0F) + e);
}

template <class V>
[[gnu::always_inline]] inline V silu_of(V x) noexcept {
  return x * sigmoid_of(x);
}

}  // namespace atl::kernels
