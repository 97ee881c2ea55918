// Answers as they grow, token by token.
#include "apps/openai/choice.hpp"
#include "tests/unit/apps/openai/tiny_words.hpp"

#include <gtest/gtest.h>

namespace atl::openai {
namespace {

using actors::finish_reason;
using kind = model::answer_delta::kind;

std::vector<token_id> tokens_of(const std::string& text, bool with_markers = false) {
  return words()->encode(text, {.match_added_tokens = with_markers}).value();
}

struct told {
  std::string content, reasoning, finish;
  std::vector<std::string> pieces;
};

/// Tokens one at a time, as they come from the cluster.
told tell(choice& c, const std::vector<token_id>& tokens, finish_reason why = finish_reason::stop) {
  told t;
  std::vector<model::answer_delta> out;
  const auto take = [&] {
    for (const auto& piece : out) {
      if (piece.what == kind::content) t.content += piece.text;
      if (piece.what == kind::reasoning) t.reasoning += piece.text;
      t.pieces.push_back(piece.text);
    }
    out.clear();
  };
  for (const token_id token : tokens) {
    c.push({&token, 1}, {}, out);
    take();
  }
  c.end(why, out);
  take();
  t.finish = c.finish();
  EXPECT_EQ(t.content, c.content());
  EXPECT_EQ(t.reasoning, c.reasoning());
  EXPECT_TRUE(c.has_ended());
  return t;
}

choice plain(std::vector<std::string> stop = {}) {
  choice_options o;
  o.words = words();
  o.stop = std::move(stop);
  return choice{std::move(o)};
}

bool is_whole_utf8(const std::string& text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead >= 0x80 && lead < 0xc0) return false;
    at += size;
  }
  return at == text.size();
}

TEST(choice, no_piece_ends_within_a_character) {
  const std::string text = "a 🦊 żółw 静夜思 ☃\u0301 end";
  const auto tokens = tokens_of(text);
  ASSERT_GT(tokens.size(), 10U);  // the fox is four bytes, and no token of its own
  choice c = plain();
  const told t = tell(c, tokens);
  EXPECT_EQ(t.content, text);
  for (const auto& piece : t.pieces) EXPECT_TRUE(is_whole_utf8(piece)) << piece;
  EXPECT_EQ(t.finish, "stop");
}

TEST(choice, a_character_that_never_ends_is_shown_as_broken) {
  auto tokens = tokens_of("🦊");
  tokens.pop_back();
  choice c = plain();
  EXPECT_EQ(tell(c, tokens, finish_reason::length).content, "\ufffd");
  EXPECT_EQ(c.finish(), "length");
}

TEST(choice, stop_strings_are_found_across_tokens_and_never_shown) {
  const std::string text = "In the beginning God created the heaven and the earth.";
  for (const auto& [stop, wanted] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"God"}, "In the beginning "},
           {{"n God cr"}, "In the beginning God created the heaven and the earth."},
           {{"g God cr"}, "In the beginnin"},
           {{"earth", "heaven"}, "In the beginning God created the "},
           {{"zebra"}, text},
           {{"."}, text.substr(0, text.size() - 1)},
           {{"I"}, ""}}) {
    choice c = plain(stop);
    EXPECT_EQ(tell(c, tokens_of(text), finish_reason::length).content, wanted) << stop[0];
    EXPECT_EQ(c.is_cut(), wanted != text);
    EXPECT_EQ(c.finish(), wanted != text ? "stop" : "length");
  }
}

TEST(choice, what_might_begin_a_stop_string_is_held_back_and_no_more) {
  choice c = plain({"the heavens"});
  const auto tokens = tokens_of("God created the heaven");
  std::vector<model::answer_delta> out;
  c.push(tokens, {}, out);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].text, "God created ");
  out.clear();
  c.end(finish_reason::length, out);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].text, "the heaven");
  EXPECT_EQ(c.content(), "God created the heaven");
}

TEST(choice, nothing_is_shown_after_a_stop_string) {
  choice c = plain({"b"});
  std::vector<model::answer_delta> out;
  c.push(tokens_of("a b c"), {}, out);
  out.clear();
  c.push(tokens_of(" d"), {}, out);
  EXPECT_TRUE(out.empty());
  c.end(finish_reason::cancelled, out);
  EXPECT_TRUE(out.empty());
  EXPECT_EQ(c.content(), "a ");
  EXPECT_EQ(c.finish(), "stop");
}

TEST(choice, scores_are_of_the_tokens_that_were_taken) {
  choice c = plain({"b"});
  const auto tokens = tokens_of("a b c d");
  std::vector<actors::token_logprobs> scores(tokens.size());
  for (std::size_t i = 0; i < scores.size(); ++i) scores[i].chosen = -static_cast<float>(i);
  std::vector<model::answer_delta> out;
  c.push(tokens, scores, out);
  const auto taken = c.take_scores();
  ASSERT_FALSE(taken.empty());
  ASSERT_LT(taken.size(), tokens.size());
  for (std::size_t i = 0; i < taken.size(); ++i) {
    EXPECT_EQ(taken[i].token, tokens[i]);
    EXPECT_EQ(taken[i].scores.chosen, -static_cast<float>(i));
  }
  EXPECT_TRUE(c.take_scores().empty());
}

choice with_parts(model::chat_format format, model::answer_parser::options how) {
  choice_options o;
  o.words = words();
  o.parser.emplace(*words(), format, how);
  o.opens_reasoning = how.opens_reasoning;
  return choice{std::move(o)};
}

TEST(choice, thinking_is_kept_apart_and_counted) {
  choice c = with_parts(model::chat_format::r1, {.opens_reasoning = true, .tools = false});
  const auto thought = tokens_of("let me see");
  const told t = tell(c, tokens_of("let me see</think>\n\nIt is so.", true));
  EXPECT_EQ(t.reasoning, "let me see");
  EXPECT_EQ(t.content, "It is so.");
  // This tokenizer spells the marker, and tokens that may be its beginning count as thinking.
  const auto with_marker = tokens_of("let me see</think>\n\nIt");
  EXPECT_GE(c.reasoning_tokens(), static_cast<std::int64_t>(thought.size()));
  EXPECT_LE(c.reasoning_tokens(), static_cast<std::int64_t>(with_marker.size()));
}

TEST(choice, calls_are_gathered_and_end_as_calls) {
  choice c = with_parts(model::chat_format::v3_1, {.opens_reasoning = false, .tools = true});
  const std::string text =
      "Wait.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\":1}<｜tool▁call▁end｜>"
      "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
  const told t = tell(c, tokens_of(text, true));
  EXPECT_EQ(t.content, "Wait.");
  ASSERT_EQ(c.calls().size(), 2U);
  EXPECT_EQ(c.calls()[0].name, "f");
  EXPECT_EQ(c.calls()[0].arguments, R"({"a":1})");
  EXPECT_EQ(c.calls()[1].name, "g");
  EXPECT_EQ(c.calls()[1].arguments, "{}");
  EXPECT_EQ(t.finish, "tool_calls");
}

}  // namespace
}  // namespace atl::openai
