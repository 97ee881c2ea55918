// Conversations as the tokens a DeepSeek model was trained on, without running the checkpoint's
// Jinja template: the template only decides which of four native encoders speaks. Text from a
// conversation is never matched against added tokens, so it cannot forge a role marker, and there
// is exactly one BOS. Pure functions; any thread.
//   v2    BOS system "\n\n" "User: " text "\n\n" "Assistant: " text EOS ... "Assistant:"
//         (DeepSeek-V2 and its Lite and Chat models)
//   v3    BOS systems, joined by a blank line <|User|>text <|Assistant|>text EOS ... <|Assistant|>
//         (DeepSeek-V2.5 and V3; a template that leaves system messages where they stand, as
//         that of models/tiny, is followed)
//   r1    as v3; past answers keep only what follows the last </think>; <think> "\n" opens the
//         answer where the template says so, or with `thinking`
//   v3_1  as v3; past answers are <|Assistant|></think>text EOS, with what follows the first
//         </think>; the answer opens with <think> (thinking) or </think>
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/model/tokenizer.hpp"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace atl::model {

enum class chat_format { v2, v3, r1, v3_1 };

/// "v2", "v3", "r1", "v3.1".
std::optional<chat_format> chat_format_from_string(std::string_view name);
std::string_view to_string(chat_format format);

/// By markers of the tokenizer's own template. errc::unsupported for a template that is none of
/// the four, or is missing; the message says how to choose one.
result<chat_format> detect_chat_format(const tokenizer& from);

struct chat_message {
  std::string role;  // system, user or assistant
  std::string content;
};

struct chat_options {
  bool thinking = false;
};

/// The whole conversation with BOS and the opening of the answer. Refuses an empty conversation, a
/// role it does not know (by index) and a tokenizer that lacks a marker the format needs.
result<std::vector<token_id>> encode_chat(const tokenizer& with,
                                          chat_format format,
                                          std::span<const chat_message> messages,
                                          chat_options options);

}  // namespace atl::model
