#include "experts/gate/gate.hpp"
#include "runtime/base/random.hpp"
#include "runtime/kernels/isa.hpp"
#include "runtime/kernels/rows.hpp"
#include "tests/unit/experts/gate_oracle.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <limits>
#include <vector>

namespace atl::experts {
namespace {

using model::score_function;
using model::topk_method;

kernels::row_kernels rows() { return kernels::row_kernels::make(*kernels::best_isa()); }

struct chosen {
  std::vector<std::uint32_t> experts;
  std::vector<float> weights;
};

chosen run(const gate_config& config,
           const std::vector<float>& logits,
           const std::vector<float>& bias = {}) {
  chosen out;
  out.experts.resize(static_cast<std::size_t>(config.k));
  out.weights.resize(static_cast<std::size_t>(config.k));
  gate_scratch scratch;
  choose(config,
         rows(),
         logits.data(),
         bias.empty() ? nullptr : bias.data(),
         out.experts.data(),
         out.weights.data(),
         scratch);
  return out;
}

/// The logit whose sigmoid is s.
float logit(double s) { return static_cast<float>(std::log(s / (1 - s))); }

gate_config v3(std::int64_t experts, std::int64_t k, std::int64_t groups, std::int64_t kept) {
  return {.experts = experts,
          .k = k,
          .groups = groups,
          .groups_kept = kept,
          .scoring = score_function::sigmoid,
          .method = topk_method::noaux_tc,
          .norm_topk = true,
          .routed_scale = 2.5F};
}

gate_config v2(std::int64_t experts, std::int64_t k, std::int64_t groups, std::int64_t kept) {
  return {.experts = experts,
          .k = k,
          .groups = groups,
          .groups_kept = kept,
          .scoring = score_function::softmax,
          .method = groups > 1 ? topk_method::group_limited_greedy : topk_method::greedy,
          .norm_topk = false,
          .routed_scale = 16.0F};
}

TEST(gate, rejected_groups_are_out_though_kept_scores_are_negative) {
  // s = .6 .5 .3 .2 with biases that make every choice score negative: 0.0 in place of -inf would
  // choose experts 2 and 3.
  const chosen out = run(v3(4, 2, 2, 1),
                         {logit(0.6), logit(0.5), logit(0.3), logit(0.2)},
                         {-0.7F, -0.7F, -0.9F, -0.9F});
  EXPECT_EQ(out.experts, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_NEAR(out.weights[0], 1.3636364, 2e-6);
  EXPECT_NEAR(out.weights[1], 1.1363636, 2e-6);
}

TEST(gate, weights_are_read_from_the_scores_and_not_from_the_biased_sum) {
  // b - bias would lose every bit of s.
  gate_config config = v3(2, 1, 1, 1);
  config.norm_topk = false;
  config.routed_scale = 1.0F;
  const chosen out = run(config, {-18.0F, -20.0F}, {12.0F, 12.0F});
  const double s = 1.0 / (1.0 + std::exp(18.0));
  EXPECT_NEAR(out.weights[0] / s, 1.0, 1e-5);
}

TEST(gate, ties_go_to_the_lower_index) {
  EXPECT_EQ(run(v2(6, 3, 1, 1), {1, 2, 2, 1, 2, 2}).experts, (std::vector<std::uint32_t>{1, 2, 4}));
  // Groups {0,1} {2,3} {4,5} tie: the first two are kept.
  EXPECT_EQ(run(v2(6, 3, 3, 2), {0, 3, 3, 1, 3, 2}).experts, (std::vector<std::uint32_t>{1, 2, 3}));
}

TEST(gate, experts_come_by_descending_choice_score) {
  const chosen out = run(v3(4, 3, 1, 1), {0, 0, 0, 0}, {0.1F, 0.4F, 0.2F, 0.3F});
  EXPECT_EQ(out.experts, (std::vector<std::uint32_t>{1, 3, 2}));
}

TEST(gate, rejected_experts_follow_by_index_where_the_kept_are_too_few) {
  const chosen out = run(v3(6, 4, 3, 1), {0, 0, 5, 5, 1, 1});
  EXPECT_EQ(out.experts, (std::vector<std::uint32_t>{2, 3, 0, 1}));
  EXPECT_GT(out.weights[2], 0.0F) << "with their own score";
}

TEST(gate, groups_of_one_expert_score_it_alone) {
  EXPECT_EQ(run(v3(4, 2, 4, 2), {1, 4, 3, 2}).experts, (std::vector<std::uint32_t>{1, 2}));
}

TEST(gate, v2_normalises_or_scales_and_v3_does_both) {
  const std::vector<float> logits{0, 1, 2, 3};
  gate_config config = v2(4, 2, 1, 1);
  const auto sum = [&] {
    const chosen out = run(config, logits);
    return out.weights[0] + out.weights[1];
  };
  EXPECT_NEAR(sum(), 16 * (std::exp(3.0) + std::exp(2.0)) / (31.192874), 1e-3);
  config.norm_topk = true;
  EXPECT_NEAR(sum(), 1.0, 1e-6);
  config.k = 1;
  EXPECT_NEAR(run(config, logits).weights[0], 16 * std::exp(3.0) / 31.192874, 1e-4)
      << "one expert is not normalised";
  config = v3(4, 2, 1, 1);
  EXPECT_NEAR(sum(), 2.5, 1e-6);
}

TEST(gate, a_nan_is_chosen_last_and_an_infinity_does_no_harm) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(run(v3(4, 2, 2, 2), {nan, 1, nan, 0}).experts, (std::vector<std::uint32_t>{1, 3}));
  EXPECT_EQ(run(v3(4, 3, 2, 1), {nan, nan, nan, nan}).experts,
            (std::vector<std::uint32_t>{0, 1, 2}));
  EXPECT_EQ(run(v3(4, 2, 1, 1), {-infinity, infinity, 0, 0}).experts,
            (std::vector<std::uint32_t>{1, 2}));
}

TEST(gate, refuses_gates_that_cannot_be_evaluated) {
  EXPECT_TRUE(validate(v3(256, 8, 8, 4)).has_value());
  EXPECT_TRUE(validate(v2(1, 1, 1, 1)).has_value());
  EXPECT_TRUE(validate(v3(0, 1, 1, 1)).has_error());
  EXPECT_TRUE(validate(v3(4, 5, 1, 1)).has_error());
  EXPECT_TRUE(validate(v3(4, 0, 1, 1)).has_error());
  EXPECT_TRUE(validate(v3(6, 2, 4, 1)).has_error());
  EXPECT_TRUE(validate(v3(6, 2, 0, 0)).has_error());
  EXPECT_TRUE(validate(v3(6, 2, 3, 0)).has_error());
  EXPECT_TRUE(validate(v3(6, 2, 3, 4)).has_error());
  gate_config config = v3(6, 2, 3, 1);
  config.routed_scale = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(validate(config).has_error());
}

TEST(gate, agrees_with_the_oracle_on_many_shapes_with_ties) {
  constexpr std::uint64_t seed = 5;
  SCOPED_TRACE(seed);
  random_source random{seed};
  const auto any = [&](std::int64_t most) {
    return 1 + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(most)));
  };
  for (int round = 0; round < 3000; ++round) {
    const std::int64_t groups = any(6);
    const std::int64_t experts = groups * any(9);
    gate_config config = v3(experts, any(std::min<std::int64_t>(experts, 9)), groups, any(groups));
    if (random.below(2) == 0) config.scoring = score_function::softmax;
    config.method = static_cast<topk_method>(random.below(3));
    config.norm_topk = random.below(2) == 0;
    ASSERT_TRUE(validate(config).has_value());
    // Equal logits tie in either precision; unequal ones are far apart.
    std::vector<float> logits;
    for (std::int64_t i = 0; i < experts; ++i) {
      logits.push_back(static_cast<float>(random.below(40)) / 8.0F - 2.5F);
    }
    std::vector<float> bias;
    if (config.method == topk_method::noaux_tc && random.below(2) == 0) {
      for (std::int64_t i = 0; i < experts; ++i) {
        bias.push_back(static_cast<float>(random.normal() * 0.3 - 0.5));
      }
    }
    const chosen out = run(config, logits, bias);
    const test::routed expected =
        test::oracle(config, logits.data(), bias.empty() ? nullptr : bias.data());
    ASSERT_EQ(out.experts, expected.experts) << "round " << round;
    for (std::size_t i = 0; i < out.weights.size(); ++i) {
      ASSERT_NEAR(out.weights[i], expected.weights[i], 1e-5 * expected.weights[i]);
    }
  }
}

