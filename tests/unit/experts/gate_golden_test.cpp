// The gate against an independent implementation (tests/golden/README.md): from router logits to
// experts and weights, for every MoE layer of every case. The vectors must also tell each known
// mistake from the truth, or passing would mean little.
#include "experts/gate/gate.hpp"
#include "runtime/base/disk.hpp"
#include "runtime/kernels/isa.hpp"
#include "runtime/kernels/rows.hpp"
#include "runtime/model/safetensors.hpp"
#include "runtime/model/weights.hpp"
#include "tests/unit/experts/gate_oracle.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace atl::experts {
namespace {

template <class T>
std::vector<T> values(const model::safetensors_file& file, const std::string& name) {
  const model::stored_tensor* tensor = file.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  if (tensor == nullptr) return {};
  const auto data = file.data(*tensor);
  std::vector<T> out(data.size() / sizeof(T));
  std::memcpy(out.data(), data.data(), data.size());
  return out;
}

gate_config gate_of(const model::model_config& c) {
  return {.experts = c.routed_experts,
          .k = c.experts_per_token,
          .groups = c.groups,
          .groups_kept = c.groups_kept,
          .scoring = c.scoring,
          .method = c.topk,
          .norm_topk = c.norm_topk,
          .routed_scale = static_cast<float>(c.routed_scale)};
}

/// Vectors of one MoE layer.
struct golden_layer {
  std::int64_t layer = 0;
  std::vector<float> logits, bias, weights;
  std::vector<std::int32_t> experts;
};

class gate_golden : public ::testing::TestWithParam<const char*> {
protected:
  void SetUp() override {
    const std::string directory = std::string{ATOLL_SOURCE_DIR} + "/tests/golden/" + GetParam();
    const auto files = system_disk();
    model::load_options options;
    options.populate = false;
    const auto loaded = model::load_weights(*files, directory, options);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
    const auto vectors =
        model::safetensors_file::open(*files, directory + "/golden.safetensors").value();
    config_ = gate_of((*loaded)->config);
    ASSERT_TRUE(validate(config_).has_value());
    for (std::int64_t layer = 0; layer < (*loaded)->config.layers; ++layer) {
      if (!(*loaded)->config.is_moe(layer)) continue;
      const std::string prefix = "router.layer." + std::to_string(layer);
      golden_layer& g = layers_.emplace_back();
      g.layer = layer;
      g.logits = values<float>(vectors, prefix + ".logits");
      g.experts = values<std::int32_t>(vectors, prefix + ".experts");
      g.weights = values<float>(vectors, prefix + ".weights");
      const tensor::weight_vector& bias =
          (*loaded)->layers[static_cast<std::size_t>(layer)].correction_bias;
      g.bias.resize(static_cast<std::size_t>(bias.count));
      if (!bias.empty()) std::memcpy(g.bias.data(), bias.data, g.bias.size() * sizeof(float));
    }
    ASSERT_FALSE(layers_.empty());
  }

  static std::int64_t rows(const golden_layer& g, const gate_config& c) {
    return static_cast<std::int64_t>(g.logits.size()) / c.experts;
  }

  gate_config config_;
  std::vector<golden_layer> layers_;
};

TEST_P(gate_golden, experts_and_weights) {
  const auto kernel = kernels::row_kernels::make(*kernels::best_isa());
  gate_scratch scratch;
  const auto k = static_cast<std::size_t>(config_.k);
  for (const golden_layer& g : layers_) {
    EXPECT_EQ(g.bias.empty(), config_.method != model::topk_method::noaux_tc);
    ASSERT_EQ(rows(g, config_), 64);
    for (std::int64_t row = 0; row < rows(g, config_); ++row) {
      std::vector<std::uint32_t> experts(k);
      std::vector<float> weights(k);
      choose(config_,
             kernel,
             g.logits.data() + row * config_.experts,
             g.bias.empty() ? nullptr : g.bias.data(),
             experts.data(),
             weights.data(),
             scratch);
      for (std::size_t i = 0; i < k; ++i) {
        const std::size_t at = static_cast<std::size_t>(row) * k + i;
        ASSERT_EQ(experts[i], static_cast<std::uint32_t>(g.experts[at]))
            << "layer " << g.layer << " row " << row << " rank " << i;
        ASSERT_NEAR(weights[i], g.weights[at], 1e-5 * std::abs(g.weights[at]));
      }
    }
  }
}

TEST_P(gate_golden, tells_every_mistake_from_the_truth) {
  const auto k = static_cast<std::size_t>(config_.k);
  const auto differing_rows = [&](test::mistake made) {
    int differing = 0;
    for (const golden_layer& g : layers_) {
      for (std::int64_t row = 0; row < rows(g, config_); ++row) {
        const test::routed out = test::oracle(config_,
                                              g.logits.data() + row * config_.experts,
                                              g.bias.empty() ? nullptr : g.bias.data(),
                                              made);
        bool is_equal = true;
        for (std::size_t i = 0; i < k; ++i) {
          const std::size_t at = static_cast<std::size_t>(row) * k + i;
          is_equal = is_equal && out.experts[i] == static_cast<std::uint32_t>(g.experts[at]) &&
                     std::abs(out.weights[i] - g.weights[at]) <= 1e-5 * std::abs(g.weights[at]);
        }
        differing += is_equal ? 0 : 1;
      }
    }
    return differing;
  };
  EXPECT_EQ(differing_rows(test::mistake::none), 0);
  for (const test::mistake made : test::all_mistakes) {
    if (!test::applies(made, config_)) continue;
    // There only prompts whose routing is not stored show it (k = 3 of four kept experts).
    const bool is_unseen =
        made == test::mistake::rejected_groups_zero && std::string{"v3-fp8"} == GetParam();
    if (is_unseen) continue;
    EXPECT_GT(differing_rows(made), 0) << "mistake " << static_cast<int>(made);
  }
}

INSTANTIATE_TEST_SUITE_P(
    cases,
    gate_golden,
    ::testing::Values("v2-lite", "v2", "v3", "v3-fp8", "v3-norope-scaling", "v3-many"));

}  // namespace
}  // namespace atl::experts
