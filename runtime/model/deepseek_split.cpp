#include "runtime/model/deepseek_split.hpp"

#include "runtime/model/unicode_classes.hpp"
#include "runtime/model/utf8.hpp"

namespace atl::model {

namespace {

constexpr std::string_view pattern_a = R"(\p{N}{1,3})";
constexpr std::string_view pattern_b = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";
/// As published, with CR and LF as characters.
constexpr std::string_view pattern_c = R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^)"
                                       "\r\n"
                                       R"(\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[)"
                                       "\r\n"
                                       R"(]*|\s*[)"
                                       "\r\n"
                                       R"(]+|\s+(?!\S)|\s+)";
/// The same with CR, LF and the quotation mark as escapes.
constexpr std::string_view pattern_c_escaped =
    R"([!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

using enum unicode_class;
constexpr unsigned letters_marks = mask_of(letter) | mask_of(mark);
constexpr unsigned punctuation_symbols = mask_of(punctuation) | mask_of(symbol);

bool is_newline(char c) { return c == '\r' || c == '\n'; }
bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_ascii_punctuation(char c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}
bool is_ideograph_or_kana(std::uint32_t c) {
  return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
}

class splitter {
public:
  splitter(std::string_view text, std::vector<std::string_view>& out) : text_{text}, out_{out} {}

  void numbers() {
    std::size_t gap = 0;
    for (std::size_t at = 0; at < text_.size();) {
      std::size_t end = at;
      for (int n = 0; n < 3 && end < text_.size(); ++n) {
        const code_point c = code_point_at(text_, end);
        if ((masks_[c.value] & mask_of(number)) == 0) break;
        end += c.bytes;
      }
      if (end == at) {
        at += code_point_at(text_, at).bytes;
        continue;
      }
      if (gap < at) ideographs(gap, at);
      // Numbers are in no class of B or C, so the piece stays whole.
      out_.push_back(text_.substr(at, end - at));
      gap = at = end;
    }
    if (gap < text_.size()) ideographs(gap, text_.size());
  }

private:
  /// One past the last code point from `at` whose class is in `mask`.
  std::size_t run_end(std::size_t at, std::size_t end, unsigned mask) const {
    while (at < end) {
      const code_point c = code_point_at(text_, at);
      if ((masks_[c.value] & mask) == 0) break;
      at += c.bytes;
    }
    return at;
  }

  void ideographs(std::size_t begin, std::size_t end) {
    std::size_t piece = begin;
    bool inside = false;
    for (std::size_t at = begin; at < end;) {
      const code_point c = code_point_at(text_, at);
      const bool is_in = is_ideograph_or_kana(c.value);
      if (is_in != inside && at > piece) {
        words(piece, at);
        piece = at;
      }
      inside = is_in;
      at += c.bytes;
    }
    words(piece, end);
  }

  void words(std::size_t begin, std::size_t end) {
    std::size_t gap = begin;
    for (std::size_t at = begin; at < end;) {
      const std::size_t stop = match_word(at, end);
      if (stop == at) {
        at += code_point_at(text_, at).bytes;
        continue;
      }
      if (gap < at) out_.push_back(text_.substr(gap, at - gap));
      out_.push_back(text_.substr(at, stop - at));
      gap = at = stop;
    }
    if (gap < end) out_.push_back(text_.substr(gap, end - gap));
  }

  /// End of pattern C's match at `at`, or `at`.
  std::size_t match_word(std::size_t at, std::size_t end) const {
    const char first = text_[at];
    if (is_ascii_punctuation(first) && at + 1 < end && is_ascii_letter(text_[at + 1])) {
      std::size_t stop = at + 2;
      while (stop < end && is_ascii_letter(text_[stop])) ++stop;
      return stop;
    }
    const code_point c = code_point_at(text_, at);
    const unsigned mask = masks_[c.value];
    const bool may_lead =
        !is_newline(first) && (mask & (mask_of(letter) | punctuation_symbols)) == 0;
    if (may_lead) {
      const std::size_t stop = run_end(at + c.bytes, end, letters_marks);
      if (stop > at + c.bytes) return stop;
    }
    if ((mask & letters_marks) != 0) return run_end(at, end, letters_marks);
    const std::size_t body = first == ' ' ? at + 1 : at;
    std::size_t stop = run_end(body, end, punctuation_symbols);
    if (stop > body) {
      while (stop < end && is_newline(text_[stop])) ++stop;
      return stop;
    }
    return (mask & mask_of(space)) != 0 ? match_space(at, end) : at;
  }

  std::size_t match_space(std::size_t at, std::size_t end) const {
    std::size_t stop = at;
    std::size_t last = at;           // where the last space of the run starts
    std::size_t after_newline = at;  // one past its last CR or LF
    while (stop < end) {
      const code_point c = code_point_at(text_, stop);
      if ((masks_[c.value] & mask_of(space)) == 0) break;
      last = stop;
      stop += c.bytes;
      if (is_newline(text_[last])) after_newline = stop;
    }
    if (after_newline > at) return after_newline;
    return stop == end || last == at ? stop : last;
  }

  std::string_view text_;
  std::vector<std::string_view>& out_;
  const std::uint8_t* masks_ = unicode_masks();
};

}  // namespace

bool is_deepseek_v3_split(std::span<const std::string_view> patterns) noexcept {
  return patterns.size() == 3 && patterns[0] == pattern_a && patterns[1] == pattern_b &&
         (patterns[2] == pattern_c || patterns[2] == pattern_c_escaped);
}

void split_deepseek_v3(std::string_view text, std::vector<std::string_view>& out) {
  splitter{text, out}.numbers();
}

}  // namespace atl::model
