// The gate once more, in double precision and in the plainest way, with the mistakes that
// implementations have made. Only tests use it.
#pragma once

#include "experts/gate/gate.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace atl::experts::test {

enum class mistake {
  none,
  norm_taken_the_other_way,
  no_group_selection,
  group_score_of_the_other_family,
  no_scale,
  rejected_groups_zero,
  no_bias,
  bias_in_weights,
};

inline constexpr mistake all_mistakes[] = {mistake::norm_taken_the_other_way,
                                           mistake::no_group_selection,
                                           mistake::group_score_of_the_other_family,
                                           mistake::no_scale,
                                           mistake::rejected_groups_zero,
                                           mistake::no_bias,
                                           mistake::bias_in_weights};

/// Does the mistake concern this gate at all?
inline bool applies(mistake made, const gate_config& c) {
  const bool is_noaux = c.method == model::topk_method::noaux_tc;
  const bool has_groups = c.method != model::topk_method::greedy && c.groups_kept < c.groups;
  switch (made) {
  case mistake::none: return true;
  case mistake::norm_taken_the_other_way: return true;
  case mistake::no_group_selection: return has_groups;
  case mistake::group_score_of_the_other_family: return has_groups;
  case mistake::no_scale: return c.routed_scale != 1.0F;
  case mistake::rejected_groups_zero: return has_groups && is_noaux;
  case mistake::no_bias: return is_noaux;
  case mistake::bias_in_weights: return is_noaux;
  }
  return false;
}

struct routed {
  std::vector<std::uint32_t> experts;
  std::vector<double> weights;
};

inline std::vector<std::uint32_t> ranking(const std::vector<double>& values) {
  std::vector<std::uint32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(
      order.begin(), order.end(), [&](auto a, auto b) { return values[a] > values[b]; });
  return order;
}

inline std::vector<double> scores_of(const gate_config& c, const float* logits) {
  std::vector<double> s(logits, logits + c.experts);
  if (c.scoring == model::score_function::sigmoid) {
    for (double& v : s) v = 1.0 / (1.0 + std::exp(-v));
    return s;
  }
  const double largest = *std::max_element(s.begin(), s.end());
  double sum = 0;
  for (double& v : s) sum += v = std::exp(v - largest);
  for (double& v : s) v /= sum;
  return s;
}

inline void reject(const gate_config& c, mistake made, std::vector<double>& choice) {
  const bool sums = (c.method == model::topk_method::noaux_tc) !=
                    (made == mistake::group_score_of_the_other_family);
  const std::int64_t members = c.experts / c.groups;
  std::vector<double> groups;
  for (std::int64_t g = 0; g < c.groups; ++g) {
    std::vector<double> of(choice.begin() + g * members, choice.begin() + (g + 1) * members);
    std::sort(of.rbegin(), of.rend());
    groups.push_back(sums && members > 1 ? of[0] + of[1] : of[0]);
  }
  const auto order = ranking(groups);
  const double fill =
      made == mistake::rejected_groups_zero ? 0.0 : -std::numeric_limits<double>::infinity();
  for (std::int64_t i = c.groups_kept; i < c.groups; ++i) {
    std::fill_n(choice.begin() + order[static_cast<std::size_t>(i)] * members, members, fill);
  }
}

inline routed
oracle(const gate_config& c, const float* logits, const float* bias, mistake made = mistake::none) {
  const bool is_noaux = c.method == model::topk_method::noaux_tc;
  const std::vector<double> s = scores_of(c, logits);
  std::vector<double> choice = s;
  if (is_noaux && bias != nullptr && made != mistake::no_bias) {
    for (std::size_t i = 0; i < s.size(); ++i) choice[i] += bias[i];
  }
  const std::vector<double> biased = choice;
  if (c.method != model::topk_method::greedy && made != mistake::no_group_selection) {
    reject(c, made, choice);
  }
  routed out;
  out.experts = ranking(choice);
  out.experts.resize(static_cast<std::size_t>(c.k));
  double sum = 0;
  for (const std::uint32_t e : out.experts) {
    out.weights.push_back(made == mistake::bias_in_weights ? biased[e] : s[e]);
    sum += out.weights.back();
  }
  const bool norm = c.norm_topk != (made == mistake::norm_taken_the_other_way);
  const bool normalises = norm && (is_noaux || c.k > 1);
  const double scale = made == mistake::no_scale || (normalises && !is_noaux) ? 1 : c.routed_scale;
  for (double& w : out.weights) w = (normalises ? w / (sum + 1e-20) : w) * scale;
  return out;
}

}  // namespace atl::experts::test
