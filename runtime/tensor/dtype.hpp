// Element types of stored weights and of rows on the wire, and exact scalar conversions between
// them and float32. Pure functions; the kernels' fast paths must agree with these bit for bit.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace atl::tensor {

enum class dtype : std::uint8_t { f32 = 0, f16 = 1, bf16 = 2, f8_e4m3 = 3 };

constexpr std::size_t element_bytes(dtype t) noexcept {
  return t == dtype::f32 ? 4 : t == dtype::f8_e4m3 ? 1 : 2;
}

/// "f32", "f16", "bf16", "fp8": the names used on the command line and in reports.
std::string_view to_string(dtype t) noexcept;
std::optional<dtype> dtype_from_string(std::string_view name) noexcept;

constexpr float bf16_to_f32(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

/// Round to nearest, ties to even; NaN stays NaN (quiet).
std::uint16_t f32_to_bf16(float value) noexcept;

float f16_to_f32(std::uint16_t bits) noexcept;
/// Round to nearest, ties to even; overflow gives infinity.
std::uint16_t f32_to_f16(float value) noexcept;

/// E4M3FN: sign, 4 exponent bits (bias 7), 3 mantissa bits; no infinities, NaN only 0x7F and 0xFF,
/// largest 448.
float f8_e4m3_to_f32(std::uint8_t bits) noexcept;
/// Round to nearest, ties to even, saturating at +-448; NaN gives 0x7F.
std::uint8_t f32_to_f8_e4m3(float value) noexcept;

/// E8M0 (ue8m0 scales): 2^(bits-127); 255 is NaN.
float f8_e8m0_to_f32(std::uint8_t bits) noexcept;

}  // namespace atl::tensor
