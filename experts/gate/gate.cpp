#include "experts/gate/gate.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/kernels/rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>

namespace atl::experts {

namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// The `count` largest of values (n), largest first, ties by lower index. count <= n.
void top(const float* values, std::int64_t n, std::int64_t count, std::uint32_t* out) {
  std::int64_t filled = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const float value = values[i];
    if (filled == count && !(value > values[out[count - 1]])) continue;
    std::int64_t at = filled < count ? filled++ : count - 1;
    for (; at > 0 && value > values[out[at - 1]]; --at) out[at] = out[at - 1];
    out[at] = static_cast<std::uint32_t>(i);
  }
}

/// Maximum of the members (V2), or the sum of the two largest (V3; of one, where there is one).
float group_score(model::topk_method method, const float* members, std::int64_t count) {
  float first = minus_infinity;
  float second = minus_infinity;
  for (std::int64_t i = 0; i < count; ++i) {
    if (members[i] > first) {
      second = first;
      first = members[i];
    } else if (members[i] > second) {
      second = members[i];
    }
  }
  return method == model::topk_method::noaux_tc && count > 1 ? first + second : first;
}

/// Sets the choice score of every expert outside the kept groups to -inf. Not 0: biased scores may
/// be negative.
void reject_groups(const gate_config& config, gate_scratch& scratch) {
  const std::int64_t members = config.experts / config.groups;
  scratch.group_scores.resize(static_cast<std::size_t>(config.groups));
  for (std::int64_t g = 0; g < config.groups; ++g) {
    scratch.group_scores[g] =
        group_score(config.method, scratch.choice.data() + g * members, members);
  }
  scratch.order.resize(static_cast<std::size_t>(config.groups_kept));
  top(scratch.group_scores.data(), config.groups, config.groups_kept, scratch.order.data());
  std::sort(scratch.order.begin(), scratch.order.end());
  auto kept = scratch.order.begin();
  for (std::int64_t g = 0; g < config.groups; ++g) {
    if (kept != scratch.order.end() && *kept == g) {
      ++kept;
      continue;
    }
    std::fill_n(scratch.choice.begin() + g * members, members, minus_infinity);
  }
}

/// weights (k) hold the unbiased scores of the chosen.
void weigh(const gate_config& config, float* weights) {
  const bool is_noaux = config.method == model::topk_method::noaux_tc;
  const bool normalises = config.norm_topk && (is_noaux || config.k > 1);
  if (normalises) {
    float sum = 0.0F;
    for (std::int64_t i = 0; i < config.k; ++i) sum += weights[i];
    sum += 1e-20F;
    for (std::int64_t i = 0; i < config.k; ++i) weights[i] /= sum;
  }
  if (is_noaux || !normalises) {
    for (std::int64_t i = 0; i < config.k; ++i) weights[i] *= config.routed_scale;
  }
}

error bad(const std::string& what) { return {errc::invalid_argument, "gate: " + what}; }

}  // namespace

result<void> validate(const gate_config& config) {
  if (config.experts < 1 || config.experts > std::numeric_limits<std::int32_t>::max()) {
    return bad("experts is " + std::to_string(config.experts) + ", must be positive");
  }
  if (config.k < 1 || config.k > config.experts) {
    return bad("k is " + std::to_string(config.k) +
               ", must be in [1, experts = " + std::to_string(config.experts) + "]");
  }
  if (config.groups < 1 || config.experts % config.groups != 0) {
    return bad("groups is " + std::to_string(config.groups) + ", must divide the " +
               std::to_string(config.experts) + " experts");
  }
  if (config.groups_kept < 1 || config.groups_kept > config.groups) {
    return bad("groups_kept is " + std::to_string(config.groups_kept) +
               ", must be in [1, groups = " + std::to_string(config.groups) + "]");
  }
  if (!std::isfinite(config.routed_scale)) return bad("routed_scale is not finite");
  return {};
}

void choose(const gate_config& config,
            const kernels::row_kernels& rows,
            const float* logits,
            const float* bias,
            std::uint32_t* experts,
            float* weights,
            gate_scratch& scratch) {
  ATOLL_ASSERT(config.k >= 1 && config.k <= config.experts);
  const auto count = static_cast<std::size_t>(config.experts);
  scratch.scores.assign(logits, logits + count);
  scratch.choice.resize(count);
  const bool is_softmax = config.scoring == model::score_function::softmax;
  (is_softmax ? rows.softmax : rows.sigmoid)(scratch.scores.data(), config.experts);
  const bool adds_bias = config.method == model::topk_method::noaux_tc && bias != nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    const float value = adds_bias ? scratch.scores[i] + bias[i] : scratch.scores[i];
    scratch.choice[i] = std::isnan(value) ? minus_infinity : value;
  }
  if (config.method != model::topk_method::greedy && config.groups_kept < config.groups) {
    reject_groups(config, scratch);
  }
  top(scratch.choice.data(), config.experts, config.k, experts);
  for (std::int64_t i = 0; i < config.k; ++i) weights[i] = scratch.scores[experts[i]];
  weigh(config, weights);
}

}  // namespace atl::experts
