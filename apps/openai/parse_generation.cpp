#include "apps/openai/parse_generation.hpp"

#include "apps/json_text.hpp"

#include <boost/json.hpp>

#include <charconv>
#include <limits>

namespace atl::openai {
namespace {

namespace json = boost::json;

constexpr std::int64_t tokens_most = std::int64_t{1} << 32;
constexpr std::size_t stops_max = 16;
constexpr std::size_t stop_bytes_max = 256;
constexpr std::size_t stop_tokens_max = 64;
constexpr std::size_t bias_entries_max = 1024;
constexpr std::int64_t top_logprobs_max = 20;
constexpr double penalty_max = 2;
constexpr double temperature_max = 2;
constexpr double repetition_max = 10;
constexpr double repetition_min = 0.01;

// They would change the answer, and this server cannot do them.
constexpr std::pair<std::string_view, std::string_view> refused[] = {
    {"audio", "only text is generated"},
    {"add_generation_prompt", "the answer's opening is always added"},
    {"bad_words", "use logit_bias"},
    {"chat_template", "templates of requests are not run; start the server with --chat-format"},
    {"continue_final_message", "send the text to /v1/completions"},
    {"documents", "put them into a message"},
    {"function_call", "use tool_choice"},
    {"functions", "use tools"},
    {"grammar", "use response_format"},
    {"guided_choice", "use response_format"},
    {"guided_grammar", "use response_format"},
    {"guided_json", "use response_format"},
    {"guided_regex", "use response_format"},
    {"include_stop_str_in_output", "add the stop string yourself"},
    {"length_penalty", "beams are not searched"},
    {"lora", "no adapters are loaded"},
    {"min_tokens", "use logit_bias on the end-of-sequence token"},
    {"prompt_logprobs", "use /v1/completions with echo and logprobs"},
    {"structured_outputs", "use response_format"},
    {"suffix", "text is only continued, not filled in"},
    {"truncate_prompt_tokens", "shorten the prompt"},
    {"typical_p", "use top_p or min_p"},
    {"use_beam_search", "beams are not searched"},
    {"web_search_options", "this server does not search"},
};

// They change nothing that a client could tell from the text.
constexpr std::string_view harmless[] = {"user",
                                         "metadata",
                                         "store",
                                         "service_tier",
                                         "prediction",
                                         "request_id",
                                         "safety_identifier",
                                         "prompt_cache_key",
                                         "verbosity"};

void read_sampling(fields& from, generation_fields& to, const request_limits& limits) {
  auto& p = to.sampling;
  p = limits.sampling;
  if (const auto v = from.number("temperature", 0, temperature_max))
    p.temperature = static_cast<float>(*v);
  if (const auto v = from.number("top_p", 0, 1)) {
    p.top_p = static_cast<float>(*v);
    if (p.top_p <= 0) from.fail("top_p", "0 would keep no token; give more than 0, up to 1");
  }
  if (const auto v = from.integer("top_k", -1, std::numeric_limits<int>::max()))
    p.top_k = static_cast<int>(std::max<std::int64_t>(*v, 0));
  if (const auto v = from.number("min_p", 0, 1)) p.min_p = static_cast<float>(*v);
  if (const auto v = from.number("presence_penalty", -penalty_max, penalty_max))
    p.presence_penalty = static_cast<float>(*v);
  if (const auto v = from.number("frequency_penalty", -penalty_max, penalty_max))
    p.frequency_penalty = static_cast<float>(*v);
  if (const auto v = from.number("repetition_penalty", repetition_min, repetition_max))
    p.repetition_penalty = static_cast<float>(*v);
  if (const auto v = from.integer("seed",
                                  std::numeric_limits<std::int64_t>::min(),
                                  std::numeric_limits<std::int64_t>::max())) {
    p.seed = static_cast<std::uint64_t>(*v);
    to.is_seeded = true;
  }
}

void read_bias(fields& from, generation_fields& to, const request_limits& limits) {
  const json::object* bias = from.object("logit_bias");
  if (bias == nullptr) return;
  if (bias->size() > bias_entries_max)
    return from.fail("logit_bias",
                     "has " + std::to_string(bias->size()) + " entries; at most " +
                         std::to_string(bias_entries_max) + " are taken");
  for (const auto& entry : *bias) {
    const std::string_view key = entry.key();
    token_id token = -1;
    const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (code != std::errc{} || end != key.data() + key.size() || token < 0 ||
        token >= limits.vocabulary)
      return from.fail("logit_bias",
                       "the key \"" + std::string{apps::beginning(key, 40)} +
                           "\" is no token id; the model has 0 to " +
                           std::to_string(limits.vocabulary - 1));
    fields one{*bias, from.path_of("logit_bias")};
    const auto value = one.number(key, -100, 100);
    if (one.failure()) return from.fail(*one.failure());
    if (value) to.sampling.logit_bias.emplace_back(token, static_cast<float>(*value));
  }
}

void add_stop(fields& from, generation_fields& to, const json::value& v) {
  const auto* s = v.if_string();
  if (s == nullptr) return from.fail("stop", "must be a string or an array of strings");
  if (s->empty()) return from.fail("stop", "an empty string stops nothing; leave it out");
  if (s->size() > stop_bytes_max)
    return from.fail("stop",
                     "a string of " + std::to_string(s->size()) + " bytes; at most " +
                         std::to_string(stop_bytes_max) + " are taken");
  to.stop.emplace_back(*s);
}

void read_stops(fields& from, generation_fields& to, const request_limits& limits) {
  if (const json::value* v = from.any("stop")) {
    if (const auto* list = v->if_array()) {
      if (list->size() > stops_max)
        return from.fail("stop",
                         "has " + std::to_string(list->size()) + " entries; at most " +
                             std::to_string(stops_max) + " are taken");
      for (const json::value& one : *list) add_stop(from, to, one);
    } else {
      add_stop(from, to, *v);
    }
  }
  const json::array* ids = from.array("stop_token_ids", stop_tokens_max);
  if (ids == nullptr) return;
  for (const json::value& one : *ids) {
    const auto* id = one.if_int64();
    if (id == nullptr || *id < 0 || *id >= limits.vocabulary)
      return from.fail("stop_token_ids",
                       "must be token ids, 0 to " + std::to_string(limits.vocabulary - 1));
    to.stop_tokens.push_back(static_cast<token_id>(*id));
  }
}

void read_streaming(fields& from, generation_fields& to) {
  to.stream = from.boolean("stream").value_or(false);
  const json::object* options = from.object("stream_options");
  if (options == nullptr) return;
  if (!to.stream) return from.fail("stream_options", "is only meant for \"stream\": true");
  fields inner{*options, "stream_options"};
  to.include_usage = inner.boolean("include_usage").value_or(false);
  inner.ignore("continuous_usage_stats");
  inner.ignore("include_obfuscation");
  if (inner.failure()) from.fail(*inner.failure());
}

void read_logprobs(fields& from, generation_fields& to, bool chat) {
  if (!chat) {
    if (const auto top = from.integer("logprobs", 0, top_logprobs_max))
      to.logprobs_top = static_cast<int>(*top);
    return;
  }
  const bool wanted = from.boolean("logprobs").value_or(false);
  const auto top = from.integer("top_logprobs", 0, top_logprobs_max);
  if (top && *top > 0 && !wanted)
    return from.fail("top_logprobs", "is only meant with \"logprobs\": true");
  if (wanted) to.logprobs_top = static_cast<int>(top.value_or(0));
}

}  // namespace

void read_generation(fields& from, generation_fields& to, const request_limits& limits, bool chat) {
  to.model = from.text("model", 1024).value_or("");
  read_sampling(from, to, limits);
  read_bias(from, to, limits);
  read_stops(from, to, limits);
  read_streaming(from, to);
  read_logprobs(from, to, chat);
  to.tokens_max = from.integer("max_tokens", chat ? 1 : 0, tokens_most);
  if (const auto v = from.integer("max_completion_tokens", 1, tokens_most)) to.tokens_max = v;
  to.n = static_cast<int>(from.integer("n", 1, limits.choices_max).value_or(1));
  if (const auto v = from.integer("best_of", 1, tokens_most); v && *v > to.n)
    from.fail("best_of", "more answers than n are not drawn; leave it out");
  to.ignore_eos = from.boolean("ignore_eos").value_or(false);
  to.skip_special = from.boolean("skip_special_tokens").value_or(true);
  from.boolean("spaces_between_special_tokens");
  // As elsewhere, a lower number is more urgent.
  to.urgency = -static_cast<int>(from.integer("priority", -1000, 1000).value_or(0));
  to.timeout_s = from.number("timeout", 0.001, limits.timeout_max_s).value_or(0);
  to.cache_salt = from.text("cache_salt", 256).value_or("");
  for (const auto& [name, instead] : refused) from.not_offered(name, instead);
  for (const std::string_view name : harmless) from.ignore(name);
}

}  // namespace atl::openai
