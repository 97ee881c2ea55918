// A row's result has the same bits for any number of expert groups and replicas, threads, batch,
// chunk, micro-batch and instruction set: all logits and tokens of the same prompts are compared
// with those of the plainest shape.
#include "actors/local_cluster.hpp"
#include "runtime/base/disk.hpp"
#include "tests/unit/actors/collector.hpp"

#include <gtest/gtest.h>

namespace atl::actors {
namespace {

std::shared_ptr<const model::model_weights> load(const std::string& directory) {
  return model::load_weights(*system_disk(), std::string{ATOLL_SOURCE_DIR "/"} + directory, {})
      .value();
}

struct answer {
  std::vector<token_id> tokens;
  std::vector<float> logits;  // of every position, in order
  friend bool operator==(const answer&, const answer&) = default;
};

std::vector<generation_request> requests(std::int64_t vocabulary) {
  std::vector<generation_request> all;
  const int lengths[] = {1, 2, 17, 64, 65, 130, 40, 7, 33, 3, 90, 5, 21, 11, 8, 70};
  int seed = 0;
  for (const int n : lengths) {
    generation_request r;
    for (int i = 0; i < n; ++i)
      r.prompt.push_back(static_cast<token_id>((i * 37 + seed * 101 + 11) % vocabulary));
    r.tokens_max = 5;
    r.ignore_eos = true;
    r.logits = logits_wanted::all;
    ++seed;
    all.push_back(std::move(r));
  }
  return all;
}

std::vector<answer> run(const std::shared_ptr<const model::model_weights>& weights,
                        const cluster_options& options) {
  auto cluster = local_cluster::start(weights, options).value();
  std::vector<std::unique_ptr<collector>> seen;
  for (auto& r : requests(weights->config.vocab_size)) {
    seen.push_back(std::make_unique<collector>());
    EXPECT_TRUE(cluster->submit(std::move(r), seen.back()->listener()).has_value());
  }
  std::vector<answer> answers;
  for (const auto& s : seen) {
    s->wait();
    EXPECT_EQ(s->last.finish, finish_reason::length);
    answer a{s->tokens, {}};
    for (const auto& o : s->observations) {
      EXPECT_EQ(o.first_position * weights->config.vocab_size,
                static_cast<std::int64_t>(a.logits.size()));
      a.logits.insert(a.logits.end(), o.values.begin(), o.values.end());
    }
    answers.push_back(std::move(a));
  }
  return answers;
}

std::vector<kernels::isa> instruction_sets() {
  std::vector<kernels::isa> sets;
  for (const auto set : {kernels::isa::avx2, kernels::isa::avx512, kernels::isa::amx})
    if (kernels::isa_available(set)) sets.push_back(set);
  return sets;
}

class invariance : public ::testing::TestWithParam<std::string> {};

TEST_P(invariance, BitsDoNotDependOnTheShapeOfTheCluster) {
  const auto weights = load(GetParam());
  cluster_options plain;
  plain.threads = 1;
  plain.sequences_max = 1;
  plain.micro_batches = 1;
  plain.context_max = 256;
  plain.isa = kernels::isa::avx2;
  const auto expected = run(weights, plain);
  for (const auto set : instruction_sets()) {
    for (const int groups : {1, 2, 8}) {
      for (const int threads : {1, 2}) {
        for (const int batch : {1, 16}) {
          for (const int chunk : {1, 7, 512}) {
            cluster_options o = plain;
            o.isa = set;
            o.expert_groups = groups;
            o.replicas = std::min(groups, 2);
            o.threads = threads;
            o.sequences_max = batch;
            o.prefill_chunk = chunk;
            o.micro_batches = threads;
            o.lane_sequences_min = chunk == 7 ? 1 : 32;
            EXPECT_EQ(run(weights, o), expected)
                << to_string(set) << ", groups " << groups << ", threads " << threads << ", batch "
                << batch << ", chunk " << chunk;
          }
        }
      }
    }
  }
}

// Weights FP8 with ragged scale blocks, and float32: the other formats take the same paths.
INSTANTIATE_TEST_SUITE_P(models,
                         invariance,
                         ::testing::Values("tests/golden/v3-fp8", "tests/golden/v2-lite"));

}  // namespace
}  // namespace atl::actors
