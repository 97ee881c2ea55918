// Requests as OpenAI's API reference has them, and what is wrong with others.
#include "apps/openai/request.hpp"

#include <gtest/gtest.h>

namespace atl::openai {
namespace {

request_limits limits() {
  request_limits l;
  l.vocabulary = 100;
  l.choices_max = 4;
  l.timeout_max_s = 60;
  return l;
}

std::string completion(const std::string& more) { return R"({"prompt":"a",)" + more + "}"; }
std::string chat(const std::string& more) {
  return R"({"messages":[{"role":"user","content":"hi"}],)" + more + "}";
}
std::string message(const std::string& text) { return R"({"messages":[)" + text + "]}"; }

struct wrong {
  std::string body;
  std::string param;
};

template <class Outcome>
void expect_refused(const Outcome& read, const wrong& w) {
  ASSERT_TRUE(read.has_error()) << w.body;
  EXPECT_EQ(read.error().status(), 400) << w.body;
  EXPECT_EQ(read.error().param(), w.param) << w.body << "\n" << read.error().message();
  EXPECT_EQ(read.error().type(), "invalid_request_error");
  if (!w.param.empty()) {
    EXPECT_TRUE(read.error().message().starts_with(w.param)) << read.error().message();
  }
}

TEST(parse, names_the_field_that_is_wrong_in_both_kinds_of_request) {
  const std::vector<std::pair<std::string, std::string>> fields{
      {R"("temperature":"1")", "temperature"},
      {R"("temperature":-0.1)", "temperature"},
      {R"("temperature":2.1)", "temperature"},
      {R"("top_p":0)", "top_p"},
      {R"("top_p":1.01)", "top_p"},
      {R"("top_k":-2)", "top_k"},
      {R"("top_k":1.5)", "top_k"},
      {R"("min_p":2)", "min_p"},
      {R"("presence_penalty":-2.5)", "presence_penalty"},
      {R"("frequency_penalty":[])", "frequency_penalty"},
      {R"("repetition_penalty":0)", "repetition_penalty"},
      {R"("seed":1.5)", "seed"},
      {R"("seed":9223372036854775808)", "seed"},
      {R"("n":0)", "n"},
      {R"("n":5)", "n"},
      {R"("n":true)", "n"},
      {R"("best_of":3)", "best_of"},
      {R"("max_tokens":-1)", "max_tokens"},
      {R"("max_tokens":1e400)", "max_tokens"},
      {R"("stop":5)", "stop"},
      {R"("stop":[""])", "stop"},
      {R"("stop":["a",1])", "stop"},
      {R"("stop":")" + std::string(257, 'a') + "\"", "stop"},
      {R"("stop_token_ids":[100])", "stop_token_ids"},
      {R"("stop_token_ids":["1"])", "stop_token_ids"},
      {R"("logit_bias":{"100":1})", "logit_bias"},
      {R"("logit_bias":{"-1":1})", "logit_bias"},
      {R"("logit_bias":{"1x":1})", "logit_bias"},
      {R"("logit_bias":{"1":101})", "logit_bias.1"},
      {R"("logit_bias":{"1":"a"})", "logit_bias.1"},
      {R"("logit_bias":[1])", "logit_bias"},
      {R"("stream":1)", "stream"},
      {R"("stream_options":{"include_usage":true})", "stream_options"},
      {R"("stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
      {R"("timeout":0)", "timeout"},
      {R"("timeout":61)", "timeout"},
      {R"("priority":1001)", "priority"},
      {R"("ignore_eos":"yes")", "ignore_eos"},
      {R"("cache_salt":1)", "cache_salt"},
      {R"("model":7)", "model"},
      {R"("guided_json":{})", "guided_json"},
      {R"("use_beam_search":true)", "use_beam_search"},
      {R"("min_tokens":1)", "min_tokens"},
      {R"("functions":[{}])", "functions"},
  };
  for (const auto& [text, param] : fields) {
    expect_refused(parse_completion(completion(text), limits()), {completion(text), param});
    expect_refused(parse_chat(chat(text), limits()), {chat(text), param});
  }
}

TEST(parse, names_the_field_that_is_wrong_in_a_completion) {
  for (const wrong& w : std::vector<wrong>{
           {"{}", "prompt"},
           {R"({"prompt":[]})", "prompt"},
           {R"({"prompt":{}})", "prompt"},
           {R"({"prompt":[1,"a"]})", "prompt"},
           {R"({"prompt":["a",1]})", "prompt"},
           {R"({"prompt":[100]})", "prompt"},
           {R"({"prompt":[-1]})", "prompt"},
           {R"({"prompt":[[1],[]]})", "prompt"},
           {completion(R"("logprobs":true)"), "logprobs"},
           {completion(R"("logprobs":21)"), "logprobs"},
           {completion(R"("max_tokens":0)"), "max_tokens"},
           {completion(R"("suffix":"x")"), "suffix"},
           {completion(R"("tools":[{}])"), "tools"},
           {completion(R"("echo":true,"stream":true,"logprobs":1)"), "echo"},
       })
    expect_refused(parse_completion(w.body, limits()), w);
}

TEST(parse, names_the_field_that_is_wrong_in_a_chat) {
  const std::string user = R"({"role":"user","content":"a"})";
  for (const wrong& w : std::vector<wrong>{
           {"{}", "messages"},
           {message(""), "messages"},
           {R"({"messages":"hi"})", "messages"},
           {message("1"), "messages[0]"},
           {message(R"({"content":"a"})"), "messages[0].role"},
           {message(user + R"(,{"role":"wizard","content":"a"})"), "messages[1].role"},
           {message(R"({"role":"user"})"), "messages[0].content"},
           {message(R"({"role":"user","content":5})"), "messages[0].content"},
           {message(R"({"role":"user","content":[{"type":"image_url"}]})"), "messages[0].content"},
           {message(R"({"role":"user","content":[{"type":"text"}]})"), "messages[0].content"},
           {message(R"({"role":"user","content":["a"]})"), "messages[0].content"},
           {message(R"({"role":"user","content":"a","tool_calls":[{"function":{"name":"f"}}]})"),
            "messages[0].tool_calls"},
           {message(R"({"role":"assistant","tool_calls":[{"id":"1"}]})"),
            "messages[0].tool_calls[0].function"},
           {chat(R"("logprobs":1)"), "logprobs"},
           {chat(R"("top_logprobs":2)"), "top_logprobs"},
           {chat(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs"},
           {chat(R"("max_tokens":0)"), "max_tokens"},
           {chat(R"("max_completion_tokens":0)"), "max_completion_tokens"},
           {chat(R"("echo":true)"), "echo"},
           {chat(R"("tools":[1])"), "tools[0]"},
           {chat(R"("tools":[{"type":"retrieval"}])"), "tools[0].type"},
           {chat(R"("tools":[{"type":"function"}])"), "tools[0].function"},
           {chat(R"("tools":[{"function":{"name":"a b"}}])"), "tools[0].function.name"},
           {chat(R"("tools":[{"function":{"name":"a","parameters":1}}])"),
            "tools[0].function.parameters"},
           {chat(R"("tools":[{"function":{"name":"a"}},{"function":{"name":"a"}}])"), "tools[1]"},
           {chat(R"("tool_choice":"required")"), "tool_choice"},
           {chat(R"("tool_choice":"maybe")"), "tool_choice"},
           {chat(R"("tool_choice":{"function":{"name":"f"}})"), "tool_choice"},
           {chat(R"("response_format":{"type":"xml"})"), "response_format.type"},
           {chat(R"("response_format":{"type":"json_schema"})"), "response_format.json_schema"},
           {chat(R"("response_format":{"type":"json_schema","json_schema":{"schema":1}})"),
            "response_format.json_schema.schema"},
           {chat(R"("reasoning_effort":"huge")"), "reasoning_effort"},
           {chat(R"("chat_template_kwargs":{"other":1})"), "chat_template_kwargs.other"},
           {chat(R"("modalities":["audio"])"), "modalities"},
       })
    expect_refused(parse_chat(w.body, limits()), w);
}

TEST(parse, refuses_what_is_no_json_object) {
  const std::string deep = R"({"prompt":)" + std::string(70, '[') + std::string(70, ']') + "}";
  for (const std::string& body : {std::string{},
                                  std::string{"null"},
                                  std::string{"[]"},
                                  std::string{"{"},
                                  std::string{"{'prompt':1}"},
                                  std::string{R"({"prompt":"a"} x)"},
                                  std::string{R"({"prompt":"a",})"},
                                  std::string{"{\"prompt\":\"\xff\"}"},
                                  std::string{R"({"prompt":"\ud800"})"},
                                  std::string(1'000'000, '['),
                                  deep}) {
    expect_refused(parse_completion(body, limits()), {body.substr(0, 60), ""});
    expect_refused(parse_chat(body, limits()), {body.substr(0, 60), ""});
  }
}

TEST(parse, reads_a_whole_completion) {
  const auto r =
      parse_completion(
          R"({"model":"m","prompt":[1,2,99],"max_tokens":7,"temperature":0.5,"top_p":0.25,)"
          R"("top_k":3,"min_p":0.125,"n":2,"stop":["x","y"],"seed":-1,"logprobs":4,"echo":true,)"
          R"("presence_penalty":-2,"frequency_penalty":2,"repetition_penalty":1.5,)"
          R"("logit_bias":{"5":-100,"7":1.5},"stop_token_ids":[9],"ignore_eos":true,)"
          R"("priority":3,"timeout":2.5,"cache_salt":"s","user":"u","strange":1,"suffix":null,)"
          R"("best_of":1})",
          limits())
          .value();
  EXPECT_EQ(r.model, "m");
  EXPECT_EQ(std::get<std::vector<token_id>>(r.prompts.at(0)), (std::vector<token_id>{1, 2, 99}));
  EXPECT_EQ(r.tokens_max, 7);
  EXPECT_EQ(r.sampling.temperature, 0.5F);
  EXPECT_EQ(r.sampling.top_p, 0.25F);
  EXPECT_EQ(r.sampling.top_k, 3);
  EXPECT_EQ(r.sampling.min_p, 0.125F);
  EXPECT_EQ(r.sampling.seed, std::uint64_t{0} - 1);
  EXPECT_TRUE(r.is_seeded);
  EXPECT_EQ(r.n, 2);
  EXPECT_EQ(r.stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(r.logprobs_top, 4);
  EXPECT_TRUE(r.echo);
  EXPECT_EQ(r.sampling.presence_penalty, -2.F);
  EXPECT_EQ(r.sampling.frequency_penalty, 2.F);
  EXPECT_EQ(r.sampling.repetition_penalty, 1.5F);
  EXPECT_EQ(r.sampling.logit_bias, (decltype(r.sampling.logit_bias){{5, -100.F}, {7, 1.5F}}));
  EXPECT_EQ(r.stop_tokens, std::vector<token_id>{9});
  EXPECT_TRUE(r.ignore_eos);
  EXPECT_EQ(r.urgency, -3);  // inside, higher is served first
  EXPECT_EQ(r.timeout_s, 2.5);
  EXPECT_EQ(r.cache_salt, "s");
  EXPECT_EQ(r.unknown, std::vector<std::string>{"strange"});
}

TEST(parse, tells_lists_of_texts_from_lists_of_tokens) {
  const auto read = [](const std::string& prompt) {
    return parse_completion(R"({"prompt":)" + prompt + "}", limits()).value().prompts;
  };
  EXPECT_EQ(read(R"("a")"), (std::vector<prompt_source>{"a"}));
  EXPECT_EQ(read(R"(["a","b"])"), (std::vector<prompt_source>{"a", "b"}));
  EXPECT_EQ(read("[1,2]"), (std::vector<prompt_source>{std::vector<token_id>{1, 2}}));
  EXPECT_EQ(read("[[1],[2,3]]"),
            (std::vector<prompt_source>{std::vector<token_id>{1}, std::vector<token_id>{2, 3}}));
}

TEST(parse, takes_what_a_request_leaves_out_from_the_server) {
  request_limits l = limits();
  l.sampling.temperature = 0.75F;
  l.sampling.top_p = 0.9F;
  const auto r = parse_completion(R"({"prompt":"a","temperature":null})", l).value();
  EXPECT_EQ(r.sampling.temperature, 0.75F);
  EXPECT_EQ(r.sampling.top_p, 0.9F);
  EXPECT_EQ(r.n, 1);
  EXPECT_FALSE(r.is_seeded || r.stream || r.echo || r.tokens_max || r.logprobs_top);
}

TEST(parse, reads_a_conversation) {
  const auto r =
      parse_chat(R"({"messages":[{"role":"system","content":[{"type":"text","text":"be "},)"
                 R"({"type":"text","text":"brief"}]},{"role":"user","content":"hi"},)"
                 R"({"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":)"
                 R"("function","function":{"name":"f","arguments":"{\"a\":1}"}}]},)"
                 R"({"role":"tool","tool_call_id":"c1","content":"done"}],)"
                 R"("max_tokens":5,"max_completion_tokens":6,"logprobs":true,)"
                 R"("reasoning_effort":"none","tools":[{"type":"function","function":)"
                 R"({"name":"f","description":"d","strict":true,)"
                 R"("parameters":{"type":"object"}}}],"tool_choice":{"type":"function",)"
                 R"("function":{"name":"f"}},"parallel_tool_calls":false})",
                 limits())
          .value();
  ASSERT_EQ(r.messages.size(), 4U);
  EXPECT_EQ(r.messages[0].content, "be brief");
  EXPECT_EQ(r.messages[2].tool_calls.at(0).arguments, R"({"a":1})");
  EXPECT_EQ(r.messages[3].tool_call_id, "c1");
  EXPECT_EQ(r.tokens_max, 6);
  EXPECT_EQ(r.logprobs_top, 0);
  EXPECT_EQ(r.thinking.effort, false);
  EXPECT_FALSE(r.thinking.asked);
  ASSERT_EQ(r.tools.size(), 1U);
  EXPECT_EQ(r.tools[0].name, "f");
  EXPECT_EQ(r.tools[0].description, "d");
  EXPECT_EQ(r.tools[0].parameters, R"({"type":"object"})");
  EXPECT_TRUE(r.tools[0].strict);
  EXPECT_EQ(r.choice, model::tool_choice::named);
  EXPECT_EQ(r.chosen_tool, "f");
  EXPECT_FALSE(r.parallel_tool_calls);
  EXPECT_TRUE(r.unknown.empty());
}

TEST(parse, no_tools_are_left_where_none_may_be_called) {
  const auto r =
      parse_chat(chat(R"("tools":[{"function":{"name":"f"}}],"tool_choice":"none")"), limits());
  EXPECT_TRUE(r.value().tools.empty());
}

TEST(parse, reads_formats) {
  const auto format = [](const std::string& text) {
    return parse_chat(chat(R"("response_format":)" + text), limits()).value().format;
  };
  EXPECT_EQ(format(R"({"type":"text"})").what, response_format::kind::text);
  EXPECT_EQ(format(R"({"type":"json_object"})").what, response_format::kind::json_object);
  const auto schema =
      format(R"({"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object"}}})");
  EXPECT_EQ(schema.what, response_format::kind::json_schema);
  EXPECT_EQ(schema.schema, R"({"type":"object"})");
}

TEST(parse, reads_questions_about_tokens) {
  const auto t = parse_tokenize(R"({"prompt":"a","add_special_tokens":false,)"
                                R"("return_token_strs":true})",
                                limits())
                     .value();
  EXPECT_EQ(t.text, "a");
  EXPECT_FALSE(t.add_special);
  EXPECT_TRUE(t.with_pieces);
  expect_refused(parse_tokenize("{}", limits()), {"{}", "prompt"});
  expect_refused(parse_tokenize(R"({"prompt":"a","messages":[]})", limits()), {"", "messages"});
  EXPECT_EQ(parse_detokenize(R"({"tokens":[1,99]})", limits()).value().tokens,
            (std::vector<token_id>{1, 99}));
  expect_refused(parse_detokenize(R"({"tokens":[100]})", limits()), {"", "tokens"});
  expect_refused(parse_detokenize("{}", limits()), {"", "tokens"});
}

}  // namespace
}  // namespace atl::openai
