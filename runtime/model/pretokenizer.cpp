#include "runtime/model/pretokenizer.hpp"

#include "runtime/model/deepseek_split.hpp"
#include "runtime/model/json_fields.hpp"
#include "runtime/model/unicode_classes.hpp"
#include "runtime/model/utf8.hpp"

#include <boost/json/array.hpp>

#include <optional>
#include <utility>

namespace atl::model {

namespace {

/// The pattern of ByteLevel with use_regex (GPT-2).
constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
/// DeepSeek V2's; a backtracking engine needs quadratic time for it on spaces before other text.
constexpr std::string_view trailing_space_pattern = R"(\s+$)";

class regex_step final : public split_step {
public:
  regex_step(regex pattern, split_behavior behavior, bool invert)
      : pattern_{std::move(pattern)}, behavior_{behavior}, invert_{invert} {}

  result<void> split(std::string_view text, std::vector<std::string_view>& out) const override {
    std::vector<text_span> matches;
    ATOLL_TRY(pattern_.find_all(text, matches));
    split_at_matches(text, matches, behavior_, invert_, out);
    return {};
  }

private:
  regex pattern_;
  split_behavior behavior_;
  bool invert_;
};

class literal_step final : public split_step {
public:
  literal_step(std::string_view literal, split_behavior behavior, bool invert)
      : literal_{literal}, behavior_{behavior}, invert_{invert} {}

  result<void> split(std::string_view text, std::vector<std::string_view>& out) const override {
    std::vector<text_span> matches;
    for (std::size_t at = text.find(literal_); at != std::string_view::npos;
         at = text.find(literal_, at + literal_.size()))
      matches.push_back({at, at + literal_.size()});
    split_at_matches(text, matches, behavior_, invert_, out);
    return {};
  }

private:
  std::string literal_;
  split_behavior behavior_;
  bool invert_;
};

class digits_step final : public split_step {
public:
  explicit digits_step(bool individual)
      : behavior_{individual ? split_behavior::isolated : split_behavior::contiguous} {}

  result<void> split(std::string_view text, std::vector<std::string_view>& out) const override {
    const std::uint8_t* masks = unicode_masks();
    std::vector<text_span> matches;
    for (std::size_t at = 0; at < text.size();) {
      const code_point c = code_point_at(text, at);
      if ((masks[c.value] & mask_of(unicode_class::number)) != 0)
        matches.push_back({at, at + c.bytes});
      at += c.bytes;
    }
    split_at_matches(text, matches, behavior_, false, out);
    return {};
  }

private:
  split_behavior behavior_;
};

/// \s+$ where $ is the end of a line: a run of white space up to the end of text or, failing that,
/// up to its last line feed.
class trailing_space_step final : public split_step {
public:
  trailing_space_step(split_behavior behavior, bool invert)
      : behavior_{behavior}, invert_{invert} {}

