#include "apps/prompts.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace atl::apps {
namespace {

std::string refusal(std::string_view content, line_fields fields = line_fields::prompt_sampling) {
  const auto parsed = parse_prompts(content, "in.jsonl", fields, {});
  return parsed.has_error() && exit_code(parsed.error()) == 2 ? parsed.error().message() : "";
}

TEST(parse_prompts, reads_every_field) {
  sampling defaults;
  defaults.params.temperature = 0.5F;
  defaults.tokens_max = 9;
  const auto all = parse_prompts(
      "\n{\"id\":\"a\",\"text\":\"hi\",\"max_tokens\":3,\"temperature\":0.25,\"top_p\":0.5,"
      "\"top_k\":7,\"min_p\":0.125,\"seed\":11,\"stop\":[\"x\",\"y\"],\"ignore_eos\":true}\r\n"
      "  \n{\"tokens\":[1,2,2147483647],\"stop\":\"z\"}",
      "in.jsonl",
      line_fields::prompt_sampling,
      defaults);
  ASSERT_TRUE(all.has_value()) << all.error().message();
  ASSERT_EQ(all->size(), 2U);
  const prompt& first = all->front();
  EXPECT_EQ(first.source, "in.jsonl:2");
  EXPECT_EQ(first.id, "\"a\"");
  EXPECT_EQ(first.text, "hi");
  EXPECT_EQ(first.how.tokens_max, 3);
  EXPECT_EQ(first.how.params.temperature, 0.25F);
  EXPECT_EQ(first.how.params.top_p, 0.5F);
  EXPECT_EQ(first.how.params.top_k, 7);
  EXPECT_EQ(first.how.params.min_p, 0.125F);
  EXPECT_EQ(first.how.params.seed, 11U);
  EXPECT_EQ(first.how.stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_TRUE(first.how.ignore_eos);
  const prompt& second = all->back();
  EXPECT_EQ(second.id, "1");
  EXPECT_EQ(second.tokens, (std::vector<token_id>{1, 2, 2147483647}));
  EXPECT_EQ(second.how.tokens_max, 9);
  EXPECT_EQ(second.how.params.temperature, 0.5F);
  EXPECT_FALSE(second.text.has_value());
}

TEST(parse_prompts, refuses_naming_file_line_and_field) {
  const std::vector<std::pair<const char*, const char*>> wrong{
      {"{\"text\":1}", "text"},
      {"{\"text\":\"a\",\"tokens\":[1]}", "tokens"},
      {"{}", "text"},
      {"{\"id\":[1],\"text\":\"a\"}", "id"},
      {"{\"tokens\":\"a\"}", "tokens"},
      {"{\"tokens\":[1.5]}", "tokens"},
      {"{\"tokens\":[-1]}", "tokens"},
      {"{\"tokens\":[2147483648]}", "tokens"},
      {"{\"text\":\"a\",\"temprature\":1}", "temprature"},
      {"{\"text\":\"a\",\"temperature\":-1}", "temperature"},
      {"{\"text\":\"a\",\"top_p\":0}", "top_p"},
      {"{\"text\":\"a\",\"top_p\":\"x\"}", "top_p"},
      {"{\"text\":\"a\",\"top_k\":1.5}", "top_k"},
      {"{\"text\":\"a\",\"min_p\":2}", "min_p"},
      {"{\"text\":\"a\",\"seed\":-1}", "seed"},
      {"{\"text\":\"a\",\"n\":-1}", "n is -1"},
      {"{\"text\":\"a\",\"n\":1,\"max_tokens\":1}", "max_tokens"},
      {"{\"text\":\"a\",\"stop\":\"\"}", "stop"},
      {"{\"text\":\"a\",\"stop\":[1]}", "stop"},
      {"{\"text\":\"a\",\"ignore_eos\":1}", "ignore_eos"},
  };
  for (const auto& [line, field] : wrong) {
    const std::string why = refusal("{\"text\":\"fine\"}\n" + std::string{line});
    EXPECT_EQ(why.find("in.jsonl:2"), 0U) << line << " -> " << why;
    EXPECT_NE(why.find(field), std::string::npos) << line << " -> " << why;
  }
  EXPECT_NE(refusal("[1]").find("in.jsonl:1"), std::string::npos);
  EXPECT_NE(refusal("{\"text\":").find("in.jsonl:1"), std::string::npos);
  EXPECT_NE(refusal("").find("in.jsonl"), std::string::npos);
  EXPECT_NE(refusal(" \n\n").find("in.jsonl"), std::string::npos);
}

TEST(parse_prompts, knows_fields_by_what_is_read) {
  EXPECT_NE(refusal("{\"text\":\"a\",\"top_k\":1}", line_fields::prompt).find("top_k"),
            std::string::npos);
  EXPECT_NE(refusal("{\"tokens\":[1]}", line_fields::text).find("tokens"), std::string::npos);
  EXPECT_NE(refusal("{\"text\":\"a\"}", line_fields::tokens).find("tokens"), std::string::npos);
  EXPECT_TRUE(parse_prompts("{\"text\":\"\"}", "f", line_fields::text, {}).has_value());
  EXPECT_TRUE(parse_prompts("{\"tokens\":[]}", "f", line_fields::tokens, {}).has_value());
}

prompt of_tokens(std::vector<token_id> tokens, std::int64_t tokens_max) {
  prompt p;
  p.source = "in.jsonl:1";
  p.tokens = std::move(tokens);
  p.how.tokens_max = tokens_max;
  return p;
}

TEST(encode_prompts, checks_ids_and_lengths_and_keeps_answers_in_the_context) {
  std::vector<prompt> prompts{of_tokens({0, 9}, 100), of_tokens({1, 2, 3, 4}, 100)};
  ASSERT_TRUE(encode_prompts(prompts, nullptr, true, 10, 4).has_value());
  EXPECT_EQ(prompts[0].how.tokens_max, 2);
  EXPECT_EQ(prompts[1].how.tokens_max, 0);

  for (auto& wrong : std::vector<std::vector<prompt>>{{of_tokens({10}, 1)},
                                                      {of_tokens({-1}, 1)},
                                                      {of_tokens({}, 1)},
                                                      {of_tokens({1, 2, 3, 4, 5}, 1)}}) {
    const auto made = encode_prompts(wrong, nullptr, true, 10, 4);
    ASSERT_TRUE(made.has_error());
    EXPECT_EQ(exit_code(made.error()), 2);
    EXPECT_EQ(made.error().message().find("in.jsonl:1:"), 0U) << made.error().message();
  }
}

TEST(encode_prompts, texts_and_stop_strings_need_a_tokenizer) {
  prompt text = of_tokens({}, 1);
  text.text = "hi";
  prompt stop = of_tokens({1}, 1);
  stop.how.stop = {"x"};
  for (const prompt& p : {text, stop}) {
    std::vector<prompt> one{p};
    const auto made = encode_prompts(one, nullptr, true, 10, 4);
    ASSERT_TRUE(made.has_error());
    EXPECT_NE(made.error().message().find("tokenizer"), std::string::npos);
  }
}

}  // namespace
}  // namespace atl::apps
