#include "experts/group_compute.hpp"
#include "experts/router_compute.hpp"
#include "runtime/base/random.hpp"
#include "runtime/tensor/cpu_device.hpp"
#include "runtime/tensor/inline_device.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <utility>

namespace atl::experts {
namespace {

constexpr std::int64_t hidden = 72;
constexpr std::int64_t inner = 40;
constexpr std::int64_t experts_count = 3;

model::model_config small_config() {
  model::model_config c;
  c.layers = 2;
  c.first_dense = 1;
  c.hidden = hidden;
  c.expert_inner = inner;
  c.routed_experts = experts_count;
  c.experts_per_token = 2;
  return c;
}

/// Numbers in [-1, 1) that repeat with the seed.
std::vector<float> numbers(std::int64_t count, std::uint64_t seed) {
  random_source random{seed};
  std::vector<float> out(static_cast<std::size_t>(count));
  for (float& v : out) v = static_cast<float>(random.unit() * 2 - 1);
  return out;
}

tensor::weight_matrix
matrix(const std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
  tensor::weight_matrix m;
  m.data = reinterpret_cast<const std::byte*>(values.data());
  m.rows = rows;
  m.cols = cols;
  return m;
}

class group : public ::testing::Test {
protected:
  group() : made_{*group_compute::make(small_config(), {*kernels::best_isa(), {}})} {
    for (std::uint32_t e = 0; e < experts_count; ++e) {
      gate_.push_back(numbers(inner * hidden, 10 + e));
      up_.push_back(numbers(inner * hidden, 20 + e));
      down_.push_back(numbers(hidden * inner, 30 + e));
    }
  }

  model::ffn_weights weights(std::uint32_t e) const {
    return {matrix(gate_[e], inner, hidden),
            matrix(up_[e], inner, hidden),
            matrix(down_[e], hidden, inner)};
  }

  /// down(silu(gate x) * up x) in double precision.
  std::vector<double> expected(std::uint32_t e, const float* x) const {
    const auto product =
        [](const std::vector<float>& w, std::int64_t row, std::int64_t cols, auto v) {
          double sum = 0;
          for (std::int64_t c = 0; c < cols; ++c) {
            sum += static_cast<double>(w[static_cast<std::size_t>(row * cols + c)]) *
                   static_cast<double>(v[c]);
          }
          return sum;
        };
    std::vector<double> mid(inner);
    for (std::int64_t r = 0; r < inner; ++r) {
      const double g = product(gate_[e], r, hidden, x);
      mid[static_cast<std::size_t>(r)] = g / (1 + std::exp(-g)) * product(up_[e], r, hidden, x);
    }
    std::vector<double> out(hidden);
    for (std::int64_t r = 0; r < hidden; ++r) {
      out[static_cast<std::size_t>(r)] = product(down_[e], r, inner, mid.data());
    }
    return out;
  }

  std::unique_ptr<group_compute> made_;
  std::vector<std::vector<float>> gate_, up_, down_;
  tensor::inline_device device_;
};

TEST_F(group, answers_rows_of_several_experts_wherever_they_lie) {
  for (std::uint32_t e = 0; e < experts_count; ++e) {
    ASSERT_TRUE(made_->hold(1, e, weights(e)).has_value());
  }
  constexpr std::int64_t rows = 40;
  const auto x = numbers(rows * hidden, 1);
  std::vector<float> spaced(rows * hidden);
  std::vector<float> scattered(rows * hidden);
  const auto at = [](auto& of, std::int64_t row) { return of.data() + row * hidden; };
  // Expert 0: every row in order. Expert 2: some rows, backwards and one twice; expert 1: none.
  const std::vector<std::int64_t> order{39, 7, 7, 20, 3};
  const std::vector<std::int64_t> places{9, 4, 6, 0, 2};
  group_call call;
  call.layer = 1;
  call.experts.resize(3);
  for (std::int64_t row = 0; row < rows; ++row) {
    call.experts[0].inputs.push_back(at(x, row));
    call.experts[0].outputs.push_back(at(spaced, row));
  }
  call.experts[1].expert = 1;
  call.experts[2].expert = 2;
  for (std::size_t i = 0; i < order.size(); ++i) {
    call.experts[2].inputs.push_back(at(x, order[i]));
    call.experts[2].outputs.push_back(at(scattered, places[i]));
  }
  device_.submit(made_->forward(call));
  for (const expert_rows& part : call.experts) {
    for (std::size_t i = 0; i < part.inputs.size(); ++i) {
      const auto right = expected(part.expert, part.inputs[i]);
      for (std::size_t c = 0; c < right.size(); ++c) {
        ASSERT_NEAR(part.outputs[i][c], right[c], 2e-5) << part.expert << " " << i << " " << c;
      }
    }
  }
}

TEST_F(group, a_row_has_the_same_bits_alone_and_among_others_on_any_worker) {
  ASSERT_TRUE(made_->hold(1, 0, weights(0)).has_value());
  constexpr std::int64_t rows = 33;
  const auto x = numbers(rows * hidden, 2);
  std::vector<float> together(rows * hidden);
  std::vector<float> alone(rows * hidden);
  group_call call;
  call.layer = 1;
  for (std::int64_t row = 0; row < rows; ++row) {
    call.experts = {{0, {x.data() + row * hidden}, {alone.data() + row * hidden}}};
    device_.submit(made_->forward(call));
  }
  call.experts = {{}};
  for (std::int64_t row = rows - 1; row >= 0; --row) {
    call.experts[0].inputs.push_back(x.data() + row * hidden);
    call.experts[0].outputs.push_back(together.data() + row * hidden);
  }
  {
    tensor::cpu_device two{2};
    two.submit(made_->forward(call));
  }
  EXPECT_EQ(std::memcmp(alone.data(), together.data(), alone.size() * sizeof(float)), 0);
}

TEST_F(group, a_call_without_rows_is_an_empty_job) {
  group_call call;
  call.layer = 1;
  EXPECT_TRUE(made_->forward(call).phases.empty());
  call.experts.resize(2);  // no rows: need not be held
  EXPECT_TRUE(made_->forward(call).phases.empty());
}

TEST_F(group, holds_what_it_was_given_until_released) {
  EXPECT_FALSE(made_->holds(1, 2));
  ASSERT_TRUE(made_->hold(1, 2, weights(2)).has_value());
  EXPECT_TRUE(made_->holds(1, 2));
  EXPECT_FALSE(made_->holds(1, 1));
  made_->release(1, 2);
  EXPECT_FALSE(made_->holds(1, 2));
  made_->release(1, 2);
  made_->release(7, 2);
}

TEST_F(group, refuses_experts_that_do_not_exist_and_wrong_shapes) {
  const auto code = [](const result<void>& r) {
    return r.has_error() ? r.error().code() : errc::internal;
  };
  EXPECT_EQ(code(made_->hold(0, 0, weights(0))), errc::invalid_argument);  // a dense layer
  EXPECT_EQ(code(made_->hold(2, 0, weights(0))), errc::invalid_argument);
  EXPECT_EQ(code(made_->hold(-1, 0, weights(0))), errc::invalid_argument);
  EXPECT_EQ(code(made_->hold(1, experts_count, weights(0))), errc::invalid_argument);
  EXPECT_FALSE(made_->holds(2, 0));
  model::ffn_weights turned = weights(0);
  std::swap(turned.gate, turned.down);
  EXPECT_EQ(code(made_->hold(1, 0, turned)), errc::invalid_argument);
  EXPECT_EQ(code(made_->hold(1, 0, {})), errc::invalid_argument);
  EXPECT_FALSE(made_->holds(1, 0));
}

class router : public ::testing::Test {
protected:
  router() {
    auto w = std::make_shared<model::model_weights>();
    w->config = small_config();
    w->layers.resize(2);
    gate_ = numbers(experts_count * hidden, 5);
    w->layers[1].moe = true;
    w->layers[1].router = matrix(gate_, experts_count, hidden);
    made_ = *router_compute::make(std::move(w), {*kernels::best_isa()});
  }

