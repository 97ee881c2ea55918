#include "apps/openai/prepare.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/base/random.hpp"
#include "runtime/model/answer_grammar.hpp"
#include "runtime/model/constraint.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace atl::openai {
namespace {

constexpr std::int64_t completion_tokens_default = 16;  // as OpenAI's

api_error from_model(const error& why, std::string_view param) {
  return why.code() == errc::invalid_argument || why.code() == errc::unsupported
             ? api_error{400, "invalid_request_error", why.message()}.with_param(param)
             : api_error::from(why, 1);
}

outcome<std::vector<token_id>>
encode_text(const std::string& text, bool add_special, const service_options& on) {
  const auto& words = *on.words;
  std::vector<token_id> tokens;
  if (add_special && words.adds_bos() && words.bos()) tokens.push_back(*words.bos());
  auto encoded = words.encode(text, {});
  if (encoded.has_error()) return from_model(encoded.error(), "prompt");
  tokens.insert(tokens.end(), encoded->begin(), encoded->end());
  return tokens;
}

api_error too_long(const std::string& prompt,
                   std::int64_t answer,
                   std::string_view param,
                   const service_options& on) {
  std::string what = "the prompt has " + prompt + " tokens";
  if (answer > 0) what += " and max_tokens asks for " + std::to_string(answer) + " more";
  api_error e{400,
              "invalid_request_error",
              what + "; the context holds " + std::to_string(on.context_max) +
                  ", shorten the prompt or lower max_tokens"};
  e.with_param(param).with_code("context_length_exceeded");
  return e;
}

/// A text so long that no way of cutting it into tokens fits needs not be cut.
outcome<void> check_bytes(std::size_t bytes, std::string_view param, const service_options& on) {
  if (on.token_bytes_max == 0) return {};
  const auto least = static_cast<std::int64_t>(bytes / on.token_bytes_max);
  if (least <= on.context_max) return {};
  return too_long("more than " + std::to_string(least), 0, param, on);
}

/// How many tokens may be generated after a prompt.
outcome<std::int64_t> room_for(const generation_fields& r,
                               std::size_t prompt_tokens,
                               std::int64_t otherwise,
                               std::string_view param,
                               const service_options& on) {
  const auto prompt = static_cast<std::int64_t>(prompt_tokens);
  const std::int64_t room = on.context_max - prompt;
  if (room < 0 || (room == 0 && r.tokens_max != 0))
    return too_long(std::to_string(prompt), 0, param, on);
  if (r.tokens_max && *r.tokens_max > room)
    return too_long(std::to_string(prompt), *r.tokens_max, "max_tokens", on);
  return r.tokens_max.value_or(std::min(otherwise, room));
}

/// Pages are shared within one tenant and one salt only. A salt is its client's choice, so the
/// scope must not be a sum that could be made to come out as another tenant's.
std::uint64_t scope_of(const generation_fields& r, const service_options& on, const caller& who) {
  std::array<std::uint64_t, 3> begin{on.scope_secret[0], on.scope_secret[1], who.tenant_index};
  std::string text(sizeof begin, '\0');
  std::memcpy(text.data(), begin.data(), sizeof begin);
  text += r.cache_salt;
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  const int is_made =
      ::EVP_Digest(text.data(), text.size(), digest.data(), nullptr, ::EVP_sha256(), nullptr);
  ATOLL_ASSERT(is_made == 1);
  std::uint64_t scope = 0;
  std::memcpy(&scope, digest.data(), sizeof scope);
  return scope;
}

actors::generation_request
base_request(const generation_fields& r, const service_options& on, const caller& who) {
  actors::generation_request g;
  g.sampling = r.sampling;
  g.vocabulary = on.vocabulary;
  g.stop_tokens = r.stop_tokens;
  g.ignore_eos = r.ignore_eos;
  g.logprobs_top = r.logprobs_top;
  g.cache_scope = scope_of(r, on, who);
  g.tenant = who.tenant_index;
  g.tenant_share = static_cast<std::uint32_t>(who.share);
  g.priority = who.priority;
  g.urgency = r.urgency;
  double seconds = r.timeout_s > 0 ? r.timeout_s : on.limits.timeout_default_s;
  if (on.limits.timeout_max_s > 0)
    seconds = seconds > 0 ? std::min(seconds, on.limits.timeout_max_s) : on.limits.timeout_max_s;
  if (seconds > 0) g.timeout = duration_ns{static_cast<std::int64_t>(seconds * 1e9)};
  return g;
}

/// Choice j of every prompt draws from a stream of its own; the first from the seed itself, so that
/// it is the answer of a request for one.
std::uint64_t seed_of(std::uint64_t seed, int j) {
  return j == 0 ? seed : philox{seed}.at(1, static_cast<std::uint64_t>(j));
}

job_plan base_plan(const generation_fields& r, const service_options& on, bool is_chat) {
  job_plan plan;
  plan.head.is_chat = is_chat;
  plan.head.model = on.model_id;
  plan.head.fingerprint = on.fingerprint;
  plan.stream = r.stream;
  plan.include_usage = r.include_usage;
  plan.logprobs_top = r.logprobs_top;
  plan.words = on.words;
  plan.choices_per_prompt = r.n;
  return plan;
}

/// The n choices of one prompt.
void add_choices(prepared& to,
                 const generation_fields& r,
                 actors::generation_request one,
                 const choice_options& options,
                 std::uint64_t seed) {
  to.plan.prompt_tokens.push_back(static_cast<std::int64_t>(one.prompt.size()));
  to.plan.tokens_max = std::max(to.plan.tokens_max, one.tokens_max);
  for (int j = 0; j < r.n; ++j) {
    one.sampling.seed = seed_of(r.is_seeded ? r.sampling.seed : seed, j);
    if (j > 0) one.prompt_logprobs = false;  // those of the first are all's
    to.requests.push_back(one);
    to.plan.choices.push_back(options);
  }
}

outcome<model::chat_format> format_of(const service_options& on) {
  if (on.format) return *on.format;
  return api_error{400,
                   "invalid_request_error",
                   "this model has no chat format: " + on.no_format + "; use /v1/completions"};
}

outcome<bool> thinking_of(const thinking_wish& wish, model::chat_format format) {
  const model::chat_features features = model::features_of(format);
  if (!wish.asked) return features.thinking_switch && wish.effort.value_or(false);
  const bool asked = *wish.asked;
  if (asked && !features.reasoning)
    return api_error::field("chat_template_kwargs.thinking",
                            "this model's chat format, " + std::string{model::to_string(format)} +
                                ", has no thinking");
  if (!asked && features.reasoning && !features.thinking_switch)
    return api_error::field("chat_template_kwargs.thinking",
                            "this model always thinks; leave it out");
  return asked;
}

struct chat_setup {
  model::chat_format format{};
  model::chat_options how;
};

/// `tools` must outlive it.
outcome<chat_setup> setup_of(const thinking_wish& thinking,
                             std::span<const model::chat_tool> tools,
                             const service_options& on) {
  chat_setup s;
  ATOLL_ASSIGN(s.format, format_of(on));
  ATOLL_ASSIGN(s.how.thinking, thinking_of(thinking, s.format));
  s.how.tools = tools;
  return s;
}

outcome<std::vector<token_id>> encode_messages(std::span<const model::chat_message> messages,
                                               const chat_setup& setup,
                                               const service_options& on) {
  auto encoded = model::encode_chat(*on.words, setup.format, messages, setup.how);
  if (encoded.has_error()) return from_model(encoded.error(), "messages");
  return std::move(*encoded);
}

outcome<std::string> grammar_of(const chat_request& r, model::chat_format format, bool thinking) {
  if (r.format.what == response_format::kind::json_schema) {
    const auto checked = model::check_json_schema(r.format.schema);
    if (checked.has_error())
      return api_error::field("response_format.json_schema.schema", checked.error().message());
  }
  const bool is_json = r.format.what != response_format::kind::text;
  if (r.tools.empty()) {
    if (!is_json) return std::string{};
    auto made = model::answer_grammar(r.format.schema, thinking);
    if (made.has_error()) return from_model(made.error(), "response_format");
    return std::move(*made);
  }
  model::tool_rules rules;
  rules.tools = r.tools;
  rules.choice = r.choice;
  rules.name = r.chosen_tool;
  rules.parallel = r.parallel_tool_calls;
  rules.thinking = thinking;
  if (is_json) rules.schema = r.format.schema;
  auto made = model::tool_grammar(format, rules);
  if (made.has_error()) return from_model(made.error(), "tools");
  return std::move(*made);
}

}  // namespace

