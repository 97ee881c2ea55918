#include "actors/sequence.hpp"

#include <algorithm>
#include <string>

namespace atl::actors {
namespace {

result<void> add_grammar(sequence& s, model::constraint_cache* grammars) {
  if (grammars == nullptr)
    return error{errc::unsupported, "this server has no tokenizer, which constrained answers need"};
  ATOLL_ASSIGN(auto compiled, grammars->get(s.request.constraint));
  s.grammar.emplace(std::move(compiled));
  for (const token_id token : s.emitted)
    if (!s.grammar->accept(token))
      return error{errc::invalid_argument,
                   "the tokens emitted earlier do not meet the request's constraint"};
  return {};
}

result<void>
check_ids(const char* what, const std::vector<token_id>& ids, const model::model_config& config) {
  for (const token_id token : ids) {
    if (token < 0 || token >= config.vocab_size)
      return error{errc::invalid_argument,
                   std::string{what} + " token " + std::to_string(token) +
                       " is out of range, the model has ids 0 to " +
                       std::to_string(config.vocab_size - 1)};
  }
  return {};
}

bool contains(const std::vector<token_id>& list, token_id token) {
  return std::find(list.begin(), list.end(), token) != list.end();
}

model::sampling_params params_of(const transport::wire::sampling& s) {
  model::sampling_params p;
  p.temperature = s.temperature;
  p.top_p = s.top_p;
  p.top_k = static_cast<int>(std::min<std::uint32_t>(s.top_k, 1U << 30));
  p.min_p = s.min_p;
  p.repetition_penalty = s.repetition_penalty;
  p.presence_penalty = s.presence_penalty;
  p.frequency_penalty = s.frequency_penalty;
  p.seed = s.seed;
  p.logit_bias = s.logit_bias;
  return p;
}

}  // namespace

std::int64_t sequence::reusable_pages() const noexcept {
  const bool is_all_seen = request.logits == transport::wire::logits_wanted::all ||
                           request.want_hidden || request.want_routing || request.prompt_logprobs;
  const std::int64_t tokens_max = tokens() - 1;
  return (is_all_seen ? std::min(tokens_max, observed) : tokens_max) / attention::kv_page_tokens;
}

result<std::unique_ptr<sequence>> make_sequence(const transport::wire::submit& request,
                                                const model::model_config& config,
                                                model::constraint_cache* grammars) {
  ATOLL_TRY(check_ids("prompt", request.prompt, config));
  ATOLL_TRY(check_ids("emitted", request.emitted, config));
  model::sampling_params params = params_of(request.sampling);
  ATOLL_TRY(model::validate(params));
  const std::int64_t vocabulary =
      request.vocabulary == 0 ? config.vocab_size
                              : std::min<std::int64_t>(request.vocabulary, config.vocab_size);
  auto made = std::make_unique<sequence>();
  made->request = request;
  made->emitted = request.emitted;
  made->sampler = std::make_unique<const model::sampler>(std::move(params), vocabulary);
  if (!request.constraint.empty()) ATOLL_TRY(add_grammar(*made, grammars));
  return made;
}

std::optional<transport::wire::tokens> tokens_after(const sequence& s,
                                                    const std::vector<token_id>& known) {
  if (known.size() > s.emitted.size() || known.size() < s.request.emitted.size()) return {};
  if (!std::equal(known.begin(), known.end(), s.emitted.begin())) return {};
  transport::wire::tokens again;
  again.request = s.request.request;
  again.position_first = static_cast<std::uint32_t>(known.size());
  again.generated_tokens = static_cast<std::uint32_t>(s.emitted.size());
  again.values.assign(s.emitted.begin() + static_cast<std::ptrdiff_t>(known.size()),
                      s.emitted.end());
  const auto& rows = s.logprobs;
  if (rows.chosen.empty() || again.values.empty()) return again;
  const auto first = static_cast<std::ptrdiff_t>(known.size() - s.request.emitted.size());
  again.logprobs.top = rows.top;
  again.logprobs.chosen.assign(rows.chosen.begin() + first, rows.chosen.end());
  again.logprobs.top_ids.assign(rows.top_ids.begin() + first * rows.top, rows.top_ids.end());
  again.logprobs.top_values.assign(rows.top_values.begin() + first * rows.top,
                                   rows.top_values.end());
  return again;
}

std::shared_ptr<const model::token_set> allowed_next(const sequence& s,
                                                     const model::model_config& config) {
  if (!s.grammar) return nullptr;
  auto tokens = s.grammar->allowed();
  if (!s.grammar->may_end()) return tokens;
  auto with_ends = std::make_shared<model::token_set>(*tokens);
  for (const auto* ends : {&config.eos, &s.request.stop_tokens})
    for (const token_id token : *ends)
      if (with_ends->has_room(token)) with_ends->insert(token);
  return with_ends;
}

verdict take_sampled(sequence& s, const model::model_config& config, token_id sampled) {
  using transport::wire::finish_reason;
  if (s.emitted.size() >= s.request.generated_max) return {finish_reason::length, false};
  if (s.grammar && s.grammar->must_end()) return {finish_reason::stop, false};
  if (contains(s.request.stop_tokens, sampled)) return {finish_reason::stop, false};
  const bool ends_text = !s.request.ignore_eos || s.grammar;
  if (ends_text && contains(config.eos, sampled)) return {finish_reason::stop, false};
  if (s.grammar && !s.grammar->accept(sampled)) return {finish_reason::error, false};
  s.emitted.push_back(sampled);
  if (s.grammar && s.grammar->must_end()) return {finish_reason::stop, true};
  if (s.emitted.size() >= s.request.generated_max) return {finish_reason::length, true};
  return {finish_reason::none, true};
}

}  // namespace atl::actors
