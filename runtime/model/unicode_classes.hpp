// Code-point classes of the reference tokenizer's pattern engine (Unicode 16.0), which are newer
// than those of the PCRE2 that distributions ship. Immutable; any thread.
#pragma once

#include <cstdint>
#include <span>

namespace atl::model {

/// One bit each, so that a set of classes is a mask.
enum class unicode_class : std::uint8_t {
  letter = 1,       // \p{L}
  mark = 2,         // \p{M}
  number = 4,       // \p{N}
  punctuation = 8,  // \p{P}
  symbol = 16,      // \p{S}
  space = 32,       // \s: White_Space, so with U+0085, U+00A0, U+3000, without U+001C..U+001F
};

/// Inclusive.
struct code_point_range {
  std::uint32_t first;
  std::uint32_t last;
};

inline constexpr std::uint32_t code_point_max = 0x10FFFF;

/// Ascending, disjoint.
std::span<const code_point_range> ranges_of(unicode_class which) noexcept;

/// One byte per code point (0 .. code_point_max): the mask of its classes.
const std::uint8_t* unicode_masks();

constexpr std::uint8_t mask_of(unicode_class which) { return static_cast<std::uint8_t>(which); }

}  // namespace atl::model
