// From Oniguruma's Ruby syntax to PCRE2's. Both are backtracking engines with leftmost match, so
// only the spellings differ, and the age of the Unicode tables.
#include "runtime/model/regex.hpp"
#include "runtime/model/unicode_classes.hpp"

#include <cctype>
#include <cstdio>
#include <optional>

namespace atl::model {

namespace {

error unsupported(std::string_view what) {
  return error{errc::unsupported,
               "the pattern uses " + std::string{what} + ", which this build does not support"};
}

void append_range(std::string& out, std::uint32_t first, std::uint32_t last) {
  char buffer[40];
  const int n = first == last
                    ? std::snprintf(buffer, sizeof buffer, "\\x{%X}", first)
                    : std::snprintf(buffer, sizeof buffer, "\\x{%X}-\\x{%X}", first, last);
  out.append(buffer, static_cast<std::size_t>(n));
}

/// Ranges for the inside of a [...], or their complement. Surrogates are no code points.
std::string ranges_text(unicode_class which, bool complement) {
  std::string out;
  std::uint32_t next = 0;
  const auto gap = [&](std::uint32_t first, std::uint32_t last) {
    if (first > last) return;
    if (first < 0xD800 && last > 0xDFFF) {
      append_range(out, first, 0xD7FF);
      append_range(out, 0xE000, last);
    } else {
      append_range(out, first, last);
    }
  };
  for (const auto& range : ranges_of(which)) {
    if (!complement) append_range(out, range.first, range.last);
    if (complement && range.first > 0) gap(next, range.first - 1);
    next = range.last + 1;
  }
  if (complement) gap(next, code_point_max);
  return out;
}

std::optional<unicode_class> class_named(std::string_view name) {
  if (name == "L" || name == "Letter") return unicode_class::letter;
  if (name == "M" || name == "Mark") return unicode_class::mark;
  if (name == "N" || name == "Number") return unicode_class::number;
  if (name == "P" || name == "Punctuation") return unicode_class::punctuation;
  if (name == "S" || name == "Symbol") return unicode_class::symbol;
  return std::nullopt;
}

bool is_hex(std::string_view text) {
  for (const char c : text)
    if (std::isxdigit(static_cast<unsigned char>(c)) == 0) return false;
  return !text.empty();
}

class translator {
public:
  explicit translator(std::string_view pattern) : in_{pattern} {}

  result<std::string> run() {
    while (at_ < in_.size()) {
      const char c = in_[at_];
      if (c == '\\') {
        ATOLL_TRY(escape());
      } else if (in_class_) {
        ATOLL_TRY(class_character());
      } else if (c == '[') {
        open_class();
      } else {
        ATOLL_TRY(plain_character());
      }
    }
    return std::move(out_);
  }

private:
  void open_class() {
    in_class_ = true;
    out_ += in_[at_++];
    if (at_ < in_.size() && in_[at_] == '^') out_ += in_[at_++];
  }

  result<void> class_character() {
    const std::string_view rest = in_.substr(at_);
    if (rest.front() == '[') return unsupported("a class or POSIX bracket inside a class");
    if (rest.starts_with("&&")) return unsupported("&& inside a class");
    if (rest.front() == ']') in_class_ = false;
    out_ += in_[at_++];
    return {};
  }

  result<void> plain_character() {
    const std::string_view rest = in_.substr(at_);
    if (rest.starts_with("(?")) {
      // These mean the same to both; the rest may not, as (?m) or the reach of (?i).
      static constexpr std::string_view known[] = {
          "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"};
      for (const std::string_view group : known) {
        if (!rest.starts_with(group)) continue;
        out_ += group;
        at_ += group.size();
        return {};
      }
      return unsupported("the group " + std::string{rest.substr(0, 6)});
    }
    if (rest.starts_with("(*")) return unsupported("a verb (*...)");
    if (rest.starts_with("{,")) return unsupported("a repetition without a lower bound");
    if (rest.starts_with("}+")) return unsupported("a + after a counted repetition");
    out_ += in_[at_++];
    return {};
  }

  result<void> escape() {
    if (at_ + 1 >= in_.size()) return unsupported("a lone \\ at its end");
    const char c = in_[at_ + 1];
    switch (c) {
    case 's': return put_class(unicode_class::space, false);
    case 'S': return put_class(unicode_class::space, true);
    case 'd': return put_verbatim("\\p{Nd}");
    case 'D': return put_verbatim("\\P{Nd}");
    case 'w':
      return put_verbatim((in_class_ ? "" : "[") + ranges_text(unicode_class::letter, false) +
                          ranges_text(unicode_class::mark, false) + "\\p{Nd}\\p{Pc}" +
                          (in_class_ ? "" : "]"));
    case 'p':
    case 'P': return property(c == 'P');
    case 'x':
    case 'u': return hexadecimal(c);
    default: break;
    }
    static constexpr std::string_view same = "rntfae";
    const bool is_anchor = !in_class_ && (c == 'A' || c == 'z');
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 && !is_anchor &&
        same.find(c) == std::string_view::npos)
      return unsupported("the escape \\" + std::string(1, c));
    out_.append(in_.substr(at_, 2));
    at_ += 2;
    return {};
  }

  result<void> put_verbatim(const std::string& text) {
    out_ += text;
    at_ += 2;
    return {};
  }

  result<void> put_class(unicode_class which, bool complement) {
    at_ += 2;
    append_class(which, complement);
    return {};
  }

  void append_class(unicode_class which, bool complement) {
    if (in_class_)
      out_ += ranges_text(which, complement);
    else
      out_ += (complement ? "[^" : "[") + ranges_text(which, false) + "]";
  }

  result<void> property(bool complement) {
    const std::string_view rest = in_.substr(at_ + 2);
    const std::size_t close = rest.find('}');
    if (!rest.starts_with('{') || close == std::string_view::npos)
      return unsupported("a \\p without {name}");
    std::string_view name = rest.substr(1, close - 1);
    if (name.starts_with('^')) {
      complement = !complement;
      name.remove_prefix(1);
    }
    at_ += 3 + close;
    if (const auto which = class_named(name)) {
      append_class(*which, complement);
      return {};
    }
    out_ += (complement ? "\\P{" : "\\p{") + std::string{name} + "}";
    return {};
  }

  result<void> hexadecimal(char kind) {
    const std::string_view rest = in_.substr(at_ + 2);
    std::string_view digits;
    if (rest.starts_with('{')) {
      digits = rest.substr(1, rest.find('}') == std::string_view::npos ? 0 : rest.find('}') - 1);
      at_ += 4 + digits.size();
    } else {
      digits = rest.substr(0, kind == 'u' ? 4 : 2);
      at_ += 2 + digits.size();
    }
    if (!is_hex(digits)) return unsupported("a malformed \\" + std::string(1, kind));
    out_ += "\\x{" + std::string{digits} + "}";
    return {};
  }

  std::string_view in_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

result<std::string> to_pcre2(std::string_view pattern) { return translator{pattern}.run(); }

}  // namespace atl::model
