// Answers as the API reference of OpenAI prints them, byte by byte.
#include "apps/openai/answer.hpp"
#include "apps/openai/api_error.hpp"
#include "tests/unit/apps/openai/tiny_words.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace atl::openai {
namespace {

namespace json = boost::json;
using kind = model::answer_delta::kind;

answer_head head(bool is_chat) {
  return {is_chat, is_chat ? "chatcmpl-1" : "cmpl-1", 1700000000, "m\"1", "fp"};
}

/// The only token of a text.
token_id token_of(const std::string& text) {
  const auto tokens = words()->encode(text, {}).value();
  EXPECT_EQ(tokens.size(), 1U) << text;
  return tokens.at(0);
}

choice said(const std::string& text, actors::finish_reason why = actors::finish_reason::stop) {
  choice_options o;
  o.words = words();
  choice c{std::move(o)};
  std::vector<model::answer_delta> out;
  c.push(words()->encode(text, {}).value(), {}, out);
  c.end(why, out);
  return c;
}

TEST(answer, a_whole_chat) {
  const choice c = said("line\n\"two\"");
  const finished_choice f{0, &c, "", "", {}};
  EXPECT_EQ(whole_answer(head(true), {&f, 1}, {5, 7, 2, 1}),
            R"({"id":"chatcmpl-1","object":"chat.completion","created":1700000000,)"
            R"("model":"m\"1","system_fingerprint":"fp","choices":[{"index":0,"message":)"
            R"({"role":"assistant","content":"line\n\"two\"","refusal":null},"logprobs":null,)"
            R"("finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,)"
            R"("total_tokens":12,"prompt_tokens_details":{"cached_tokens":2},)"
            R"("completion_tokens_details":{"reasoning_tokens":1}}})");
}

TEST(answer, a_whole_completion_of_two_choices_with_echo) {
  const choice a = said("b");
  const choice b = said("c", actors::finish_reason::length);
  const std::vector<finished_choice> all{{0, &a, "a ", "", {}}, {1, &b, "a ", "{}", {}}};
  const auto text = whole_answer(head(false), all, {1, 2, 0, 0});
  const auto parsed = json::parse(text).as_object();
  EXPECT_EQ(parsed.at("object"), "text_completion");
  EXPECT_EQ(json::serialize(parsed.at("choices")),
            R"([{"index":0,"text":"a b","logprobs":null,"finish_reason":"stop"},)"
            R"({"index":1,"text":"a c","logprobs":{},"finish_reason":"length"}])");
}

TEST(answer, a_call_has_no_content_and_an_id) {
  choice_options o;
  o.words = words();
  o.parser.emplace(*words(),
                   model::chat_format::v3_1,
                   model::answer_parser::options{.opens_reasoning = false, .tools = true});
  choice c{std::move(o)};
  std::vector<model::answer_delta> out;
  c.push(words()
             ->encode("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\":1}"
                      "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
                      {.match_added_tokens = true})
             .value(),
         {},
         out);
  c.end(actors::finish_reason::stop, out);
  const finished_choice f{0, &c, "", "", {"call_1"}};
  const auto parsed = json::parse(whole_answer(head(true), {&f, 1}, {}));
  EXPECT_EQ(json::serialize(parsed.at("choices")),
            R"([{"index":0,"message":{"role":"assistant","content":null,"tool_calls":)"
            R"([{"id":"call_1","type":"function","function":{"name":"f","arguments":)"
            R"("{\"a\":1}"}}],"refusal":null},"logprobs":null,"finish_reason":"tool_calls"}])");
}

TEST(answer, events_of_a_chat) {
  const event_writer e{head(true), false};
  const std::string before =
      R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,)"
      R"("model":"m\"1","system_fingerprint":"fp","choices":[)";
  EXPECT_EQ(e.delta(0, role_delta_json(), ""),
            before + R"({"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,)"
                     R"("finish_reason":null}]})"
                     "\n\n");
  EXPECT_EQ(e.delta(2, delta_json(true, {kind::content, "a\xc3\xa9", -1}, ""), "{\"content\":[]}"),
            before + R"({"index":2,"delta":{"content":"aé"},"logprobs":{"content":[]},)"
                     R"("finish_reason":null}]})"
                     "\n\n");
  EXPECT_EQ(e.finish(1, "length", ""),
            before + R"({"index":1,"delta":{},"logprobs":null,"finish_reason":"length"}]})"
                     "\n\n");
  EXPECT_EQ(event_writer::done(), "data: [DONE]\n\n");
  EXPECT_TRUE(event_writer::ping().starts_with(":"));
}