outcome<prepared> prepare(const completion_request& r,
                          const service_options& on,
                          const caller& who,
                          std::uint64_t seed) {
  prepared p;
  p.plan = base_plan(r, on, false);
  choice_options options;
  options.words = on.words;
  options.skip_special = r.skip_special;
  options.stop = r.stop;
  for (const prompt_source& source : r.prompts) {
    actors::generation_request one = base_request(r, on, who);
    if (const auto* text = std::get_if<std::string>(&source)) {
      ATOLL_TRY(check_bytes(text->size(), "prompt", on));
      ATOLL_ASSIGN(one.prompt, encode_text(*text, r.add_special, on));
    } else {
      one.prompt = std::get<std::vector<token_id>>(source);
    }
    if (one.prompt.empty())
      return api_error::field("prompt", "has no tokens; give some text to continue");
    ATOLL_ASSIGN(one.tokens_max,
                 room_for(r, one.prompt.size(), completion_tokens_default, "prompt", on));
    one.prompt_logprobs = r.echo && r.logprobs_top.has_value();
    if (r.echo) {
      const auto* text = std::get_if<std::string>(&source);
      p.plan.echoes.push_back(
          {one.prompt, text != nullptr ? *text : on.words->decode(one.prompt, r.skip_special), {}});
    }
    add_choices(p, r, std::move(one), options, seed);
  }
  return p;
}

