// Elementary functions with the same bits on every machine: own polynomials, evaluated in one
// order, from operations that IEEE 754 rounds exactly (add, multiply, divide, square root, fused
// multiply-add). The vector forms in the row kernels run the same operations per lane, so a value
// does not depend on how many stand beside it. Pure functions, any thread, default rounding and
// denormal modes. NaN in gives NaN out; payloads are not promised.
#pragma once

namespace atl::kernels {

/// e^x, at most 2 ulp off; gradual underflow to 0, overflow to infinity.
float exp_f32(float x) noexcept;

/// 1 / (1 + e^-x), computed as e^-|x| / (1 + e^-|x|) for negative x, so that small results keep
/// their relative accuracy (at most 4 ulp).
float sigmoid_f32(float x) noexcept;

/// x * sigmoid(x); minus infinity gives NaN, as the product 0 * infinity does.
float silu_f32(float x) noexcept;

/// 1 / sqrt(x): one square root and one division, both exactly rounded.
float rsqrt_f32(float x) noexcept;

struct sine_cosine {
  float sin = 0;
  float cos = 1;
};

/// Of an angle in radians, in double inside: within 1 ulp for |angle| <= 1e6, slowly less beyond.
/// Infinite, NaN or larger than 2^30: both NaN.
sine_cosine sin_cos(float angle) noexcept;

}  // namespace atl::kernels
