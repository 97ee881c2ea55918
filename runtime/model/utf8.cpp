#include "runtime/model/utf8.hpp"

namespace atl::model {

namespace {

/// What stands at a position: `bytes` of a whole character, or of a maximal invalid subpart, or
/// of a prefix that the end of the text cuts off.
struct step {
  enum class kind : std::uint8_t { character, invalid, cut } what;
  std::size_t bytes;
};

struct lead {
  std::size_t length;   // of the whole character; 0 where no character starts so
  unsigned second_low;  // bounds of the second byte
  unsigned second_high;
};

lead lead_of(unsigned first) noexcept {
  if (first >= 0xC2 && first <= 0xDF) return {2, 0x80, 0xBF};
  if (first == 0xE0) return {3, 0xA0, 0xBF};
  if (first == 0xED) return {3, 0x80, 0x9F};
  if (first >= 0xE1 && first <= 0xEF) return {3, 0x80, 0xBF};
  if (first == 0xF0) return {4, 0x90, 0xBF};
  if (first >= 0xF1 && first <= 0xF3) return {4, 0x80, 0xBF};
  if (first == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

step step_at(std::string_view text, std::size_t at) noexcept {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) return {step::kind::character, 1};
  const lead l = lead_of(first);
  if (l.length == 0) return {step::kind::invalid, 1};
  for (std::size_t i = 1; i < l.length; ++i) {
    if (at + i == text.size()) return {step::kind::cut, i};
    const auto next = static_cast<unsigned char>(text[at + i]);
    const unsigned low = i == 1 ? l.second_low : 0x80;
    const unsigned high = i == 1 ? l.second_high : 0xBF;
    if (next < low || next > high) return {step::kind::invalid, i};
  }
  return {step::kind::character, l.length};
}

}  // namespace

std::optional<std::size_t> first_invalid_utf8(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const step s = step_at(text, at);
    if (s.what != step::kind::character) return at;
    at += s.bytes;
  }
  return std::nullopt;
}

void append_utf8(std::string& out, std::uint32_t value) {
  const auto put = [&](std::uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | (value >> 6));
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | (value >> 12));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | (value >> 18));
    put(0x80 | ((value >> 12) & 0x3F));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

void decode_utf8(std::string& pending, std::string& out, bool at_end) {
  std::size_t at = 0;
  while (at < pending.size()) {
    const step s = step_at(pending, at);
    if (s.what == step::kind::cut && !at_end) break;
    if (s.what == step::kind::character)
      out.append(pending, at, s.bytes);
    else
      out.append("\xEF\xBF\xBD");
    at += s.bytes;
  }
  pending.erase(0, at);
}

}  // namespace atl::model