outcome<prepared>
prepare(const chat_request& r, const service_options& on, const caller& who, std::uint64_t seed) {
  ATOLL_ASSIGN(const chat_setup setup, setup_of(r.thinking, r.tools, on));
  prepared p;
  p.plan = base_plan(r, on, true);
  actors::generation_request one = base_request(r, on, who);
  std::size_t bytes = 0;
  // Of others, a template may leave parts out.
  for (const auto& m : r.messages)
    if (m.role == "user") bytes += m.content.size();
  ATOLL_TRY(check_bytes(bytes, "messages", on));
  ATOLL_ASSIGN(one.prompt, encode_messages(r.messages, setup, on));
  ATOLL_ASSIGN(one.tokens_max, room_for(r, one.prompt.size(), on.context_max, "messages", on));
  const bool opens = model::opens_reasoning(*on.words, setup.format, r.messages, setup.how);
  ATOLL_ASSIGN(one.constraint, grammar_of(r, setup.format, opens));
  choice_options options;
  options.words = on.words;
  options.skip_special = r.skip_special;
  options.stop = r.stop;
  options.opens_reasoning = opens;
  if (model::features_of(setup.format).reasoning || !r.tools.empty())
    options.parser.emplace(
        *on.words,
        setup.format,
        model::answer_parser::options{.opens_reasoning = opens, .tools = !r.tools.empty()});
  add_choices(p, r, std::move(one), options, seed);
  return p;
}

outcome<std::vector<token_id>> tokens_of(const tokenize_request& r, const service_options& on) {
  if (r.text) return encode_text(*r.text, r.add_special, on);
  ATOLL_ASSIGN(const chat_setup setup, setup_of(r.thinking, r.tools, on));
  return encode_messages(r.messages, setup, on);
}

outcome<std::string> text_of(const chat_request& r, const service_options& on) {
  ATOLL_ASSIGN(const chat_setup setup, setup_of(r.thinking, r.tools, on));
  auto text = model::apply_template(*on.words, setup.format, r.messages, setup.how);
  if (text.has_error()) return from_model(text.error(), "messages");
  return std::move(*text);
}

}  // namespace atl::openai
