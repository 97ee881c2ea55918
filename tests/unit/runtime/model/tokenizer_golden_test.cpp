// Every line of the reference vectors made with the tokenizers library (tests/golden/README.md).
#include "runtime/base/random.hpp"
#include "runtime/model/tokenizer.hpp"
#include "tests/unit/runtime/model/golden_lines.hpp"

#include <gtest/gtest.h>

namespace atl::model {
namespace {

using test::golden_lines;
using test::ids_of;
using test::text_of;

const std::shared_ptr<const tokenizer>& deepseek() {
  static const auto loaded =
      tokenizer::load(*system_disk(), test::golden_path("tokenizer.json")).value();
  return loaded;
}

TEST(tokenizer_golden, encodes_every_text) {
  const auto lines = golden_lines("encode.jsonl");
  ASSERT_EQ(lines.size(), 420U);
  int differing = 0;
  for (const auto& line : lines) {
    const std::string text = text_of(line.at("text"));
    const auto ids = deepseek()->encode(text, {}).value();
    EXPECT_EQ(ids, ids_of(line.at("ids"))) << "line " << line.at("id") << ": " << text;
    const auto* bare = line.if_contains("ids_no_added");
    differing += bare != nullptr ? 1 : 0;
    EXPECT_EQ(deepseek()->encode(text, {.match_added_tokens = false}).value(),
              ids_of(bare != nullptr ? *bare : line.at("ids")))
        << "line " << line.at("id");
  }
  EXPECT_EQ(differing, 45);
}

TEST(tokenizer_golden, decodes_what_it_encoded) {
  for (const auto& line : golden_lines("encode.jsonl")) {
    const auto ids = ids_of(line.at("ids"));
    EXPECT_EQ(deepseek()->decode(ids, false), text_of(line.at("decoded")));
    const auto* skipped = line.if_contains("decoded_skip_special");
    EXPECT_EQ(deepseek()->decode(ids, true),
              text_of(skipped != nullptr ? *skipped : line.at("decoded")));
  }
}

TEST(tokenizer_golden, decodes_ids_that_are_no_text) {
  const auto lines = golden_lines("decode.jsonl");
  ASSERT_FALSE(lines.empty());
  for (const auto& line : lines) {
    const auto ids = ids_of(line.at("ids"));
    EXPECT_EQ(deepseek()->decode(ids, false), text_of(line.at("decoded"))) << line.at("id");
    const auto* skipped = line.if_contains("decoded_skip_special");
    EXPECT_EQ(deepseek()->decode(ids, true),
              text_of(skipped != nullptr ? *skipped : line.at("decoded")))
        << line.at("id");
  }
}

TEST(tokenizer_golden, streams_character_by_character) {
  const auto lines = golden_lines("stream.jsonl");
  ASSERT_FALSE(lines.empty());
  for (const auto& line : lines) {
    stream_decoder decoder{deepseek(), false};
    const auto ids = ids_of(line.at("ids"));
    const auto& chunks = line.at("chunks").as_array();
    ASSERT_EQ(ids.size(), chunks.size());
    for (std::size_t i = 0; i < ids.size(); ++i)
      EXPECT_EQ(decoder.push(ids[i]), text_of(chunks[i])) << line.at("id") << " at " << i;
    EXPECT_EQ(decoder.flush(), text_of(line.at("flush"))) << line.at("id");
  }
}

TEST(tokenizer_golden, streaming_any_ids_gives_the_whole_decode) {
  random_source random{31};
  for (int round = 0; round < 300; ++round) {
    const bool skip_special = round % 2 == 0;
    stream_decoder decoder{deepseek(), skip_special};
    std::vector<token_id> ids;
    std::string streamed;
    for (int i = 0; i < 60; ++i) {
      ids.push_back(static_cast<token_id>(random.below(i % 2 == 0 ? 300 : 129000)));
      streamed += decoder.push(ids.back());
    }
    streamed += decoder.flush();
    EXPECT_EQ(streamed, deepseek()->decode(ids, skip_special));
  }
}

// Published in reports about DeepSeek's tokenizer, made by two further implementations.
TEST(tokenizer_golden, agrees_with_published_examples) {
  const std::vector<std::pair<std::string, std::vector<token_id>>> cases{
      {"Hello, world!", {19923, 14, 2058, 3}},
      {"1234567890", {6895, 18009, 25744, 18}},
      {"trailing spaces   ", {19660, 7400, 13564, 361}},
      {"line1\nline2\r\n\r\nline3", {1836, 19, 201, 1836, 20, 204, 201, 204, 201, 1836, 21}},
      {"日本語テスト ひらがな", {88768, 109288, 223, 40259, 4970, 2936, 2942}},
      {"\u00A0nbsp", {2162, 28706}},
      {"<｜begin▁of▁sentence｜>You are<｜User｜>1+1=?<｜Assistant｜>",
       {0, 3476, 477, 128803, 19, 13, 19, 127252, 128804}}};
  for (const auto& [text, ids] : cases) EXPECT_EQ(deepseek()->encode(text, {}).value(), ids);
}

TEST(tokenizer_golden, knows_its_special_tokens) {
  EXPECT_EQ(deepseek()->bos(), 0);
  EXPECT_EQ(deepseek()->eos(), 1);
  EXPECT_FALSE(deepseek()->adds_bos());
  EXPECT_EQ(deepseek()->vocabulary_size(), 128815);
  EXPECT_EQ(deepseek()->id_of("<｜User｜>"), 128803);
  EXPECT_EQ(deepseek()->id_of("no such token"), std::nullopt);
  EXPECT_NE(deepseek()->chat_template().find("<｜Assistant｜>"), std::string::npos);
}

}  // namespace
}  // namespace atl::model