  result<void> split(std::string_view text, std::vector<std::string_view>& out) const override {
    const std::uint8_t* masks = unicode_masks();
    std::vector<text_span> matches;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      std::size_t last_feed = begin;
      code_point c = code_point_at(text, at);
      while ((masks[c.value] & mask_of(unicode_class::space)) != 0) {
        if (c.value == '\n') last_feed = at;
        at += c.bytes;
        if (at == text.size()) break;
        c = code_point_at(text, at);
      }
      if (at == text.size() && at > begin) {
        matches.push_back({begin, at});
      } else if (last_feed > begin) {
        matches.push_back({begin, last_feed});
      }
      if (at < text.size()) at += c.bytes;
    }
    split_at_matches(text, matches, behavior_, invert_, out);
    return {};
  }

private:
  split_behavior behavior_;
  bool invert_;
};

class deepseek_v3_step final : public split_step {
public:
  result<void> split(std::string_view text, std::vector<std::string_view>& out) const override {
    split_deepseek_v3(text, out);
    return {};
  }
};

result<split_behavior> parse_behavior(const json_fields& fields) {
  ATOLL_ASSIGN(const std::string name, fields.text("behavior"));
  if (name == "Removed") return split_behavior::removed;
  if (name == "Isolated") return split_behavior::isolated;
  if (name == "MergedWithPrevious") return split_behavior::merged_with_previous;
  if (name == "MergedWithNext") return split_behavior::merged_with_next;
  if (name == "Contiguous") return split_behavior::contiguous;
  return fields.wrong("behavior",
                      "supported are Removed, Isolated, MergedWithPrevious, MergedWithNext and "
                      "Contiguous",
                      errc::unsupported);
}

result<regex> compile_for(const json_fields& fields, std::string_view pattern) {
  auto compiled = regex::compile(pattern);
  if (compiled.has_error())
    return fields.wrong("pattern", compiled.error().message(), compiled.error().code());
  return compiled;
}

/// The pattern of an Isolated, uninverted Split with a Regex; empty for any other step.
std::string_view isolated_pattern(const json_fields& fields) {
  const auto* type = fields.find("type");
  const auto* behavior = fields.find("behavior");
  const auto* invert = fields.find("invert");
  const auto* pattern = fields.find("pattern");
  if (type == nullptr || *type != "Split" || behavior == nullptr || *behavior != "Isolated")
    return {};
  if (invert != nullptr && *invert != false) return {};
  if (pattern == nullptr || !pattern->is_object()) return {};
  const auto* text = pattern->get_object().if_contains("Regex");
  if (text == nullptr || !text->is_string()) return {};
  return {text->get_string().data(), text->get_string().size()};
}

}  // namespace

void split_at_matches(std::string_view text,
                      const std::vector<text_span>& matches,
                      split_behavior behavior,
                      bool invert,
                      std::vector<std::string_view>& out) {
  struct part {
    text_span span;
    bool is_match;
  };
  std::vector<part> parts;  // all of the text, matches and gaps
  parts.reserve(2 * matches.size() + 1);
  std::size_t previous = 0;
  for (const text_span m : matches) {
    if (previous != m.begin) parts.push_back({{previous, m.begin}, invert});
    parts.push_back({m, !invert});
    previous = m.end;
  }
  if (previous != text.size()) parts.push_back({{previous, text.size()}, invert});

  const auto emit = [&](text_span span) {
    if (span.begin != span.end) out.push_back(text.substr(span.begin, span.end - span.begin));
  };
  for (std::size_t i = 0; i < parts.size(); ++i) {
    text_span span = parts[i].span;
    const auto next_is_match = [&] { return i + 1 < parts.size() && parts[i + 1].is_match; };
    const auto take_next = [&] { span.end = parts[++i].span.end; };
    switch (behavior) {
    case split_behavior::isolated: break;
    case split_behavior::removed:
      if (parts[i].is_match) continue;
      break;
    case split_behavior::contiguous:
      while (i + 1 < parts.size() && parts[i + 1].is_match == parts[i].is_match) take_next();
      break;
    case split_behavior::merged_with_previous:
      // Of several matches in a row only the first joins what is before it.
      if (!parts[i].is_match && next_is_match()) take_next();
      break;
    case split_behavior::merged_with_next:
      // Of several matches in a row only the last joins what is after it.
      if (parts[i].is_match && i + 1 < parts.size() && !next_is_match()) take_next();
      break;
    }
    emit(span);
  }
}

result<pretokenizer> pretokenizer::parse(const json_fields& fields, bool only_regex) {
  pretokenizer made;
  ATOLL_ASSIGN(const json_fields root, fields.child("pre_tokenizer"));
  ATOLL_TRY(made.add(root, only_regex));
  if (!made.is_byte_level_)
    return fields.wrong("pre_tokenizer",
                        "it must end in a ByteLevel step: only byte-level BPE is supported",
                        errc::unsupported);
  return made;
}

result<void> pretokenizer::add(const json_fields& fields, bool only_regex) {
  ATOLL_ASSIGN(const std::string type, fields.text("type"));
  if (is_byte_level_)
    return fields.wrong("type", "no step may follow ByteLevel", errc::unsupported);
  if (type == "Sequence") return add_sequence(fields, only_regex);
  if (type == "Split") return add_split(fields, only_regex);
  if (type == "ByteLevel") return add_byte_level(fields);
  if (type == "Digits") {
    ATOLL_ASSIGN(const bool individual, fields.boolean_or("individual_digits", false));
    steps_.push_back(std::make_unique<digits_step>(individual));
    return {};
  }
  return fields.wrong(
      "type", "supported are Sequence, Split, Digits and ByteLevel", errc::unsupported);
}

