// The model against tests/golden: results of independent implementations in float32, and its own
// promise that no split of the work changes a bit.
#include "runtime/base/disk.hpp"
#include "runtime/model/safetensors.hpp"
#include "runtime/tensor/cpu_device.hpp"
#include "runtime/tensor/inline_device.hpp"
#include "tests/support/plain_model.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

namespace atl::testing {
namespace {

struct golden_case {
  const char* name;
  float logit_tolerance;  // absolute, from tests/golden/README.md
};

void PrintTo(const golden_case& c, std::ostream* out) { *out << c.name; }

/// Tensors of a golden.safetensors.
class stored_results {
public:
  explicit stored_results(const std::string& path)
      : file_{*model::safetensors_file::open(*system_disk(), path)} {}

  template <class T>
  std::vector<T> get(const std::string& name) const {
    const model::stored_tensor* tensor = file_.find(name);
    if (tensor == nullptr) {
      ADD_FAILURE() << name << " is not there";
      return {};
    }
    const auto bytes = file_.data(*tensor);
    std::vector<T> out(bytes.size() / sizeof(T));
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }

private:
  model::safetensors_file file_;
};

std::string directory(const std::string& name) {
  return std::string{ATOLL_SOURCE_DIR} + "/tests/golden/" + name;
}

std::unique_ptr<plain_model>
load(const std::string& path, tensor::device& on, plain_model::options chosen = {}) {
  auto weights = model::load_weights(*system_disk(), path, {});
  if (!weights) {
    ADD_FAILURE() << weights.error().message();
    return nullptr;
  }
  auto made = plain_model::make(*weights, on, chosen);
  if (!made) {
    ADD_FAILURE() << made.error().message();
    return nullptr;
  }
  return std::move(*made);
}

/// Logits of all positions, fed `chunk` tokens a step.
std::vector<float> logits_of(plain_model& m,
                             const std::vector<token_id>& tokens,
                             std::size_t chunk,
                             plain_model::trace* record = nullptr) {
  plain_model::sequence s;
  std::vector<float> all;
  for (std::size_t at = 0; at < tokens.size(); at += chunk) {
    const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(at);
    const auto count = std::min(chunk, tokens.size() - at);
    const plain_model::input in{&s, {begin, begin + static_cast<std::ptrdiff_t>(count)}};
    const auto step = m.feed({&in, 1}, false, record);
    if (!step) {
      ADD_FAILURE() << step.error().message();
      return {};
    }
    all.insert(all.end(), step->begin(), step->end());
  }
  m.release(s);
  return all;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  float worst = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    if (!(difference <= worst)) worst = difference;  // a NaN counts as a difference
  }
  return worst;
}

float largest(const std::vector<float>& a) {
  float top = 0;
  for (const float v : a) top = std::max(top, std::abs(v));
  return top;
}

kernels::isa best() { return *kernels::best_isa(); }

class golden : public ::testing::TestWithParam<golden_case> {
protected:
  golden() : stored_{directory(GetParam().name) + "/golden.safetensors"} {}

  std::vector<token_id> prompt(int n) const {
    return stored_.get<token_id>("prompt." + std::to_string(n) + ".ids");
  }

  std::unique_ptr<plain_model> make(plain_model::options chosen = {best()}) {
    return load(directory(GetParam().name), device_, chosen);
  }

  static constexpr int prompts = 5;
  static constexpr std::size_t whole = 1000;
  stored_results stored_;
  tensor::inline_device device_;
};

TEST_P(golden, logits_at_every_position) {
  const auto m = make();
  ASSERT_NE(m, nullptr);
  for (int n = 0; n < prompts; ++n) {
    const auto expected = stored_.get<float>("prompt." + std::to_string(n) + ".logits");
    EXPECT_LE(largest_difference(logits_of(*m, prompt(n), whole), expected),
              GetParam().logit_tolerance)
        << "prompt " << n;
  }
}

TEST_P(golden, chunks_and_joined_jobs_change_no_bit) {
  const auto m = make();
  ASSERT_NE(m, nullptr);
  for (int n = 0; n < prompts; ++n) {
    const auto reference = logits_of(*m, prompt(n), whole);
    EXPECT_TRUE(same_bits(logits_of(*m, prompt(n), 7), reference)) << "prompt " << n;
    EXPECT_TRUE(same_bits(logits_of(*m, prompt(n), 1), reference)) << "prompt " << n;
    plain_model::trace alone;
    EXPECT_TRUE(same_bits(logits_of(*m, prompt(n), 64, &alone), reference)) << "prompt " << n;
  }
}

TEST_P(golden, fast_numerics_are_as_accurate_for_single_tokens) {
  const auto m = make({best(), kernels::numerics::fast});
  ASSERT_NE(m, nullptr);
  for (int n = 0; n < prompts; ++n) {
    const auto expected = stored_.get<float>("prompt." + std::to_string(n) + ".logits");
    EXPECT_LE(largest_difference(logits_of(*m, prompt(n), 1), expected), GetParam().logit_tolerance)
        << "prompt " << n;
    // Many tokens may be rounded, so that a close choice of experts falls otherwise.
    for (const float logit : logits_of(*m, prompt(n), whole)) {
      ASSERT_TRUE(std::abs(logit) < 100);
    }
  }
}

/// Of each position: root mean square of the differences over that of the logits expected.
void add_errors(const std::vector<float>& got,
                const std::vector<float>& expected,
                std::size_t width,
                std::vector<double>& errors) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t row = 0; row < got.size(); row += width) {
    double wrong = 0;
    double all = 0;
    for (std::size_t i = row; i < row + width; ++i) {
      wrong += std::pow(double{got[i]} - double{expected[i]}, 2);
      all += std::pow(double{expected[i]}, 2);
    }
    errors.push_back(std::sqrt(wrong / all));
  }
}