  std::vector<float> gate_;
  std::unique_ptr<router_compute> made_;
  tensor::inline_device device_;
};

TEST_F(router, logits_and_weights_are_those_of_the_gate) {
  constexpr std::int64_t rows = 21;
  const auto x = numbers(rows * hidden, 6);
  routing out;
  device_.submit(made_->route(x.data(), rows, 1, out));
  ASSERT_EQ(out.rows, rows);
  ASSERT_EQ(out.k, 2);
  ASSERT_EQ(out.experts.size(), 42U);
  for (std::int64_t row = 0; row < rows; ++row) {
    std::vector<double> score(experts_count);
    double total = 0;
    for (std::int64_t e = 0; e < experts_count; ++e) {
      double logit = 0;
      for (std::int64_t c = 0; c < hidden; ++c) {
        logit += static_cast<double>(gate_[static_cast<std::size_t>(e * hidden + c)]) *
                 static_cast<double>(x[static_cast<std::size_t>(row * hidden + c)]);
      }
      ASSERT_NEAR(router_compute::logits(out)[row * experts_count + e], logit, 2e-5);
      score[static_cast<std::size_t>(e)] = std::exp(logit);
      total += std::exp(logit);
    }
    for (std::size_t rank = 0; rank < 2; ++rank) {
      const auto i = static_cast<std::size_t>(row) * 2 + rank;
      ASSERT_NEAR(out.weights[i], score[out.experts[i]] / total, 2e-5);
    }
    EXPECT_GE(out.weights[static_cast<std::size_t>(row) * 2],
              out.weights[static_cast<std::size_t>(row) * 2 + 1]);
  }
}

TEST_F(router, combine_weighs_the_answers_of_each_row) {
  constexpr std::int64_t rows = 9;
  const auto x = numbers(rows * hidden, 7);
  const auto answers = numbers(rows * 2 * hidden, 8);
  routing out;
  device_.submit(made_->route(x.data(), rows, 1, out));
  std::vector<const std::byte*> pointers;
  for (std::int64_t i = 0; i < rows * 2; ++i)
    pointers.push_back(reinterpret_cast<const std::byte*>(answers.data() + i * hidden));
  std::vector<float> sum(rows * hidden, 99.0F);
  device_.submit(made_->combine(out, pointers.data(), tensor::dtype::f32, sum.data()));
  for (std::size_t i = 0; i < sum.size(); ++i) {
    const std::size_t row = i / hidden;
    const std::size_t c = i % hidden;
    const double right = static_cast<double>(out.weights[row * 2]) *
                             static_cast<double>(answers[row * 2 * hidden + c]) +
                         static_cast<double>(out.weights[row * 2 + 1]) *
                             static_cast<double>(answers[(row * 2 + 1) * hidden + c]);
    ASSERT_NEAR(sum[i], right, 1e-6);
  }
}

TEST_F(router, no_rows_are_an_empty_job) {
  routing out;
  EXPECT_TRUE(made_->route(nullptr, 0, 1, out).phases.empty());
  EXPECT_TRUE(out.experts.empty());
}

}  // namespace
}  // namespace atl::experts
