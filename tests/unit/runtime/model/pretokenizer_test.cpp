#include "runtime/base/random.hpp"
#include "runtime/model/json_fields.hpp"
#include "runtime/model/pretokenizer.hpp"
#include "runtime/model/unicode_classes.hpp"
#include "runtime/model/utf8.hpp"
#include "tests/unit/runtime/model/golden_lines.hpp"

#include <boost/json/serialize.hpp>
#include <gtest/gtest.h>

namespace atl::model {
namespace {

using pieces = std::vector<std::string>;

result<pretokenizer> made_from(const boost::json::value& steps, bool only_regex = false) {
  const boost::json::object root{{"pre_tokenizer", steps}};
  return pretokenizer::parse(json_fields{root, "tokenizer.json"}, only_regex);
}

boost::json::value byte_level(bool use_regex = false) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", use_regex}};
}

boost::json::value sequence_of(const boost::json::value& step) {
  return {{"type", "Sequence"}, {"pretokenizers", boost::json::array{step, byte_level()}}};
}

boost::json::value split_step_of(const std::string& kind,
                                 const std::string& pattern,
                                 const std::string& behavior,
                                 bool invert = false) {
  return {{"type", "Split"},
          {"pattern", {{kind, pattern}}},
          {"behavior", behavior},
          {"invert", invert}};
}

pieces split_by(const pretokenizer& with, const std::string& text) {
  std::vector<std::string_view> out;
  std::deque<std::string> owned;
  EXPECT_FALSE(with.split(text, out, owned).has_error());
  return {out.begin(), out.end()};
}

pieces split_by(const boost::json::value& step, const std::string& text) {
  return split_by(made_from(sequence_of(step)).value(), text);
}

boost::json::value steps_in(const std::string& path) {
  return boost::json::parse(system_disk()->read(path, 64 << 20).value())
      .as_object()
      .at("pre_tokenizer");
}

/// Text that meets the borders of every class: first and last code points of ranges and their
/// neighbours, white space of all kinds, ideographs, runs.
std::string random_text(random_source& random) {
  static const std::vector<std::uint32_t> palette = [] {
    std::vector<std::uint32_t> all{' ',    ' ',    ' ',    '\n',   '\r',   '\t',   'a',
                                   'Z',    '1',    '!',    '<',    0x1,    0x4E00, 0x9FA5,
                                   0x9FA6, 0x3040, 0x309F, 0x30FF, 0x30FB, 0x3099};
    using enum unicode_class;
    for (const auto which : {letter, mark, number, punctuation, symbol, space})
      for (const auto& range : ranges_of(which))
        for (const std::uint32_t c : {range.first - 1, range.first, range.last, range.last + 1})
          if (c > 0 && c <= code_point_max && (c < 0xD800 || c > 0xDFFF)) all.push_back(c);
    return all;
  }();
  std::string text;
  const std::uint64_t length = random.below(40);
  for (std::uint64_t i = 0; i < length; ++i) {
    const bool common = random.below(3) != 0;
    const std::uint32_t c = palette[random.below(common ? 20 : palette.size())];
    for (std::uint64_t n = 0; n <= random.below(4); ++n) append_utf8(text, c);
  }
  return text;
}

TEST(pretokenizer, hand_written_deepseek_equals_its_patterns) {
  const std::string root = ATOLL_SOURCE_DIR;
  for (const std::string& path :
       {test::golden_path("tokenizer.json"), root + "/models/tiny/tokenizer.json"}) {
    const auto steps = steps_in(path);
    const auto fast = made_from(steps).value();
    const auto slow = made_from(steps, true).value();
    random_source random{11};
    for (int i = 0; i < 3000; ++i) {
      const std::string text = random_text(random);
      ASSERT_EQ(split_by(fast, text), split_by(slow, text)) << "text " << i << ": " << text;
    }
  }
}

TEST(pretokenizer, hand_written_trailing_space_equals_its_pattern) {
  for (const std::string behavior : {"Isolated", "Removed", "Contiguous"}) {
    const auto steps = sequence_of(split_step_of("Regex", "\\s+$", behavior));
    const auto fast = made_from(steps).value();
    const auto slow = made_from(steps, true).value();
    random_source random{12};
    for (int i = 0; i < 3000; ++i) {
      const std::string text = random_text(random);
      ASSERT_EQ(split_by(fast, text), split_by(slow, text)) << "text " << i << ": " << text;
    }
  }
}

TEST(pretokenizer, long_runs_take_linear_time_in_both_engines) {
  const auto steps = steps_in(test::golden_path("tokenizer.json"));
  const auto fast = made_from(steps).value();
  const auto slow = made_from(steps, true).value();
  constexpr std::size_t length = 1'000'000;
  const std::vector<std::string> runs{std::string(length, ' '),
                                      std::string(length, ' ') + "x",
                                      std::string(length, '\n') + " ",
                                      std::string(length, 'a'),
                                      std::string(length, '7'),
                                      std::string(length, '\x01'),
                                      std::string(length, '-')};
  for (const auto& text : runs) EXPECT_EQ(split_by(fast, text), split_by(slow, text)) << text[0];
  // The pattern of DeepSeek V2 that would take quadratic time.
  const auto trailing = made_from(sequence_of(split_step_of("Regex", "\\s+$", "Isolated"))).value();
  EXPECT_EQ(split_by(trailing, runs[1]).size(), 1U);
}

// From the tokenizers library's own tests (tokenizer/normalizer.rs, pre_tokenizers/split.rs).
TEST(pretokenizer, split_behaviors_are_the_references) {
  const std::string text = "The-final--countdown";
  for (const std::string kind : {"String", "Regex"}) {
    const auto by = [&](const std::string& behavior) {
      return split_by(split_step_of(kind, "-", behavior), text);
    };
    EXPECT_EQ(by("Removed"), (pieces{"The", "final", "countdown"}));
    EXPECT_EQ(by("Isolated"), (pieces{"The", "-", "final", "-", "-", "countdown"}));
    EXPECT_EQ(by("MergedWithPrevious"), (pieces{"The-", "final-", "-", "countdown"}));
    EXPECT_EQ(by("MergedWithNext"), (pieces{"The", "-final", "-", "-countdown"}));
    EXPECT_EQ(by("Contiguous"), (pieces{"The", "-", "final", "--", "countdown"}));
  }
}

TEST(pretokenizer, invert_swaps_matches_and_gaps) {
  const auto by = [&](const std::string& behavior) {
    return split_by(split_step_of("Regex", "\\w+", behavior, true), "Hello, you!");
  };
  EXPECT_EQ(by("Removed"), (pieces{"Hello", "you"}));
  EXPECT_EQ(by("Isolated"), (pieces{"Hello", ", ", "you", "!"}));
  EXPECT_EQ(by("MergedWithPrevious"), (pieces{"Hello, ", "you!"}));
  EXPECT_EQ(by("MergedWithNext"), (pieces{"Hello", ", you", "!"}));
}

TEST(pretokenizer, digits_one_by_one_or_in_runs) {
  const std::string text = "a12b\u0663\u2167 3";
  EXPECT_EQ(split_by(boost::json::value{{"type", "Digits"}, {"individual_digits", true}}, text),
            (pieces{"a", "1", "2", "b", "\u0663", "\u2167", " ", "3"}));
  EXPECT_EQ(split_by(boost::json::value{{"type", "Digits"}, {"individual_digits", false}}, text),
            (pieces{"a", "12", "b", "\u0663\u2167", " ", "3"}));
}

TEST(pretokenizer, byte_level_may_split_by_itself) {
  const auto with = made_from(byte_level(true)).value();
  EXPECT_EQ(split_by(with, "Hello my  friend, it's 42!\n"),
            (pieces{"Hello", " my", " ", " friend", ",", " it", "'s", " 42", "!", "\n"}));
}

TEST(pretokenizer, a_step_sees_the_end_of_its_piece_as_the_end_of_text) {
  const boost::json::value steps{
      {"type", "Sequence"},
      {"pretokenizers",
       boost::json::array{split_step_of("Regex", "[0-9]", "Isolated"),
                          split_step_of("Regex", "\\s+(?!\\S)", "Isolated"),
                          byte_level()}}};
  // The two spaces stand before a digit, but end their piece.
  EXPECT_EQ(split_by(made_from(steps).value(), "a  1  b"), (pieces{"a", "  ", "1", " ", " b"}));
}

TEST(pretokenizer, refuses_patterns_the_engines_read_differently) {
  for (const std::string pattern : {"\\h+",
                                    "[a&&b]",
                                    "[[:alpha:]]",
                                    "(?m).",
                                    "(?i)a",
                                    "\\bfoo",
                                    "(a)\\1",
                                    "a{,3}",
                                    "\\p{N}{1,3}+",
                                    "(*ACCEPT)",
                                    "\\C",
                                    "\\K",
                                    "\\X",
                                    "(?<n>a)",
                                    "(?R)"}) {
    const auto refused = made_from(sequence_of(split_step_of("Regex", pattern, "Isolated")));
    ASSERT_TRUE(refused.has_error()) << pattern;
    EXPECT_EQ(refused.error().code(), errc::unsupported) << pattern;
    EXPECT_NE(refused.error().message().find("pre_tokenizer.pretokenizers[0].pattern.Regex"),
              std::string::npos)
        << refused.error().message();
  }
  for (const std::string pattern : {"(", "[a", "a**b)", "\\p{NoSuchClass}"})
    EXPECT_TRUE(made_from(sequence_of(split_step_of("Regex", pattern, "Isolated"))).has_error());
  EXPECT_TRUE(made_from(sequence_of(split_step_of("String", "", "Isolated"))).has_error());
  EXPECT_TRUE(made_from(sequence_of(split_step_of("Regex", "a", "Sideways"))).has_error());
  EXPECT_TRUE(made_from({{"type", "Sequence"},
                         {"pretokenizers", boost::json::array{byte_level(), byte_level()}}})
                  .has_error());
}

TEST(pretokenizer, a_pattern_that_explodes_is_an_error) {
  const auto with =
      made_from(sequence_of(split_step_of("Regex", "(?:a|aa|a(?=a))+[bc]", "Isolated"))).value();
  std::vector<std::string_view> out;
  std::deque<std::string> owned;
  const std::string text(60, 'a');
  const auto refused = with.split(text, out, owned);
  ASSERT_TRUE(refused.has_error());
  EXPECT_NE(refused.error().message().find("limit"), std::string::npos);
}

}  // namespace
}  // namespace atl::model