// Every row to experts and every answer rounded, the text given: what --activations changes. The
// middle one of all positions: where two experts score almost alike, a rounded row may choose the
// other one, and these models of random weights have many such places.
TEST_P(golden, rows_that_travel_as_bf16_or_fp8_move_logits_by_their_rounding) {
  const std::pair<tensor::dtype, double> forms[] = {
      {tensor::dtype::f32, 1e-5}, {tensor::dtype::bf16, 0.01}, {tensor::dtype::f8_e4m3, 0.1}};
  double before = 0;
  for (const auto& [type, most] : forms) {
    plain_model::options chosen{best()};
    chosen.activations = type;
    const auto m = make(chosen);
    ASSERT_NE(m, nullptr);
    std::vector<double> errors;
    for (int n = 0; n < prompts; ++n)
      add_errors(logits_of(*m, prompt(n), whole),
                 stored_.get<float>("prompt." + std::to_string(n) + ".logits"),
                 static_cast<std::size_t>(m->config().vocab_size),
                 errors);
    std::sort(errors.begin(), errors.end());
    const double middle = errors.at(errors.size() / 2);
    EXPECT_LE(middle, most) << to_string(type);
    EXPECT_GT(middle, before) << to_string(type);
    before = middle;
  }
}

TEST_P(golden, residual_stream_after_each_layer) {
  const auto m = make();
  ASSERT_NE(m, nullptr);
  plain_model::trace got;
  logits_of(*m, prompt(2), whole, &got);
  for (std::size_t layer = 0; layer < got.hidden.size(); ++layer) {
    const auto expected = stored_.get<float>("hidden.layer." + std::to_string(layer));
    EXPECT_LE(largest_difference(got.hidden[layer], expected), 5e-5F * largest(expected))
        << "layer " << layer;
  }
}

TEST_P(golden, routing) {
  const auto m = make();
  ASSERT_NE(m, nullptr);
  plain_model::trace got;
  logits_of(*m, prompt(3), whole, &got);
  for (std::int64_t layer = 0; layer < m->config().layers; ++layer) {
    if (!m->config().is_moe(layer)) continue;
    const auto at = static_cast<std::size_t>(layer);
    const std::string name = "router.layer." + std::to_string(layer);
    const auto experts = stored_.get<std::int32_t>(name + ".experts");
    const auto weights = stored_.get<float>(name + ".weights");
    ASSERT_EQ(got.experts[at].size(), experts.size());
    for (std::size_t i = 0; i < experts.size(); ++i) {
      ASSERT_EQ(got.experts[at][i], static_cast<std::uint32_t>(experts[i])) << name << " " << i;
      ASSERT_NEAR(got.weights[at][i], weights[i], 1e-5F * std::abs(weights[i])) << name << " " << i;
    }
    const auto logits = stored_.get<float>(name + ".logits");
    EXPECT_LE(largest_difference(got.router_logits[at], logits), 5e-5F * largest(logits)) << name;
  }
}