TEST(gate, every_instruction_set_gives_the_same_bits) {
  random_source random{6};
  const gate_config config = v3(256, 8, 8, 4);
  const gate_config softmax = v2(160, 6, 8, 3);
  for (int round = 0; round < 200; ++round) {
    std::vector<float> logits;
    std::vector<float> bias;
    for (int i = 0; i < 256; ++i) {
      logits.push_back(static_cast<float>(random.normal() * 2));
      bias.push_back(static_cast<float>(random.normal() * 0.2));
    }
    for (const gate_config& gate : {config, softmax}) {
      const chosen expected = run(gate, logits, bias);
      for (const kernels::isa set : {kernels::isa::avx2, kernels::isa::avx512}) {
        if (!kernels::isa_available(set)) continue;
        chosen out = expected;
        gate_scratch scratch;
        choose(gate,
               kernels::row_kernels::make(set),
               logits.data(),
               bias.data(),
               out.experts.data(),
               out.weights.data(),
               scratch);
        ASSERT_EQ(out.experts, expected.experts);
        for (std::size_t i = 0; i < out.weights.size(); ++i) {
          ASSERT_EQ(std::bit_cast<std::uint32_t>(out.weights[i]),
                    std::bit_cast<std::uint32_t>(expected.weights[i]));
        }
      }
    }
  }
}

}  // namespace
}  // namespace atl::experts