TEST(answer, pieces_of_every_kind) {
  EXPECT_EQ(delta_json(true, {kind::reasoning, "hm", -1}, ""), R"({"reasoning_content":"hm"})");
  EXPECT_EQ(delta_json(true, {kind::tool_call, "f", 1}, "call_9"),
            R"({"tool_calls":[{"index":1,"id":"call_9","type":"function",)"
            R"("function":{"name":"f","arguments":""}}]})");
  EXPECT_EQ(delta_json(true, {kind::arguments, "{\"a", 1}, ""),
            R"({"tool_calls":[{"index":1,"function":{"arguments":"{\"a"}}]})");
  EXPECT_EQ(delta_json(false, {kind::content, "x", -1}, ""), R"("x")");
}

TEST(answer, usage_is_null_until_the_last_event_where_it_was_asked_for) {
  const event_writer e{head(false), true};
  EXPECT_EQ(e.delta(0, "\"x\"", ""),
            R"(data: {"id":"cmpl-1","object":"text_completion","created":1700000000,)"
            R"("model":"m\"1","system_fingerprint":"fp","choices":[{"index":0,"text":"x",)"
            R"("logprobs":null,"finish_reason":null}],"usage":null})"
            "\n\n");
  const std::string last = e.usage({3, 4, 0, 0});
  EXPECT_NE(last.find(R"("choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,)"),
            std::string::npos);
}

TEST(answer, log_probabilities_of_a_chat) {
  score_writer w{words(), true};
  const token_id the = token_of(" the"), a = token_of("a");
  const scored_token t{the, {-0.5F, {{the, -0.5F}, {a, -1.25F}}}};
  EXPECT_EQ(w.write({&t, 1}, 2),
            R"({"content":[{"token":" the","logprob":-0.5,"bytes":[32,116,104,101],)"
            R"("top_logprobs":[{"token":" the","logprob":-0.5,"bytes":[32,116,104,101]},)"
            R"({"token":"a","logprob":-1.25,"bytes":[97]}]}],"refusal":null})");
}

TEST(answer, log_probabilities_of_a_completion_count_characters_on) {
  score_writer w{words(), false};
  const token_id the = token_of(" the"), moon = token_of("月");
  const std::vector<scored_token> first{{moon, {}}, {the, {-0.5F, {{the, -0.5F}}}}};
  EXPECT_EQ(w.write(first, 1, true),
            R"({"tokens":["月"," the"],"token_logprobs":[null,-0.5],)"
            R"("top_logprobs":[null,{" the":-0.5}],"text_offset":[0,1]})");
  const std::vector<scored_token> next{{moon, {-2.F, {}}}};
  EXPECT_EQ(w.write(next, 0),
            R"({"tokens":["月"],"token_logprobs":[-2],"top_logprobs":null,"text_offset":[5]})");
}

TEST(answer, errors_as_clients_read_them) {
  EXPECT_EQ(api_error::field("n", "must be 1").to_json(),
            R"({"error":{"message":"n: must be 1","type":"invalid_request_error","param":"n",)"
            R"("code":null}})");
  const auto response = api_error::busy(7, "full").to_response();
  EXPECT_EQ(response.status, 429);
  ASSERT_EQ(response.headers.size(), 1U);
  EXPECT_EQ(response.headers[0].name, "retry-after");
  EXPECT_EQ(response.headers[0].value, "7");
  EXPECT_EQ(api_error::unknown_model("x", "y").status(), 404);
}

TEST(answer, errors_of_the_cluster_keep_what_is_inside_inside) {
  const std::string secret = "/home/a/model.safetensors: page fault in shard.cpp:12";
  for (const auto& [code, status] : std::vector<std::pair<errc, int>>{{errc::invalid_argument, 400},
                                                                      {errc::overloaded, 429},
                                                                      {errc::out_of_memory, 503},
                                                                      {errc::peer_gone, 503},
                                                                      {errc::stale_epoch, 503},
                                                                      {errc::unavailable, 503},
                                                                      {errc::cancelled, 503},
                                                                      {errc::deadline, 504},
                                                                      {errc::io, 500},
                                                                      {errc::internal, 500}}) {
    const auto e = api_error::from(error{code, secret}, 3);
    EXPECT_EQ(e.status(), status) << static_cast<int>(code);
    if (status == 500 || code == errc::out_of_memory || code == errc::peer_gone) {
      EXPECT_EQ(e.to_json().find("safetensors"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace atl::openai
