#include "actors/stream_state.hpp"

#include <algorithm>
#include <cstring>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

/// Rows [skip, end).
std::vector<token_logprobs> from_wire(const wire::logprob_rows& rows, std::size_t skip) {
  std::vector<token_logprobs> out;
  for (std::size_t i = skip; i < rows.chosen.size(); ++i) {
    token_logprobs& row = out.emplace_back();
    row.chosen = rows.chosen[i];
    for (std::size_t t = i * rows.top; t < (i + 1) * rows.top; ++t)
      row.top.emplace_back(rows.top_ids[t], rows.top_values[t]);
  }
  return out;
}

std::int64_t rows_of(const wire::observed& o) {
  if (o.what != wire::observation::routing) return o.values.count;
  if (o.experts_per_row == 0) return 0;
  return static_cast<std::int64_t>(o.experts.size() / o.experts_per_row);
}

/// Its rows [skip, end).
observation from_wire(const wire::observed& o, std::int64_t skip) {
  observation seen;
  seen.what = static_cast<observation::kind>(o.what);
  seen.first_position = o.position_first + skip;
  seen.layer = o.layer.value;
  seen.rows = rows_of(o) - skip;
  if (o.what == wire::observation::routing) {
    seen.width = o.experts_per_row;
    seen.experts.assign(o.experts.begin() + skip * seen.width, o.experts.end());
    seen.values.assign(o.weights.begin() + skip * seen.width, o.weights.end());
    return seen;
  }
  seen.width = o.values.width;
  const auto bytes =
      o.values.payload.bytes.subspan(static_cast<std::size_t>(skip * seen.width) * sizeof(float));
  seen.values.resize(bytes.size() / sizeof(float));
  if (!bytes.empty()) std::memcpy(seen.values.data(), bytes.data(), bytes.size());
  return seen;
}

std::int64_t prompt_of(const generation_request& r) {
  return static_cast<std::int64_t>(r.prompt.size());
}

/// Position of the first row that is reported.
std::int64_t first_observed(const generation_request& r, wire::observation what) {
  const bool is_end_only = what == wire::observation::logits && r.logits == logits_wanted::last;
  return is_end_only ? prompt_of(r) - 1 : 0;
}

bool is_observed(const generation_request& r) {
  return r.logits != logits_wanted::none || r.want_hidden || r.want_routing;
}

wire::sampling to_wire(const model::sampling_params& p) {
  return {p.temperature,
          p.top_p,
          p.min_p,
          static_cast<std::uint32_t>(std::max(p.top_k, 0)),
          p.repetition_penalty,
          p.presence_penalty,
          p.frequency_penalty,
          p.seed,
          p.logit_bias};
}

}  // namespace

wire::submit stream_state::resume(request_id id, const generation_request& r) const {
  wire::submit m;
  m.request = id;
  m.prompt = r.prompt;
  m.emitted = emitted_;
  m.generated_max = static_cast<std::uint32_t>(r.tokens_max);
  m.sampling = to_wire(r.sampling);
  m.stop_tokens = r.stop_tokens;
  m.ignore_eos = r.ignore_eos;
  m.logits = static_cast<wire::logits_wanted>(r.logits);
  m.want_hidden = r.want_hidden;
  m.want_routing = r.want_routing;
  m.vocabulary = static_cast<std::uint32_t>(r.vocabulary);
  m.cache_scope = r.cache_scope;
  m.logprobs = r.logprobs_top ? static_cast<std::uint32_t>(*r.logprobs_top) + 1 : 0;
  m.prompt_logprobs = r.prompt_logprobs;
  m.constraint = r.constraint;
  // An answer that has ended has no row of its last token, and one that began with all its tokens
  // would compute it; so the last one is drawn again.
  if (is_observed(r) && !m.emitted.empty()) m.emitted.pop_back();
  if (r.logits == logits_wanted::last) {
    // Each token is drawn from one row of logits: those after the last row told are drawn again.
    const auto found = observed_.find({wire::observation::logits, 0});
    const std::int64_t rows =
        found == observed_.end() ? 0 : found->second - first_observed(r, found->first.first);
    m.emitted.resize(std::min(m.emitted.size(), static_cast<std::size_t>(rows)));
  }
  return m;
}

delivery stream_state::take(const generation_request& request, const wire::tokens& message) {
  delivery d;
  const auto& of_prompt = message.prompt_logprobs.chosen;
  if (!of_prompt.empty()) {
    const std::size_t first = message.prompt_logprobs_first;  // row i is of position i + 1
    if (first > prompt_logprobs_ + 1) {
      d.missing = gap::rows;
      return d;
    }
    const std::size_t known = std::min(prompt_logprobs_ + 1 - first, of_prompt.size());
    d.prompt_logprobs = from_wire(message.prompt_logprobs, known);
    prompt_logprobs_ += of_prompt.size() - known;
  }
  const bool is_end =
      message.finish == wire::finish_reason::stop || message.finish == wire::finish_reason::length;
  const bool lacks_logprobs =
      request.prompt_logprobs && prompt_logprobs_ + 1 < request.prompt.size();
  if ((lacks_logprobs && (is_end || !message.values.empty())) ||
      (is_end && lacks_rows(request, message))) {
    d.missing = gap::rows;
    return d;
  }
  if (message.position_first > emitted_.size()) {
    d.missing = gap::tokens;
    return d;
  }
  const std::size_t known = emitted_.size() - message.position_first;
  if (known >= message.values.size()) return d;
  d.tokens.assign(message.values.begin() + static_cast<std::ptrdiff_t>(known),
                  message.values.end());
  d.logprobs = from_wire(message.logprobs, known);
  emitted_.insert(emitted_.end(), d.tokens.begin(), d.tokens.end());
  return d;
}

std::optional<observation>
stream_state::take(const generation_request& request, const wire::observed& message, gap& missing) {
  missing = gap::none;
  const auto found = observed_.try_emplace({message.what, message.layer.value},
                                           first_observed(request, message.what));
  std::int64_t& next = found.first->second;
  const std::int64_t rows = rows_of(message);
  if (message.position_first > next) {
    missing = gap::rows;
    return {};
  }
  const std::int64_t known = next - message.position_first;
  if (known >= rows) return {};
  next += rows - known;
  return from_wire(message, known);
}

bool stream_state::lacks_rows(const generation_request& r, const wire::tokens& last) const {
  // Rows are of all tokens but the one that the last step drew, where it is part of the answer.
  const std::int64_t drawn = last.values.empty() ? 0 : 1;
  const std::int64_t generated =
      last.position_first + static_cast<std::int64_t>(last.values.size());
  const std::int64_t end = prompt_of(r) + generated - drawn;
  const auto has = [this](wire::observation what) {
    return std::any_of(observed_.begin(), observed_.end(), [what](const auto& one) {
      return one.first.first == what;
    });
  };
  if (r.logits != logits_wanted::none && !has(wire::observation::logits)) return true;
  if (r.want_hidden && !has(wire::observation::hidden)) return true;
  return std::any_of(
      observed_.begin(), observed_.end(), [end](const auto& one) { return one.second < end; });
}

}  // namespace atl::actors