TEST_P(golden, greedy_continuation) {
  const auto m = make();
  ASSERT_NE(m, nullptr);
  const auto vocabulary = static_cast<std::size_t>(m->config().vocab_size);
  for (int n = 0; n < prompts; ++n) {
    const auto expected = stored_.get<token_id>("greedy." + std::to_string(n) + ".ids");
    plain_model::sequence s;
    plain_model::input in{&s, prompt(n)};
    std::vector<token_id> got;
    std::vector<float> logits;
    while (got.size() < expected.size()) {
      const auto step = m->feed({&in, 1}, true);
      ASSERT_TRUE(step.has_value());
      ASSERT_EQ(step->size(), vocabulary);
      logits.insert(logits.end(), step->begin(), step->end());
      got.push_back(
          static_cast<token_id>(std::max_element(step->begin(), step->end()) - step->begin()));
      in.tokens = {got.back()};
    }
    m->release(s);
    EXPECT_EQ(got, expected) << "prompt " << n;
    EXPECT_LE(
        largest_difference(logits, stored_.get<float>("greedy." + std::to_string(n) + ".logits")),
        GetParam().logit_tolerance)
        << "prompt " << n;
  }
}

TEST_P(golden, batch_mates_groups_and_threads_change_no_bit) {
  const auto alone = make();
  ASSERT_NE(alone, nullptr);
  tensor::cpu_device threads{2};
  plain_model::options three{best()};
  three.expert_groups = 3;
  const auto together = load(directory(GetParam().name), threads, three);
  ASSERT_NE(together, nullptr);

  // Half of each prompt in one step, in reverse order, then all rests but the first prompt's.
  std::vector<plain_model::sequence> sequences(prompts);
  std::vector<std::vector<float>> got(prompts);
  for (const int step : {0, 1}) {
    std::vector<plain_model::input> inputs;
    std::vector<int> order;
    for (int n = prompts - 1; n >= 0; --n) {
      const auto tokens = prompt(n);
      const auto half = static_cast<std::ptrdiff_t>((tokens.size() + 1) / 2);
      const auto cut = tokens.begin() + half;
      auto& s = sequences[static_cast<std::size_t>(n)];
      if (step == 0) {
        inputs.push_back({&s, {tokens.begin(), cut}});
      } else if (cut != tokens.end()) {
        inputs.push_back({&s, {cut, tokens.end()}});
      } else {
        continue;
      }
      order.push_back(n);
    }
    const auto logits = together->feed(inputs);
    ASSERT_TRUE(logits.has_value()) << logits.error().message();
    auto at = logits->begin();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const auto count =
          static_cast<std::ptrdiff_t>(inputs[i].tokens.size()) * together->config().vocab_size;
      auto& out = got[static_cast<std::size_t>(order[i])];
      out.insert(out.end(), at, at + count);
      at += count;
    }
  }
  for (int n = 0; n < prompts; ++n) {
    together->release(sequences[static_cast<std::size_t>(n)]);
    EXPECT_TRUE(same_bits(got[static_cast<std::size_t>(n)], logits_of(*alone, prompt(n), whole)))
        << "prompt " << n;
  }
}

TEST_P(golden, long_contexts_decoded_together_change_no_bit) {
  const auto m = make();
  ASSERT_NE(m, nullptr);
  const auto tokens = prompt(4);
  const auto vocabulary = m->config().vocab_size;
  const auto reference = logits_of(*m, tokens, whole);
  // Contexts on both sides of a border at which attention is split.
  const std::vector<std::ptrdiff_t> lengths{255, 290, 30, 257};
  std::vector<plain_model::sequence> sequences(lengths.size());
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const plain_model::input in{&sequences[i], {tokens.begin(), tokens.begin() + lengths[i]}};
    ASSERT_TRUE(m->feed({&in, 1}, true).has_value());
  }
  for (std::ptrdiff_t step = 0; step < 3; ++step) {
    std::vector<plain_model::input> inputs;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      const auto next = tokens.begin() + lengths[i] + 2 * step;
      inputs.push_back({&sequences[i], {next, next + 2}});
    }
    const auto logits = m->feed(inputs);
    ASSERT_TRUE(logits.has_value());
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      const auto at = logits->begin() + static_cast<std::ptrdiff_t>(i) * 2 * vocabulary;
      const auto right = reference.begin() + (lengths[i] + 2 * step) * vocabulary;
      EXPECT_TRUE(same_bits({at, at + 2 * vocabulary}, {right, right + 2 * vocabulary}))
          << "length " << lengths[i] << ", step " << step;
    }
  }
  for (auto& s : sequences) m->release(s);
}

