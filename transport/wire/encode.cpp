#include "transport/wire/encode_parts.hpp"

namespace atl::transport::wire {

namespace {

Offset<fbs::Logprobs> logprobs(flatbuffers::FlatBufferBuilder& b, const logprob_rows& r) {
  if (r.chosen.empty()) return 0;
  const auto chosen = numbers(b, r.chosen);
  const auto ids = numbers(b, r.top_ids);
  const auto values = numbers(b, r.top_values);
  return fbs::CreateLogprobs(b, r.top, chosen, ids, values);
}

fbs::Rows shape(const rows& r) { return {r.count, r.width, static_cast<fbs::RowType>(r.type)}; }

fbs::CallId wire_id(const call_id& c) {
  return {c.step, c.shard.value, c.micro_batch, c.layer.value};
}

Offset<fbs::Sampling> wire_sampling(flatbuffers::FlatBufferBuilder& b, const sampling& s) {
  std::vector<fbs::TokenBias> biases;
  biases.reserve(s.logit_bias.size());
  for (const auto& [token, bias] : s.logit_bias) biases.emplace_back(token, bias);
  const auto biases_at = structs<fbs::TokenBias>(b, biases);
  fbs::SamplingBuilder out{b};
  out.add_seed(s.seed);
  out.add_temperature(s.temperature);
  out.add_top_p(s.top_p);
  out.add_min_p(s.min_p);
  out.add_top_k(s.top_k);
  out.add_repetition_penalty(s.repetition_penalty);
  out.add_presence_penalty(s.presence_penalty);
  out.add_frequency_penalty(s.frequency_penalty);
  out.add_logit_bias(biases_at);
  return out.Finish();
}

}  // namespace

result<frame> encode(const submit& m, address from, address to) {
  ATOLL_TRY(checked("submit", m));
  auto& b = builder();
  const auto prompt = numbers(b, m.prompt);
  const auto emitted = numbers(b, m.emitted);
  const auto stop_tokens = numbers(b, m.stop_tokens);
  const auto sampling_at = wire_sampling(b, m.sampling);
  const auto constraint =
      m.constraint.empty() ? Offset<flatbuffers::String>{} : b.CreateString(m.constraint);
  fbs::SubmitBuilder out{b};
  out.add_request(m.request.value);
  out.add_prompt(prompt);
  out.add_emitted(emitted);
  out.add_generated_max(m.generated_max);
  out.add_sampling(sampling_at);
  out.add_stop_tokens(stop_tokens);
  out.add_ignore_eos(m.ignore_eos);
  out.add_logits(static_cast<fbs::LogitsWanted>(m.logits));
  out.add_want_hidden(m.want_hidden);
  out.add_want_routing(m.want_routing);
  out.add_vocabulary(m.vocabulary);
  out.add_cache_scope(m.cache_scope);
  out.add_logprobs(m.logprobs);
  out.add_prompt_logprobs(m.prompt_logprobs);
  out.add_constraint(constraint);
  return finish(b, out.Finish(), frame_kind::submit, from, to);
}

result<frame> encode(const cancel& m, address from, address to) {
  auto& b = builder();
  return finish(b, fbs::CreateCancel(b, m.request.value), frame_kind::cancel, from, to);
}

result<frame> encode(const tokens& m, address from, address to) {
  ATOLL_TRY(checked("tokens", m));
  auto& b = builder();
  const auto values = numbers(b, m.values);
  const auto cause_at = cause(b, m.cause);
  const auto logprobs_at = logprobs(b, m.logprobs);
  const auto prompt_logprobs_at = logprobs(b, m.prompt_logprobs);
  const auto root = fbs::CreateTokens(b,
                                      m.request.value,
                                      m.position_first,
                                      values,
                                      static_cast<fbs::FinishReason>(m.finish),
                                      cause_at,
                                      m.prompt_tokens,
                                      m.generated_tokens,
                                      m.cached_tokens,
                                      logprobs_at,
                                      m.prompt_logprobs_first,
                                      prompt_logprobs_at);
  return finish(b, root, frame_kind::tokens, from, to);
}

result<frame> encode(const observed& m, address from, address to) {
  ATOLL_TRY(checked("observed", m));
  auto& b = builder();
  const auto experts = numbers(b, m.experts);
  const auto weights = numbers(b, m.weights);
  const fbs::Rows values = shape(m.values);
  const auto root = fbs::CreateObserved(b,
                                        m.request.value,
                                        static_cast<fbs::Observation>(m.what),
                                        m.position_first,
                                        m.layer.value,
                                        &values,
                                        m.experts_per_row,
                                        experts,
                                        weights);
  frame f = finish(b, root, frame_kind::observed, from, to);
  f.payload = m.values.payload;
  return f;
}

result<frame> encode(const dispatch& m, address from, address to) {
  ATOLL_TRY(checked("dispatch", m));
  auto& b = builder();
  const auto offsets = numbers(b, m.offsets);
  const auto assignments = structs<fbs::Assignment>(b, m.assignments);
  const fbs::CallId call = wire_id(m.call);
  const fbs::Rows input = shape(m.input);
  frame f = finish(b,
                   fbs::CreateDispatch(b, &call, &input, offsets, assignments),
                   frame_kind::dispatch,
                   from,
                   to);
  f.header.epoch = m.epoch;
  f.payload = m.input.payload;
  return f;
}

result<frame> encode(const results& m, address from, address to) {
  ATOLL_TRY(checked("results", m));
  auto& b = builder();
  const auto counts = structs<fbs::ExpertRows>(b, m.counts);
  const fbs::CallId call = wire_id(m.call);
  const fbs::Rows output = shape(m.output);
  frame f = finish(b,
                   fbs::CreateResults(b, &call, &output, counts, m.service_ns),
                   frame_kind::results,
                   from,
                   to);
  f.header.epoch = m.epoch;
  f.payload = m.output.payload;
  return f;
}

result<frame> encode(const refused& m, address from, address to) {
  ATOLL_TRY(checked("refused", m));
  auto& b = builder();
  const auto cause_at = cause(b, m.cause);
  const fbs::CallId call = wire_id(m.call);
  frame f = finish(b, fbs::CreateRefused(b, &call, cause_at), frame_kind::refused, from, to);
  f.header.epoch = m.epoch;
  return f;
}

}  // namespace atl::transport::wire
