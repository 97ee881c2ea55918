#include "transport/wire/check_parts.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace atl::transport::wire {

std::size_t row_bytes(tensor::dtype type, std::uint32_t width) noexcept {
  const std::size_t w = width;
  switch (type) {
  case tensor::dtype::f32: return 4 * w;
  case tensor::dtype::bf16: return 2 * w;
  case tensor::dtype::f8_e4m3: return (w + 127) / 128 * sizeof(float) + (w + 3) / 4 * 4;
  case tensor::dtype::f16: return 0;
  }
  return 0;
}

bool has_usable_scales(const rows& of) noexcept {
  if (of.type != tensor::dtype::f8_e4m3) return true;
  const std::size_t bytes_per_row = row_bytes(of.type, of.width);
  const std::size_t scales = (std::size_t{of.width} + 127) / 128;
  for (std::size_t row = 0; row < of.count; ++row) {
    for (std::size_t i = 0; i < scales; ++i) {
      float scale = 0.0F;
      std::memcpy(
          &scale, of.payload.bytes.data() + row * bytes_per_row + i * sizeof scale, sizeof scale);
      if (!(scale > 0.0F && std::isfinite(scale))) return false;
    }
  }
  return true;
}

namespace {

std::string check_token_ids(std::string_view field, const std::vector<token_id>& ids) {
  const auto bad = std::find_if(ids.begin(), ids.end(), [](token_id id) { return id < 0; });
  if (bad == ids.end()) return {};
  return std::string{field} + " holds the negative token " + std::to_string(*bad);
}

/// Shape, type and size of a payload; count_max is the message's own limit.
std::string check_rows(std::string_view field, const rows& r, std::uint32_t count_max) {
  const std::string name{field};
  if (r.count == 0 || r.count > count_max) return above(name + ".count", r.count, count_max);
  if (r.width == 0 || r.width > width_max) return above(name + ".width", r.width, width_max);
  const std::size_t bytes_per_row = row_bytes(r.type, r.width);
  if (bytes_per_row == 0) {
    return name + ".type " + std::to_string(static_cast<int>(r.type)) + " does not travel";
  }
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(bytes_per_row, std::size_t{r.count}, &bytes) ||
      bytes > payload_bytes_max) {
    return name + " is larger than a payload may be";
  }
  if (bytes == r.payload.bytes.size()) return {};
  return name + " is " + std::to_string(bytes) + " bytes by its shape, the payload has " +
         std::to_string(r.payload.bytes.size());
}

std::string check_logprobs(std::string_view field, const logprob_rows& r, std::size_t rows_max) {
  const std::string name{field};
  ATOLL_FIRST(check_count(name + ".chosen", r.chosen.size(), rows_max));
  if (r.top > logprobs_top_max) return above(name + ".top", r.top, logprobs_top_max);
  if (r.chosen.empty() && r.top != 0) return name + " has a top and no rows";
  if (r.top_ids.size() != r.chosen.size() * r.top || r.top_values.size() != r.top_ids.size())
    return name + " does not have its top for each row";
  ATOLL_FIRST(check_token_ids(field, r.top_ids));
  const auto is_wrong = [](float v) { return !(v <= 0 && std::isfinite(v)); };
  if (std::any_of(r.chosen.begin(), r.chosen.end(), is_wrong) ||
      std::any_of(r.top_values.begin(), r.top_values.end(), is_wrong))
    return name + " holds a number that is no logarithm of a probability";
  return {};
}

std::string check_sampling(const sampling& s) {
  const auto finite = [](float v) { return std::isfinite(v); };
  if (!finite(s.temperature) || s.temperature < 0) return "sampling.temperature is below 0";
  if (!(s.top_p > 0 && s.top_p <= 1)) return "sampling.top_p is outside (0, 1]";
  if (!(s.min_p >= 0 && s.min_p <= 1)) return "sampling.min_p is outside [0, 1]";
  if (!finite(s.repetition_penalty) || s.repetition_penalty <= 0) {
    return "sampling.repetition_penalty is not above 0";
  }
  if (!finite(s.presence_penalty)) return "sampling.presence_penalty is not finite";
  if (!finite(s.frequency_penalty)) return "sampling.frequency_penalty is not finite";
  ATOLL_FIRST(check_count("sampling.logit_bias", s.logit_bias.size(), biases_max));
  for (const auto& [token, bias] : s.logit_bias) {
    if (token < 0) return "sampling.logit_bias names a negative token";
    if (!finite(bias)) return "sampling.logit_bias is not finite";
  }
  return {};
}

}  // namespace

std::string check(const submit& m) {
  if (m.prompt.empty()) return "prompt is empty";
  ATOLL_FIRST(check_count("prompt", m.prompt.size(), tokens_max));
  ATOLL_FIRST(check_token_ids("prompt", m.prompt));
  if (m.generated_max > tokens_max) return above("generated_max", m.generated_max, tokens_max);
  ATOLL_FIRST(check_count("emitted", m.emitted.size(), m.generated_max));
  ATOLL_FIRST(check_token_ids("emitted", m.emitted));
  ATOLL_FIRST(check_count("stop_tokens", m.stop_tokens.size(), stop_tokens_max));
  ATOLL_FIRST(check_token_ids("stop_tokens", m.stop_tokens));
  if (m.logits > logits_wanted::all) return "logits holds an unknown value";
  if (m.logprobs > logprobs_top_max + 1) return above("logprobs", m.logprobs, logprobs_top_max + 1);
  if (m.prompt_logprobs && m.logprobs == 0) return "prompt_logprobs are asked for without logprobs";
  ATOLL_FIRST(check_count("constraint", m.constraint.size(), constraint_bytes_max));
  return check_sampling(m.sampling);
}

