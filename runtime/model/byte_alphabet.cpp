#include "runtime/model/byte_alphabet.hpp"

#include "runtime/model/utf8.hpp"

#include <array>

namespace atl::model {

namespace {

constexpr std::uint32_t shifted_first = 0x100;
constexpr std::uint32_t shifted_count = 68;

struct alphabet {
  std::array<std::uint32_t, 256> character{};
  std::array<std::int16_t, shifted_first + shifted_count> byte{};
};

constexpr alphabet make_alphabet() {
  alphabet a;
  a.byte.fill(-1);
  std::uint32_t next = shifted_first;
  for (std::uint32_t b = 0; b < 256; ++b) {
    const bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
    const std::uint32_t c = itself ? b : next++;
    a.character[b] = c;
    a.byte[c] = static_cast<std::int16_t>(b);
  }
  return a;
}

constexpr alphabet table = make_alphabet();

}  // namespace

std::uint32_t character_of(std::uint8_t byte) noexcept { return table.character[byte]; }

bool append_token_bytes(std::string_view content, std::string& out) {
  const std::size_t start = out.size();
  for (std::size_t at = 0; at < content.size();) {
    const code_point c = code_point_at(content, at);
    if (c.value >= table.byte.size() || table.byte[c.value] < 0) {
      out.resize(start);
      out.append(content);
      return false;
    }
    out.push_back(static_cast<char>(table.byte[c.value]));
    at += c.bytes;
  }
  return true;
}

}  // namespace atl::model