result<void> pretokenizer::add_sequence(const json_fields& fields, bool only_regex) {
  ATOLL_ASSIGN(const auto* steps, fields.array("pretokenizers"));
  std::vector<json_fields> children;
  for (std::size_t i = 0; i < steps->size(); ++i) {
    const std::string path = fields.full_name("pretokenizers") + "[" + std::to_string(i) + "]";
    ATOLL_ASSIGN(json_fields child, json_fields::of((*steps)[i], fields.path(), path));
    children.push_back(std::move(child));
  }
  for (std::size_t i = 0; i < children.size(); ++i) {
    if (!only_regex && i + 3 <= children.size()) {
      const std::string_view patterns[] = {isolated_pattern(children[i]),
                                           isolated_pattern(children[i + 1]),
                                           isolated_pattern(children[i + 2])};
      if (is_deepseek_v3_split(patterns)) {
        steps_.push_back(std::make_unique<deepseek_v3_step>());
        i += 2;
        continue;
      }
    }
    ATOLL_TRY(add(children[i], only_regex));
  }
  return {};
}

result<void> pretokenizer::add_split(const json_fields& fields, bool only_regex) {
  ATOLL_ASSIGN(const split_behavior behavior, parse_behavior(fields));
  ATOLL_ASSIGN(const bool invert, fields.boolean_or("invert", false));
  ATOLL_ASSIGN(const json_fields pattern, fields.child("pattern"));
  if (pattern.find("Regex") != nullptr) {
    ATOLL_ASSIGN(const std::string text, pattern.text("Regex"));
    if (text == trailing_space_pattern && !only_regex) {
      steps_.push_back(std::make_unique<trailing_space_step>(behavior, invert));
      return {};
    }
    auto compiled = regex::compile(text);
    if (compiled.has_error())
      return pattern.wrong("Regex", compiled.error().message(), compiled.error().code());
    steps_.push_back(std::make_unique<regex_step>(std::move(*compiled), behavior, invert));
    return {};
  }
  ATOLL_ASSIGN(const std::string text, pattern.text("String"));
  if (text.empty()) return pattern.wrong("String", "it must not be empty", errc::unsupported);
  steps_.push_back(std::make_unique<literal_step>(text, behavior, invert));
  return {};
}

result<void> pretokenizer::add_byte_level(const json_fields& fields) {
  ATOLL_ASSIGN(adds_prefix_space_, fields.boolean_or("add_prefix_space", true));
  ATOLL_ASSIGN(const bool use_regex, fields.boolean_or("use_regex", true));
  is_byte_level_ = true;
  prefix_space_before_ = steps_.size();
  if (use_regex) {
    ATOLL_ASSIGN(regex pattern, compile_for(fields, gpt2_pattern));
    steps_.push_back(
        std::make_unique<regex_step>(std::move(pattern), split_behavior::isolated, false));
  }
  return {};
}

result<void> pretokenizer::split(std::string_view text,
                                 std::vector<std::string_view>& out,
                                 std::deque<std::string>& owned) const {
  std::vector<std::string_view> pieces;
  if (!text.empty()) pieces.push_back(text);
  const auto add_space = [&] {
    for (auto& piece : pieces)
      if (!piece.starts_with(' ')) piece = owned.emplace_back(" " + std::string{piece});
  };
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    if (adds_prefix_space_ && i == prefix_space_before_) add_space();
    std::vector<std::string_view> next;
    next.reserve(pieces.size());
    for (const std::string_view piece : pieces) ATOLL_TRY(steps_[i]->split(piece, next));
    pieces = std::move(next);
  }
  if (adds_prefix_space_ && prefix_space_before_ == steps_.size()) add_space();
  if (out.empty())
    out = std::move(pieces);
  else
    out.insert(out.end(), pieces.begin(), pieces.end());
  return {};
}

}  // namespace atl::model
