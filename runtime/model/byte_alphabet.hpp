// The byte alphabet of byte-level BPE: each byte written as one printable character (GPT-2's
// bytes_to_unicode). Bytes 33-126, 161-172 and 174-255 stand for themselves; the other 68, in
// increasing order, for U+0100 to U+0143. Pure functions; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace atl::model {

/// The character that stands for a byte.
std::uint32_t character_of(std::uint8_t byte) noexcept;

/// The bytes that a token's content stands for: where every character is in the alphabet, those
/// bytes; otherwise the content's own UTF-8 bytes. Appended to `out`; true in the first case.
bool append_token_bytes(std::string_view content, std::string& out);

}  // namespace atl::model