TEST_P(golden, rows_without_logits_may_end_at_the_last_layer) {
  const auto m = make();
  ASSERT_NE(m, nullptr);
  const auto vocabulary = static_cast<std::ptrdiff_t>(m->config().vocab_size);
  plain_model::sequence a;
  plain_model::sequence b;
  const std::vector<plain_model::input> inputs{{&a, prompt(3)}, {&b, prompt(2)}};
  const auto logits = m->feed(inputs, true);
  ASSERT_TRUE(logits.has_value());
  ASSERT_EQ(logits->size(), static_cast<std::size_t>(2 * vocabulary));
  m->release(a);
  m->release(b);
  for (const int i : {0, 1}) {
    const auto all = logits_of(*m, prompt(3 - i), whole);
    EXPECT_TRUE(
        same_bits({logits->begin() + i * vocabulary, logits->begin() + (i + 1) * vocabulary},
                  {all.end() - vocabulary, all.end()}));
  }
}

TEST_P(golden, instruction_sets_agree_in_every_bit) {
  const auto reference = make();
  ASSERT_NE(reference, nullptr);
  for (const kernels::isa set : {kernels::isa::avx2, kernels::isa::avx512}) {
    if (!kernels::isa_available(set) || set == best()) continue;
    const auto other = make({set});
    ASSERT_NE(other, nullptr);
    for (int n = 1; n < prompts; ++n) {
      EXPECT_TRUE(
          same_bits(logits_of(*other, prompt(n), 40), logits_of(*reference, prompt(n), whole)))
          << kernels::to_string(set) << ", prompt " << n;
    }
  }
}

TEST(shard_compute, refuses_a_cache_that_memory_cannot_hold) {
  const auto weights = *model::load_weights(*system_disk(), directory("v3"), {});
  // (48 latent + 16 rope) float32 values, 64 positions, 4 layers.
  EXPECT_EQ(attention::shard_compute::page_bytes(weights->config), 64U * 4 * 64 * 4);
  attention::shard_compute::options chosen{best(), kernels::numerics::invariant, 0};
  for (const std::size_t pages : {std::size_t{1} << 33, std::size_t{1} << 60}) {
    chosen.kv_pages = pages;
    const auto made = attention::shard_compute::make(weights, chosen);
    ASSERT_TRUE(made.has_error());
    EXPECT_EQ(made.error().code(), errc::out_of_memory);
  }
  chosen.kv_pages = 3;
  const auto made = attention::shard_compute::make(weights, chosen);
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ((*made)->kv_pages(), 3U);
}

INSTANTIATE_TEST_SUITE_P(cases,
                         golden,
                         ::testing::Values(golden_case{"v2-lite", 1e-4F},
                                           golden_case{"v2", 2e-4F},
                                           golden_case{"v3", 2e-4F},
                                           golden_case{"v3-fp8", 4e-4F},
                                           golden_case{"v3-norope-scaling", 1e-4F},
                                           golden_case{"v3-many", 1e-4F}),
                         [](const auto& instance) {
                           std::string name = instance.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

/// models/tiny against results of the same model elsewhere (weights FP8 times scale in float32).
/// Steps whose margin between the two best tokens is below this may go either way.
constexpr float tie_margin = 1e-3F;

TEST(tiny_model, last_logits_and_greedy_continuation) {
  tensor::inline_device device;
  const auto m = load(std::string{ATOLL_SOURCE_DIR} + "/models/tiny", device, {best()});
  ASSERT_NE(m, nullptr);
  const stored_results stored{directory("tiny") + "/golden.safetensors"};
  const auto text = system_disk()->read(directory("tiny") + "/golden.json", 1 << 20);
  ASSERT_TRUE(text.has_value());
  const auto prompts = boost::json::parse(*text).as_array();
  ASSERT_EQ(prompts.size(), 12U);
  for (std::size_t n = 0; n < prompts.size(); ++n) {
    const auto expected =
        boost::json::value_to<std::vector<token_id>>(prompts[n].at("greedy_tokens"));
    const auto margins = boost::json::value_to<std::vector<float>>(prompts[n].at("greedy_margins"));
    plain_model::sequence s;
    plain_model::input in{&s,
                          boost::json::value_to<std::vector<token_id>>(prompts[n].at("tokens"))};
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const auto step = m->feed({&in, 1}, true);
      ASSERT_TRUE(step.has_value()) << step.error().message();
      if (i == 0) {
        const auto last = stored.get<float>("prompt." + std::to_string(n) + ".last_logits");
        EXPECT_LE(largest_difference(*step, last), 2e-4F) << "prompt " << n;
      }
      const auto got =
          static_cast<token_id>(std::max_element(step->begin(), step->end()) - step->begin());
      if (margins[i] >= tie_margin) {
        EXPECT_EQ(got, expected[i]) << "prompt " << n << ", step " << i;
      }
      in.tokens = {expected[i]};
    }
    m->release(s);
  }
}

}  // namespace
}  // namespace atl::testing