std::string check(const cancel&) { return {}; }

std::string check(const tokens& m) {
  ATOLL_FIRST(check_count("values", m.values.size(), tokens_max));
  ATOLL_FIRST(check_token_ids("values", m.values));
  if (m.finish > finish_reason::error) return "finish holds an unknown value";
  if (m.cause.has_value() != (m.finish == finish_reason::error)) {
    return "a cause comes with finish = error and with no other";
  }
  if (m.cause) ATOLL_FIRST(check_cause(*m.cause));
  if (m.position_first > tokens_max) return above("position_first", m.position_first, tokens_max);
  if (m.generated_tokens < m.position_first + m.values.size()) {
    return "generated_tokens is less than position_first and the values given";
  }
  if (m.cached_tokens > m.prompt_tokens) return "cached_tokens is more than prompt_tokens";
  ATOLL_FIRST(check_logprobs("logprobs", m.logprobs, m.values.size()));
  if (!m.logprobs.chosen.empty() && m.logprobs.chosen.size() != m.values.size())
    return "logprobs and values differ in number";
  ATOLL_FIRST(check_logprobs("prompt_logprobs", m.prompt_logprobs, logprob_rows_max));
  if (m.prompt_logprobs.chosen.empty() != (m.prompt_logprobs_first == 0) ||
      m.prompt_logprobs_first > tokens_max)
    return "prompt_logprobs_first is no position of the rows given";
  return {};
}

std::string check(const observed& m) {
  if (m.what > observation::routing) return "what holds an unknown value";
  if (m.position_first > 2 * tokens_max) {
    return above("position_first", m.position_first, 2 * tokens_max);
  }
  ATOLL_FIRST(check_index("layer", m.layer.value, layers_max));
  if (m.what != observation::routing) {
    if (m.experts_per_row != 0 || !m.experts.empty() || !m.weights.empty()) {
      return "experts are given where no routing is reported";
    }
    if (m.values.type != tensor::dtype::f32) return "values are not f32";
    return check_rows("values", m.values, rows_max);
  }
  if (m.values.count != 0 || m.values.width != 0 || !m.values.payload.bytes.empty()) {
    return "values are given where routing is reported";
  }
  if (m.experts_per_row == 0 || m.experts_per_row > ranks_max) {
    return above("experts_per_row", m.experts_per_row, ranks_max);
  }
  ATOLL_FIRST(check_count("experts", m.experts.size(), assignments_max));
  if (m.experts.empty() || m.experts.size() % m.experts_per_row != 0) {
    return "experts are not whole rows";
  }
  if (m.weights.size() != m.experts.size()) return "weights and experts differ in number";
  for (const std::uint32_t expert : m.experts)
    ATOLL_FIRST(check_index("experts", expert, experts_max));
  return {};
}

namespace {

std::string check_call(const call_id& call) {
  return check_index("call.layer", call.layer.value, layers_max);
}

/// Within one row every expert and every rank is named once.
std::string check_row(std::span<const assignment> row) {
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (row[i].expert >= experts_max) return above("expert", row[i].expert, experts_max - 1);
    if (row[i].rank >= ranks_max) return above("rank", row[i].rank, ranks_max - 1);
    for (std::size_t j = 0; j < i; ++j) {
      if (row[j].expert == row[i].expert || row[j].rank == row[i].rank) {
        return "a row names expert " + std::to_string(row[i].expert) + " or rank " +
               std::to_string(row[i].rank) + " twice";
      }
    }
  }
  return {};
}

}  // namespace

std::string check(const dispatch& m) {
  ATOLL_FIRST(check_call(m.call));
  ATOLL_FIRST(check_rows("input", m.input, rows_max));
  ATOLL_FIRST(check_count("assignments", m.assignments.size(), assignments_max));
  if (m.offsets.size() != std::size_t{m.input.count} + 1) {
    return "offsets has " + std::to_string(m.offsets.size()) + " entries for " +
           std::to_string(m.input.count) + " rows";
  }
  if (m.offsets.front() != 0 || m.offsets.back() != m.assignments.size()) {
    return "offsets do not span the assignments";
  }
  const std::span<const assignment> all{m.assignments};
  for (std::size_t i = 0; i < m.input.count; ++i) {
    const std::uint32_t begin = m.offsets[i];
    const std::uint32_t end = m.offsets[i + 1];
    if (end <= begin || end > all.size() || end - begin > ranks_max) {
      return "offsets give row " + std::to_string(i) + " the assignments from " +
             std::to_string(begin) + " to " + std::to_string(end);
    }
    ATOLL_FIRST(check_row(all.subspan(begin, end - begin)));
  }
  return {};
}

std::string check(const results& m) {
  ATOLL_FIRST(check_call(m.call));
  ATOLL_FIRST(check_rows("output", m.output, assignments_max));
  ATOLL_FIRST(check_count("counts", m.counts.size(), experts_max));
  std::uint64_t sum = 0;
  for (const expert_rows& c : m.counts) {
    ATOLL_FIRST(check_index("counts.expert", c.expert, experts_max));
    sum += c.rows;
  }
  if (sum != m.output.count) {
    return "counts sum to " + std::to_string(sum) + " for " + std::to_string(m.output.count) +
           " rows";
  }
  return {};
}

std::string check(const refused& m) {
  ATOLL_FIRST(check_call(m.call));
  return check_cause(m.cause);
}

}  // namespace atl::transport::wire
