#include "actors/shard_lane.hpp"

#include <algorithm>
#include <cstring>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

wire::observed make_observed(const lane_part& part,
                             wire::observation what,
                             std::int64_t rows,
                             std::int64_t layer) {
  wire::observed o;
  o.request = part.owner->request.request;
  o.what = what;
  o.position_first = static_cast<std::uint32_t>(part.first_position + part.tokens - rows);
  o.layer = layer_index{static_cast<std::uint32_t>(layer)};
  return o;
}

wire::rows rows_of(lane_part& part, std::int64_t rows, std::int64_t width) {
  wire::rows r;
  r.type = tensor::dtype::f32;
  r.count = static_cast<std::uint32_t>(rows);
  r.width = static_cast<std::uint32_t>(width);
  const auto record = std::move(part.record);
  r.payload = {record, std::as_bytes(std::span{*record})};
  return r;
}

bool has_nan(const float* values, std::int64_t count) {
  bool found = false;
  for (std::int64_t i = 0; i < count; ++i) found |= values[i] != values[i];
  return found;
}

void resize_record(lane_part& part, std::int64_t rows, std::int64_t width) {
  part.record = std::make_shared<std::vector<float>>(static_cast<std::size_t>(rows * width));
}

}  // namespace

void lane::begin() {
  batch.clear();
  parts.clear();
  sampled.clear();
  logprobs.clear();
  layer = 0;
  shared_pending = routed_pending = record_hidden = record_routing = false;
  failure.reset();
}

void lane::add(const std::shared_ptr<sequence>& s,
               const schedule::slice& slice,
               const model::model_config&) {
  lane_part part;
  part.owner = s;
  part.first_position = slice.first_position;
  part.tokens = slice.tokens;
  part.first_row = batch.rows();
  part.first_logit = static_cast<std::int64_t>(batch.logit_rows.size());
  const auto& r = s->request;
  const std::int64_t fresh =
      std::clamp<std::int64_t>(slice.first_position + slice.tokens - s->observed, 0, slice.tokens);

  attention::slice rows;
  for (const auto page : s->pages.pages()) rows.pages.push_back(page.value);
  rows.first_position = slice.first_position;
  rows.tokens = slice.tokens;
  rows.first_row = part.first_row;
  batch.slices.push_back(std::move(rows));
  for (std::int64_t i = 0; i < slice.tokens; ++i)
    batch.tokens.push_back(s->token_at(slice.first_position + i));

  std::int64_t wanted = slice.want_logits ? 1 : 0;
  if (r.logits == wire::logits_wanted::all || r.prompt_logprobs) wanted = std::max(wanted, fresh);
  for (std::int64_t i = slice.tokens - wanted; i < slice.tokens; ++i)
    batch.logit_rows.push_back(part.first_row + i);
  part.logits = wanted;
  part.logprobs_from = r.prompt_logprobs ? wanted - fresh : wanted;
  if (slice.want_logits) part.token_row = part.first_logit + wanted - 1;
  if (r.logits == wire::logits_wanted::all) part.logits_seen = fresh;
  if (r.logits == wire::logits_wanted::last && slice.want_logits)
    part.logits_seen = std::min<std::int64_t>(fresh, 1);
  if (r.want_hidden || r.want_routing) part.rows_seen = fresh;
  record_hidden = record_hidden || (r.want_hidden && fresh > 0);
  record_routing = record_routing || (r.want_routing && fresh > 0);
  parts.push_back(std::move(part));
  sampled.resize(batch.logit_rows.size());
}

std::vector<observed_part> lane::hidden_seen(std::int64_t hidden) {
  std::vector<observed_part> seen;
  for (auto& part : parts) {
    if (!part.owner->request.want_hidden || part.rows_seen == 0) continue;
    auto o = make_observed(part, wire::observation::hidden, part.rows_seen, layer);
    o.values = rows_of(part, part.rows_seen, hidden);
    seen.push_back({part.owner, std::move(o)});
  }
  return seen;
}

std::vector<observed_part> lane::logits_seen(std::int64_t vocabulary) {
  std::vector<observed_part> seen;
  for (auto& part : parts) {
    if (part.logits_seen == 0) continue;
    auto o = make_observed(part, wire::observation::logits, part.logits_seen, 0);
    o.values = rows_of(part, part.logits_seen, vocabulary);
    seen.push_back({part.owner, std::move(o)});
  }
  return seen;
}

std::vector<observed_part> lane::routing_seen(const rows_routed& answer) const {
  std::vector<observed_part> seen;
  const auto& routing = *answer.routing;
  for (const auto& part : parts) {
    if (!part.owner->request.want_routing || part.rows_seen == 0) continue;
    auto o = make_observed(part, wire::observation::routing, part.rows_seen, answer.layer);
    o.experts_per_row = static_cast<std::uint32_t>(routing.k);
    const std::int64_t first = (part.first_row + part.tokens - part.rows_seen) * routing.k;
    const std::int64_t last = (part.first_row + part.tokens) * routing.k;
    o.experts.assign(routing.experts.begin() + first, routing.experts.begin() + last);
    o.weights.assign(routing.weights.begin() + first, routing.weights.begin() + last);
    seen.push_back({part.owner, std::move(o)});
  }
  return seen;
}

