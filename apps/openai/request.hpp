// What a client asks of the API, read from JSON and checked: every field has one type and one
// range, an error names the field, and a field that would change the answer but is not offered is
// refused. Pure; any thread.
#pragma once

#include "apps/openai/api_error.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/model/answer_grammar.hpp"
#include "runtime/model/chat.hpp"
#include "runtime/model/sampler.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace atl::openai {

/// The ranges that depend on the server.
struct request_limits {
  int choices_max = 16;          // n
  std::int64_t vocabulary = 0;   // token ids are below
  double timeout_default_s = 0;  // 0: none
  double timeout_max_s = 24 * 3600;
  model::sampling_params sampling = {};  // for what a request leaves out
};

/// What all kinds of generation have in common.
struct generation_fields {
  std::string model;  // as given; empty: not given
  model::sampling_params sampling;
  bool is_seeded = false;
  std::optional<std::int64_t> tokens_max;
  int n = 1;
  bool stream = false;
  bool include_usage = false;
  std::vector<std::string> stop;
  std::vector<token_id> stop_tokens;
  bool ignore_eos = false;
  bool skip_special = true;
  std::optional<int> logprobs_top;
  int urgency = 0;  // higher goes before among the requests of one key
  double timeout_s = 0;
  std::string cache_salt;
  std::vector<std::string> unknown;  // names of fields that mean nothing here
};

using prompt_source = std::variant<std::string, std::vector<token_id>>;

struct completion_request : generation_fields {
  std::vector<prompt_source> prompts;  // at least one
  bool echo = false;
  bool add_special = true;  // BOS, where the tokenizer asks for it
};

struct response_format {
  enum class kind { text, json_object, json_schema };
  kind what = kind::text;
  std::string schema;  // JSON text
};

/// Whether the answer is to begin with thinking. `asked` is refused where the model cannot do as
/// told; `effort`, which clients send to any model, counts where it can choose.
struct thinking_wish {
  std::optional<bool> asked;
  std::optional<bool> effort;
};

struct chat_request : generation_fields {
  std::vector<model::chat_message> messages;
  std::vector<model::chat_tool> tools;  // empty where tool_choice is "none"
  model::tool_choice choice = model::tool_choice::automatic;
  std::string chosen_tool;  // of tool_choice::named
  bool parallel_tool_calls = true;
  response_format format;
  thinking_wish thinking;
};

struct tokenize_request {
  std::string model;
  std::optional<std::string> text;  // this, or messages
  std::vector<model::chat_message> messages;
  std::vector<model::chat_tool> tools;
  thinking_wish thinking;
  bool add_special = true;
  bool with_pieces = false;
};

struct detokenize_request {
  std::string model;
  std::vector<token_id> tokens;
  bool skip_special = false;
};

outcome<completion_request> parse_completion(std::string_view body, const request_limits& limits);
outcome<chat_request> parse_chat(std::string_view body, const request_limits& limits);
outcome<tokenize_request> parse_tokenize(std::string_view body, const request_limits& limits);
outcome<detokenize_request> parse_detokenize(std::string_view body, const request_limits& limits);

}  // namespace atl::openai
