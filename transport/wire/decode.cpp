#include "transport/wire/check.hpp"
#include "transport/wire/decode_parts.hpp"

namespace atl::transport::wire {

namespace {

// Every message is a root with at most three tables below it, or with the members; the rest are
// vectors and strings.
constexpr flatbuffers::uoffset_t depth_max = 4;
template <class Root>
constexpr flatbuffers::uoffset_t tables_max = 4;
template <>
constexpr flatbuffers::uoffset_t tables_max<fbs::Members> = 1 + members_max;

error malformed(frame_kind kind, const std::string& what) {
  return {errc::malformed_frame, std::string{to_string(kind)} + ": " + what};
}

/// The root table, or null where the metadata is not one.
template <class Root>
const Root* root_of(const frame& f) {
  // The verifier reads aligned words from the buffer's start; memory from operator new is.
  const auto* data = reinterpret_cast<const std::uint8_t*>(f.metadata.data());
  if (f.metadata.empty()) return nullptr;
  flatbuffers::Verifier verifier{data, f.metadata.size(), depth_max, tables_max<Root>};
  if (!verifier.VerifyBuffer<Root>(nullptr)) return nullptr;
  return flatbuffers::GetRoot<Root>(data);
}

call_id plain_id(const fbs::CallId& in) {
  return {shard_id{in.shard()}, in.step(), in.micro_batch(), layer_index{in.layer()}};
}

rows plain_rows(const fbs::Rows* in, const frame& f) {
  if (in == nullptr) return {tensor::dtype::f32, 0, 0, f.payload};
  return {static_cast<tensor::dtype>(in->type()), in->count(), in->width(), f.payload};
}

logprob_rows plain_logprobs(const fbs::Logprobs* in) {
  if (in == nullptr) return {};
  return {in->top(), numbers(in->chosen()), numbers(in->top_ids()), numbers(in->top_values())};
}

std::string read(const fbs::Submit& in, const frame&, submit& out) {
  out.request = request_id{in.request()};
  out.prompt = numbers(in.prompt());
  out.emitted = numbers(in.emitted());
  out.generated_max = in.generated_max();
  out.stop_tokens = numbers(in.stop_tokens());
  out.ignore_eos = in.ignore_eos();
  out.logits = static_cast<logits_wanted>(in.logits());
  out.want_hidden = in.want_hidden();
  out.want_routing = in.want_routing();
  out.vocabulary = in.vocabulary();
  out.cache_scope = in.cache_scope();
  out.logprobs = in.logprobs();
  out.prompt_logprobs = in.prompt_logprobs();
  if (in.constraint() != nullptr) {
    if (in.constraint()->size() > constraint_bytes_max) return "the constraint is too long";
    out.constraint = in.constraint()->str();
  }
  const fbs::Sampling* s = in.sampling();
  if (s == nullptr) return {};
  out.sampling.temperature = s->temperature();
  out.sampling.top_p = s->top_p();
  out.sampling.min_p = s->min_p();
  out.sampling.top_k = s->top_k();
  out.sampling.repetition_penalty = s->repetition_penalty();
  out.sampling.presence_penalty = s->presence_penalty();
  out.sampling.frequency_penalty = s->frequency_penalty();
  out.sampling.seed = s->seed();
  if (s->logit_bias() == nullptr) return {};
  out.sampling.logit_bias.reserve(s->logit_bias()->size());
  for (const fbs::TokenBias* bias : *s->logit_bias()) {
    out.sampling.logit_bias.emplace_back(bias->token(), bias->bias());
  }
  return {};
}

std::string read(const fbs::Cancel& in, const frame&, cancel& out) {
  out.request = request_id{in.request()};
  return {};
}

std::string read(const fbs::Tokens& in, const frame&, tokens& out) {
  out.request = request_id{in.request()};
  out.position_first = in.position_first();
  out.values = numbers(in.values());
  out.finish = static_cast<finish_reason>(in.finish());
  out.prompt_tokens = in.prompt_tokens();
  out.generated_tokens = in.generated_tokens();
  out.cached_tokens = in.cached_tokens();
  out.logprobs = plain_logprobs(in.logprobs());
  out.prompt_logprobs_first = in.prompt_logprobs_first();
  out.prompt_logprobs = plain_logprobs(in.prompt_logprobs());
  return read_cause(in.cause(), out.cause) ? "" : text_too_long;
}

std::string read(const fbs::Observed& in, const frame& f, observed& out) {
  out.request = request_id{in.request()};
  out.what = static_cast<observation>(in.what());
  out.position_first = in.position_first();
  out.layer = layer_index{in.layer()};
  out.values = plain_rows(in.values(), f);
  out.experts_per_row = in.experts_per_row();
  out.experts = numbers(in.experts());
  out.weights = numbers(in.weights());
  return {};
}

std::string read(const fbs::Dispatch& in, const frame& f, dispatch& out) {
  out.call = plain_id(*in.call());
  out.epoch = f.header.epoch;
  out.input = plain_rows(in.input(), f);
  out.offsets = numbers(in.offsets());
  out.assignments = structs<assignment>(in.assignments());
  return {};
}

std::string read(const fbs::Results& in, const frame& f, results& out) {
  out.call = plain_id(*in.call());
  out.epoch = f.header.epoch;
  out.output = plain_rows(in.output(), f);
  out.counts = structs<expert_rows>(in.counts());
  out.service_ns = in.service_ns();
  return {};
}

std::string read(const fbs::Refused& in, const frame& f, refused& out) {
  out.call = plain_id(*in.call());
  out.epoch = f.header.epoch;
  std::optional<failure> cause;
  if (!read_cause(in.cause(), cause)) return text_too_long;
  out.cause = std::move(*cause);
  return {};
}

template <class Plain>
constexpr bool has_payload = std::is_same_v<Plain, observed> || std::is_same_v<Plain, dispatch> ||
                             std::is_same_v<Plain, results> || std::is_same_v<Plain, chunk>;

template <class Root, class Plain>
result<message> decode_as(const frame& f) {
  const frame_kind kind = f.header.kind;
  if (!has_payload<Plain> && !f.payload.bytes.empty())
    return malformed(kind, "a payload it has not");
  const Root* root = root_of<Root>(f);
  if (root == nullptr) return malformed(kind, "the metadata is not a table of this kind");
  result<message> out{boost::system::in_place_value, std::in_place_type<Plain>};
  Plain& plain = std::get<Plain>(*out);
  std::string problem = read(*root, f, plain);
  if (problem.empty()) problem = check(plain);
  if (!problem.empty()) return malformed(kind, problem);
  return out;
}

}  // namespace

result<message> decode(const frame& f) {
  switch (f.header.kind) {
  case frame_kind::submit: return decode_as<fbs::Submit, submit>(f);
  case frame_kind::cancel: return decode_as<fbs::Cancel, cancel>(f);
  case frame_kind::tokens: return decode_as<fbs::Tokens, tokens>(f);
  case frame_kind::observed: return decode_as<fbs::Observed, observed>(f);
  case frame_kind::dispatch: return decode_as<fbs::Dispatch, dispatch>(f);
  case frame_kind::results: return decode_as<fbs::Results, results>(f);
  case frame_kind::refused: return decode_as<fbs::Refused, refused>(f);
  case frame_kind::place: return decode_as<fbs::Place, place>(f);
  case frame_kind::load: return decode_as<fbs::Load, load>(f);
  case frame_kind::placed: return decode_as<fbs::Placed, placed>(f);
  case frame_kind::load_report: return decode_as<fbs::LoadReport, load_report>(f);
  case frame_kind::heartbeat: return decode_as<fbs::Heartbeat, heartbeat>(f);
  case frame_kind::join: return decode_as<fbs::Join, join>(f);
  case frame_kind::welcome: return decode_as<fbs::Welcome, welcome>(f);
  case frame_kind::members: return decode_as<fbs::Members, members>(f);
  case frame_kind::adopted: return decode_as<fbs::Adopted, adopted>(f);
  case frame_kind::release: return decode_as<fbs::Release, release>(f);
  case frame_kind::path_report: return decode_as<fbs::PathReport, path_report>(f);
  case frame_kind::leave: return decode_as<fbs::Leave, leave>(f);
  case frame_kind::dismissed: return decode_as<fbs::Dismissed, dismissed>(f);
  case frame_kind::fetch: return decode_as<fbs::Fetch, fetch>(f);
  case frame_kind::chunk: return decode_as<fbs::Chunk, chunk>(f);
  }
  return error{errc::malformed_frame, "frame: unknown kind"};
}

}  // namespace atl::transport::wire