tensor::phase record_hidden_phase(lane& l, std::int64_t hidden) {
  for (auto& part : l.parts)
    if (part.owner->request.want_hidden && part.rows_seen > 0)
      resize_record(part, part.rows_seen, hidden);
  return {static_cast<std::uint32_t>(l.parts.size()),
          [&l, hidden](std::uint32_t chunk, tensor::worker&) {
            const lane_part& part = l.parts[chunk];
            if (part.record == nullptr) return;
            const std::int64_t first = part.first_row + part.tokens - part.rows_seen;
            std::memcpy(part.record->data(),
                        l.batch.residual() + first * hidden,
                        static_cast<std::size_t>(part.rows_seen * hidden) * sizeof(float));
          }};
}

void add_logprobs(wire::logprob_rows& to, const model::row_logprobs& row) {
  to.top = static_cast<std::uint32_t>(row.top.size());
  to.chosen.push_back(row.chosen);
  for (const auto& [id, value] : row.top) {
    to.top_ids.push_back(id);
    to.top_values.push_back(value);
  }
}

std::optional<wire::tokens> prompt_logprobs_of(const lane& l, const lane_part& part) {
  wire::tokens message;
  const auto& request = part.owner->request;
  for (std::int64_t i = part.logprobs_from; i < part.logits; ++i) {
    const std::int64_t next = part.position_of(i) + 1;
    if (next >= static_cast<std::int64_t>(request.prompt.size())) break;
    if (message.prompt_logprobs.chosen.empty())
      message.prompt_logprobs_first = static_cast<std::uint32_t>(next);
    add_logprobs(message.prompt_logprobs,
                 l.logprobs[static_cast<std::size_t>(part.first_logit + i)]);
  }
  if (message.prompt_logprobs.chosen.empty()) return std::nullopt;
  message.request = request.request;
  message.position_first = static_cast<std::uint32_t>(part.owner->emitted.size());
  message.generated_tokens = message.position_first;
  return message;
}

namespace {

/// What is done with one row of logits.
class row_work {
public:
  row_work(lane& l, const model::model_config& config) : lane_{l}, config_{config} {}

  void operator()(std::uint32_t chunk) const {
    const std::int64_t row = chunk;
    const auto after = std::upper_bound(
        lane_.parts.begin(), lane_.parts.end(), row, [](std::int64_t r, const lane_part& p) {
          return r < p.first_logit;
        });
    const lane_part& part = *(after - 1);
    const std::int64_t vocabulary = config_.vocab_size;
    const float* logits = lane_.batch.logits() + row * vocabulary;
    const std::int64_t seen_from = part.first_logit + part.logits - part.logits_seen;
    if (row >= seen_from && part.logits_seen > 0)
      std::memcpy(part.record->data() + (row - seen_from) * vocabulary,
                  logits,
                  static_cast<std::size_t>(vocabulary) * sizeof(float));
    const bool is_drawn = row == part.token_row;
    const std::int64_t next = part.position_of(row - part.first_logit) + 1;
    const auto& prompt = part.owner->request.prompt;
    const bool is_of_prompt = row - part.first_logit >= part.logprobs_from &&
                              next < static_cast<std::int64_t>(prompt.size());
    if (!is_drawn && !is_of_prompt) return;
    if (has_nan(logits, vocabulary)) {
      lane_.sampled[chunk] = no_token;
      return;
    }
    const std::span<const float> all{logits, static_cast<std::size_t>(vocabulary)};
    const token_id token = is_drawn ? draw(part, all) : prompt[static_cast<std::size_t>(next)];
    lane_.sampled[chunk] = token;
    const auto& request = part.owner->request;
    if (request.logprobs == 0) return;
    const std::int64_t drawn = request.vocabulary == 0
                                   ? vocabulary
                                   : std::min<std::int64_t>(request.vocabulary, vocabulary);
    lane_.logprobs[chunk] =
        model::logprobs_of(all, token, static_cast<int>(request.logprobs) - 1, drawn);
  }

private:
  token_id draw(const lane_part& part, std::span<const float> logits) const {
    const sequence& s = *part.owner;
    return s.sampler->pick(logits, s.request.prompt, s.emitted, allowed_next(s, config_).get());
  }

  lane& lane_;
  const model::model_config& config_;
};

}  // namespace

tensor::phase sample_phase(lane& l, const model::model_config& config) {
  for (auto& part : l.parts) {
    if (part.logits_seen > 0) resize_record(part, part.logits_seen, config.vocab_size);
    if (part.owner->request.logprobs > 0) l.logprobs.resize(l.batch.logit_rows.size());
  }
  return {static_cast<std::uint32_t>(l.batch.logit_rows.size()),
          [work = row_work{l, config}](std::uint32_t chunk, tensor::worker&) { work(chunk); }};
}

}  // namespace atl::actors
