#include "runtime/model/chat.hpp"

namespace atl::model {

namespace {

constexpr std::string_view bos_text = "<｜begin▁of▁sentence｜>";
constexpr std::string_view eos_text = "<｜end▁of▁sentence｜>";
constexpr std::string_view user_text = "<｜User｜>";
constexpr std::string_view assistant_text = "<｜Assistant｜>";
constexpr std::string_view think_open = "<think>";
constexpr std::string_view think_close = "</think>";

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// Collects text and control tokens; text between two control tokens is encoded as one.
class token_writer {
public:
  explicit token_writer(const tokenizer& with) : with_{with} {}

  void text(std::string_view part) { pending_.append(part); }

  result<void> control(std::optional<token_id> token, std::string_view content) {
    if (!token) token = with_.id_of(content);
    if (!token)
      return error{errc::invalid_model,
                   "the tokenizer has no token \"" + std::string{content} +
                       "\", which this chat format needs; choose another with --chat-format "
                       "v2|v3|r1|v3.1"};
    ATOLL_TRY(encode_pending());
    tokens_.push_back(*token);
    return {};
  }

  result<void> control(std::string_view content) { return control(std::nullopt, content); }

  /// Thinking markers are text to tokenizers that have no token for them.
  result<void> control_or_text(std::string_view content) {
    if (with_.id_of(content)) return control(content);
    text(content);
    return {};
  }

  result<std::vector<token_id>> finish() {
    ATOLL_TRY(encode_pending());
    return std::move(tokens_);
  }

private:
  result<void> encode_pending() {
    if (pending_.empty()) return {};
    ATOLL_ASSIGN(const std::vector<token_id> ids,
                 with_.encode(pending_, {.match_added_tokens = false}));
    tokens_.insert(tokens_.end(), ids.begin(), ids.end());
    pending_.clear();
    return {};
  }

  const tokenizer& with_;
  std::string pending_;
  std::vector<token_id> tokens_;
};

result<void> check_messages(std::span<const chat_message> messages) {
  if (messages.empty())
    return error{errc::invalid_argument, "messages is empty; a chat needs at least one message"};
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant")
      return error{errc::invalid_argument,
                   "messages[" + std::to_string(i) + "].role is \"" + role.substr(0, 60) +
                       "\"; supported are system, user and assistant"};
  }
  return {};
}

result<void>
write_v2(token_writer& out, std::span<const chat_message> messages, std::optional<token_id> eos) {
  for (const auto& message : messages) {
    if (message.role == "assistant") {
      out.text("Assistant: ");
      out.text(message.content);
      ATOLL_TRY(out.control(eos, eos_text));
      continue;
    }
    if (message.role == "user") out.text("User: ");
    out.text(message.content);
    out.text("\n\n");
  }
  out.text("Assistant:");
  return {};
}

/// What of a past answer the format keeps.
std::string_view kept_answer(chat_format format, std::string_view content) {
  std::size_t close = std::string_view::npos;
  if (format == chat_format::r1) close = content.rfind(think_close);
  if (format == chat_format::v3_1) close = content.find(think_close);
  return close == std::string_view::npos ? content : content.substr(close + think_close.size());
}

result<void> write_turns(token_writer& out,
                         chat_format format,
                         std::span<const chat_message> messages,
                         std::optional<token_id> eos,
                         bool systems_in_place) {
  bool is_first_system = true;
  for (const auto& message : messages) {
    if (message.role != "system" || systems_in_place) continue;
    if (!is_first_system) out.text("\n\n");
    is_first_system = false;
    out.text(message.content);
  }
  for (const auto& message : messages) {
    if (message.role == "system") {
      if (systems_in_place) out.text(message.content);
      continue;
    }
    if (message.role == "user") {
      ATOLL_TRY(out.control(user_text));
      out.text(message.content);
      continue;
    }
    ATOLL_TRY(out.control(assistant_text));
    if (format == chat_format::v3_1) ATOLL_TRY(out.control_or_text(think_close));
    out.text(kept_answer(format, message.content));
    ATOLL_TRY(out.control(eos, eos_text));
  }
  return {};
}

result<void> open_answer(token_writer& out,
                         chat_format format,
                         std::string_view chat_template,
                         chat_options options) {
  ATOLL_TRY(out.control(assistant_text));
  if (format == chat_format::v3_1)
    return out.control_or_text(options.thinking ? think_open : think_close);
  const bool template_opens = has(chat_template, "<｜Assistant｜><think>");
  if (format == chat_format::r1 && (options.thinking || template_opens)) {
    ATOLL_TRY(out.control_or_text(think_open));
    out.text("\n");
  }
  return {};
}

}  // namespace

std::optional<chat_format> chat_format_from_string(std::string_view name) {
  for (const auto format : {chat_format::v2, chat_format::v3, chat_format::r1, chat_format::v3_1})
    if (name == to_string(format)) return format;
  return std::nullopt;
}

std::string_view to_string(chat_format format) {
  switch (format) {
  case chat_format::v2: return "v2";
  case chat_format::v3: return "v3";
  case chat_format::r1: return "r1";
  case chat_format::v3_1: return "v3.1";
  }
  return "unknown";
}

result<chat_format> detect_chat_format(const tokenizer& from) {
  const std::string_view text = from.chat_template();
  if (has(text, user_text) && has(text, assistant_text)) {
    if (!has(text, think_close)) return chat_format::v3;
    // Only V3.1 lets the caller choose; its template takes a variable for that.
    return has(text, "thinking") ? chat_format::v3_1 : chat_format::r1;
  }
  if (has(text, "User: ") && has(text, "Assistant:")) return chat_format::v2;
  return error{errc::unsupported,
               std::string{"tokenizer_config.json: chat_template is "} +
                   (text.empty()
                        ? "missing"
                        : "of no known format (\"" + std::string{text.substr(0, 60)} + "...\")") +
                   "; known are v2, v3, r1 and v3.1: choose one with --chat-format "
                   "v2|v3|r1|v3.1"};
}

result<std::vector<token_id>> encode_chat(const tokenizer& with,
                                          chat_format format,
                                          std::span<const chat_message> messages,
                                          chat_options options) {
  ATOLL_TRY(check_messages(messages));
  token_writer out{with};
  ATOLL_TRY(out.control(with.bos(), bos_text));
  if (format == chat_format::v2) {
    ATOLL_TRY(write_v2(out, messages, with.eos()));
    return out.finish();
  }
  const std::string_view chat_template = with.chat_template();
  // Templates that gather system messages do it in a variable of this name.
  const bool systems_in_place =
      format == chat_format::v3 && !chat_template.empty() && !has(chat_template, "system_prompt");
  ATOLL_TRY(write_turns(out, format, messages, with.eos(), systems_in_place));
  ATOLL_TRY(open_answer(out, format, chat_template, options));
  return out.finish();
}

}  // namespace atl::model
