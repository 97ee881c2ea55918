// The gate: from the router's logits of one row to the experts that compute it and the weights of
// their answers. Pure and deterministic: float32, one order of evaluation, so the same logits give
// the same bits on every machine. Thread-safe; each thread has its own scratch.
//
// Formulas (DeepSeek-V2 and V3 modeling files and inference code), s = scores, E = experts:
//   softmax: s = exp(g - max g) / sum            sigmoid: s = 1 / (1 + exp(-g))
//   greedy:               top-k of s
//   group_limited_greedy: top-k of s within the groups_kept groups of largest max s
//   noaux_tc:             b = s + bias; top-k of b within the groups_kept groups with the largest
//                         sum of their two largest b; experts of other groups have b = -inf
//   weights, greedy and group_limited_greedy: normalised (w = s / (sum + 1e-20)) if k > 1 and
//                         norm_topk, otherwise scaled (w = s * routed_scale): never both
//   weights, noaux_tc:    normalised if norm_topk, then scaled; s without the bias
// Group i holds the experts [i * E / groups, (i + 1) * E / groups).
// Ties go to the lower index. A NaN counts as -inf. If fewer than k experts are left by the kept
// groups (tiny models), rejected ones follow by lowest index, with their own s as weight.
#pragma once

#include "runtime/base/result.hpp"
#include "runtime/model/model_config.hpp"

#include <cstdint>
#include <vector>

namespace atl::kernels {
struct row_kernels;
}

namespace atl::experts {

struct gate_config {
  std::int64_t experts = 0;
  std::int64_t k = 0;
  std::int64_t groups = 1;
  std::int64_t groups_kept = 1;
  model::score_function scoring = model::score_function::softmax;
  model::topk_method method = model::topk_method::greedy;
  bool norm_topk = false;
  float routed_scale = 1.0F;
};

/// Refuses a gate that cannot be evaluated (k > experts, groups that do not divide the experts...),
/// naming the number.
result<void> validate(const gate_config& config);

/// Working memory of choose(); keeps its capacity between calls.
struct gate_scratch {
  std::vector<float> scores;         // (experts) s
  std::vector<float> choice;         // (experts) what top-k looks at
  std::vector<float> group_scores;   // (groups)
  std::vector<std::uint32_t> order;  // chosen groups
};

/// One row. `config` is valid; `rows` computes softmax and sigmoid. logits (experts); bias
/// (experts), or null where there is none (only noaux_tc adds it); out: experts (k) by descending
/// choice score, weights (k) in the same order.
void choose(const gate_config& config,
            const kernels::row_kernels& rows,
            const float* logits,
            const float* bias,
            std::uint32_t* experts,
            float* weights,
            gate_scratch& scratch);

}  // namespace atl::experts
