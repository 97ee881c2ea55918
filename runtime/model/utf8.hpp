// UTF-8: checking, walking over checked text, and repairing bytes that are not text. Pure
// functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace atl::model {

/// Offset of the first byte that is not part of well-formed UTF-8 (Unicode 16, table 3-7).
std::optional<std::size_t> first_invalid_utf8(std::string_view text) noexcept;

struct code_point {
  std::uint32_t value;
  std::uint32_t bytes;  // 1 to 4
};

/// The code point that starts at `at`; the text must be well-formed and `at` a start.
inline code_point code_point_at(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[at + i]));
  };
  const std::uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {((first & 0x1F) << 6) | (byte(1) & 0x3F), 2};
  if (first < 0xF0) return {((first & 0x0F) << 12) | ((byte(1) & 0x3F) << 6) | (byte(2) & 0x3F), 3};
  return {((first & 0x07) << 18) | ((byte(1) & 0x3F) << 12) | ((byte(2) & 0x3F) << 6) |
              (byte(3) & 0x3F),
          4};
}

void append_utf8(std::string& out, std::uint32_t value);

/// Moves what can be decided from the front of `pending` to the end of `out`: characters as they
/// are, U+FFFD for each maximal invalid subpart. A prefix of a possible character stays in
/// `pending` (at most 3 bytes), unless `at_end`, where it becomes one U+FFFD.
void decode_utf8(std::string& pending, std::string& out, bool at_end);

}  // namespace atl::model
