#include "cluster/hedging.hpp"
#include "runtime/base/random.hpp"

#include <gtest/gtest.h>

#include <deque>

namespace atl::cluster {
namespace {

using namespace std::chrono_literals;

TEST(answer_times, an_answer_is_late_after_four_times_the_slowest_within_bounds) {
  answer_times times;
  EXPECT_EQ(times.late_after(1), 2s);
  times.observe(1, 1ms);
  EXPECT_EQ(times.late_after(1), 100ms);
  times.observe(1, 50ms);
  EXPECT_EQ(times.late_after(1), 200ms);
  times.observe(1, 1ms);  // the slow one still counts
  EXPECT_GT(times.late_after(1), 190ms);
  times.observe(1, 30s);
  EXPECT_EQ(times.late_after(1), 7500ms);  // a row took 30 s / 16
  EXPECT_EQ(times.late_after(0), 2s);
}

TEST(answer_times, the_slowest_fades) {
  answer_times times;
  times.observe(1, 400ms);
  EXPECT_EQ(times.late_after(1), 1600ms);
  int answers = 0;
  for (; times.late_after(1) > 800ms; ++answers) times.observe(1, 1ms);
  EXPECT_NEAR(answers, 89, 2);  // (127/128)^89 = 1/2
  for (int i = 0; i < 2000; ++i) times.observe(1, 1ms);
  EXPECT_EQ(times.late_after(1), 100ms);
}

TEST(answer_times, many_rows_may_take_long) {
  answer_times times;
  times.observe(512, 512 * 2ms);
  EXPECT_EQ(times.late_after(512), 4 * 512 * 2ms);
  EXPECT_EQ(times.late_after(8192), 4 * 8192 * 2ms);
  EXPECT_EQ(times.late_after(8), 2s);
  EXPECT_GT(times.late_after(0xFFFF'FFFF), 1s);  // no overflow at any count, however slow
}

TEST(hedge_budget, begins_empty_and_holds_a_twentieth) {
  hedge_budget budget;
  EXPECT_FALSE(budget.take(1));
  budget.sent(19);
  EXPECT_FALSE(budget.take(1));
  budget.sent(1);
  EXPECT_TRUE(budget.take(1));
  EXPECT_FALSE(budget.take(1));
  for (int i = 0; i < 1000; ++i) budget.sent(1000);
  EXPECT_FALSE(budget.take(2049));
  EXPECT_TRUE(budget.take(2048));
  EXPECT_FALSE(budget.take(1));
}

TEST(hedge_budget, never_more_than_one_in_twenty_over_all_and_little_more_in_any_window) {
  random_source random{5};
  hedge_budget budget;
  std::uint64_t sent = 0, hedged = 0;
  for (int i = 0; i < 20000; ++i) {
    const auto rows = static_cast<std::uint32_t>(1 + random.below(600));
    if (random.below(3) == 0) {
      if (budget.take(rows)) hedged += rows;
    } else {
      budget.sent(rows);
      sent += rows;
    }
    ASSERT_LE(20 * hedged, sent);
  }
  EXPECT_GT(30 * hedged, sent);  // and it can be used up
}

}  // namespace
}  // namespace atl::cluster
