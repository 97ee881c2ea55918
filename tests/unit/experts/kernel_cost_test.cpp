#include "experts/kernel_cost.hpp"
#include "runtime/kernels/isa.hpp"
#include "runtime/tensor/cpu_device.hpp"
#include "runtime/tensor/inline_device.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>

namespace atl::experts {
namespace {

using std::chrono::milliseconds;

model::model_config small_config(bool is_fp8) {
  model::model_config c;
  c.layers = 3;
  c.first_dense = 1;
  c.hidden = 256;
  c.expert_inner = 128;
  c.routed_experts = 3;
  c.experts_per_token = 2;
  c.fp8_blocks = is_fp8;
  return c;
}

/// A device on which each chunk of work moves a clock on.
class counted_device final : public tensor::device {
public:
  explicit counted_device(virtual_clock& time, duration_ns chunk = milliseconds{1})
      : time_{time}, chunk_{chunk} {}
  void submit(tensor::job work) override {
    for (const auto& phase : work.phases) time_.advance(chunk_ * phase.chunks);
    inner_.submit(std::move(work));
  }
  void post(tensor::task& t) override { inner_.post(t); }
  void wait_idle() override {}
  tensor::device_activity activity() const noexcept override { return {}; }
  int workers() const noexcept override { return 1; }
  std::string description() const override { return "counted"; }

private:
  virtual_clock& time_;
  duration_ns chunk_;
  tensor::inline_device inner_;
};

TEST(kernel_cost, is_what_jobs_of_one_and_of_sixteen_rows_took) {
  kernel_cost cost{3000, 500};
  EXPECT_DOUBLE_EQ(cost.job_ns(2, 10), 11'000);
  EXPECT_DOUBLE_EQ(cost.speed(), 16 / 11e-6);
  EXPECT_FALSE(kernel_cost{}.is_known());
  EXPECT_EQ(kernel_cost{}.speed(), 0);
}

TEST(kernel_cost, is_measured_on_both_types_of_weights) {
  for (const bool is_fp8 : {false, true}) {
    tensor::cpu_device device{2};
    steady_clock time;
    const auto began = time.now();
    const auto cost = measure_kernel_cost(
        small_config(is_fp8), {*kernels::best_isa(), {}}, device, time, milliseconds{20});
    ASSERT_TRUE(cost.has_value()) << cost.error().message();
    EXPECT_TRUE(cost->is_known());
    // 16 rows of 3 x 256 x 128 multiply-adds: between 10^13 and 10^6 of them a second.
    EXPECT_GT(cost->speed(), 10);
    EXPECT_LT(cost->speed(), 1e8);
    EXPECT_GE(time.now() - began, milliseconds{20});
  }
}

TEST(kernel_cost, is_the_clocks_word_and_ends_in_time) {
  virtual_clock time;
  counted_device device{time};
  const auto cost = measure_kernel_cost(
      small_config(false), {*kernels::best_isa(), {}}, device, time, milliseconds{1});
  ASSERT_TRUE(cost.has_value());
  // Whole milliseconds for the chunks of a job of three experts: the cost adds up to such a job.
  const double jobs = cost->job_ns(3, 48) / 1e6;
  EXPECT_NEAR(jobs, std::round(jobs), 1e-6);
  EXPECT_GE(jobs, 3);
}

TEST(kernel_cost, is_stretched_by_a_quota_and_not_by_what_else_takes_time) {
  // By the wall each job takes days.
  virtual_clock time;
  counted_device device{time, milliseconds{100'000'000}};
  const auto speed = [&](double quota) {
    const auto cost = measure_kernel_cost(
        small_config(false), {*kernels::best_isa(), {}}, device, time, milliseconds{1}, quota);
    return cost.has_value() ? cost->speed() : 0;
  };
  EXPECT_LT(speed(0), 1);
  const double whole = speed(1);
  EXPECT_GT(whole, 10);
  // A factor of a thousand, on a machine that may be busy with other things.
  EXPECT_GT(whole / speed(0.001), 200);
  EXPECT_LT(whole / speed(0.001), 5000);
}

TEST(kernel_cost, needs_a_model_with_experts) {
  tensor::inline_device device;
  virtual_clock time;
  model::model_config c = small_config(false);
  c.routed_experts = 0;
  const auto cost =
      measure_kernel_cost(c, {*kernels::best_isa(), {}}, device, time, milliseconds{1});
  ASSERT_TRUE(cost.has_error());
  EXPECT_EQ(cost.error().code(), errc::unsupported);
}

TEST(speed_observer, follows_what_calls_take_whatever_their_size) {
  speed_observer seen;
  EXPECT_FALSE(seen.correction());
  seen.add(10e6, 19e6);
  EXPECT_FALSE(seen.correction());
  for (int i = 0; i < 1000; ++i) seen.add(i % 7 == 0 ? 30e6 : 1e5, i % 7 == 0 ? 30e6 : 1e5);
  EXPECT_NEAR(*seen.correction(), 1, 0.02);
  // Throttled to a quarter: small and large calls take four times as long. Known after some 5 s of
  // computing, and as quickly forgotten.
  for (int i = 0; i < 400; ++i) seen.add(i % 3 == 0 ? 10e6 : 1e6, i % 3 == 0 ? 40e6 : 4e6);
  EXPECT_NEAR(*seen.correction(), 0.33, 0.1);
  for (int i = 0; i < 1200; ++i) seen.add(i % 3 == 0 ? 10e6 : 1e6, i % 3 == 0 ? 40e6 : 4e6);
  EXPECT_NEAR(*seen.correction(), 0.25, 0.02);
  for (int i = 0; i < 2500; ++i) seen.add(10e6, 10e6);
  EXPECT_NEAR(*seen.correction(), 1, 0.05);
}

TEST(speed_observer, is_bounded_and_takes_no_nonsense) {
  speed_observer seen;
  for (int i = 0; i < 100; ++i) seen.add(1e9, 1e6);
  EXPECT_EQ(*seen.correction(), 2);
  speed_observer still;
  still.add(0, 1e9);
  still.add(1e9, 0);
  still.add(-1, 1e9);
  EXPECT_FALSE(still.correction());
}

}  // namespace
}  // namespace atl::experts
