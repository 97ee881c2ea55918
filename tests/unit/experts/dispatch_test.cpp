#include "experts/dispatch/combine.hpp"
#include "experts/dispatch/credits.hpp"
#include "experts/dispatch/plan.hpp"
#include "runtime/base/random.hpp"
#include "runtime/kernels/isa.hpp"
#include "runtime/kernels/rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

namespace atl::experts {
namespace {

const accumulate_function accumulate = kernels::row_kernels::make(*kernels::best_isa()).accumulate;

struct batch {
  std::int64_t rows, k;
  std::uint32_t groups;
  std::vector<std::uint32_t> experts;
  std::vector<group_id> targets;
};

batch random_batch(random_source& random) {
  batch b;
  b.rows = static_cast<std::int64_t>(random.below(20));
  b.k = 1 + static_cast<std::int64_t>(random.below(8));
  b.groups = 1 + static_cast<std::uint32_t>(random.below(9));
  for (std::int64_t i = 0; i < b.rows * b.k; ++i) {
    b.experts.push_back(static_cast<std::uint32_t>(random.below(64)));
    b.targets.emplace_back(static_cast<std::uint32_t>(random.below(b.groups)));
  }
  return b;
}

TEST(dispatch_plan, small_example) {
  // Row 0 has two experts in group 2 (ranks 0 and 2) and one in group 0.
  const std::vector<std::uint32_t> experts{9, 1, 8, 2, 3, 4};
  const std::vector<group_id> targets{
      group_id{2}, group_id{0}, group_id{2}, group_id{0}, group_id{0}, group_id{0}};
  const dispatch_plan plan = plan_dispatch(2, 3, 4, experts.data(), targets.data());
  ASSERT_EQ(plan.groups.size(), 2U);
  EXPECT_EQ(plan.groups[0].group, group_id{0});
  EXPECT_EQ(plan.groups[0].rows, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(plan.groups[0].offsets, (std::vector<std::uint32_t>{0, 1, 4}));
  EXPECT_EQ(plan.groups[0].experts, (std::vector<std::uint32_t>{1, 2, 3, 4}));
  EXPECT_EQ(plan.groups[0].ranks, (std::vector<std::uint32_t>{1, 0, 1, 2}));
  EXPECT_EQ(plan.groups[1].group, group_id{2});
  EXPECT_EQ(plan.groups[1].rows, (std::vector<std::uint32_t>{0}));
  EXPECT_EQ(plan.groups[1].offsets, (std::vector<std::uint32_t>{0, 2}));
  EXPECT_EQ(plan.groups[1].experts, (std::vector<std::uint32_t>{9, 8}));
  EXPECT_EQ(plan.groups[1].ranks, (std::vector<std::uint32_t>{0, 2}));
}

TEST(dispatch_plan, covers_every_choice_once_and_sends_a_row_once_per_group) {
  random_source random{71};
  for (int round = 0; round < 500; ++round) {
    const batch b = random_batch(random);
    const dispatch_plan plan =
        plan_dispatch(b.rows, b.k, b.groups, b.experts.data(), b.targets.data());
    std::vector<int> seen(b.experts.size(), 0);
    for (std::size_t slot = 0; slot < plan.groups.size(); ++slot) {
      const group_plan& g = plan.groups[slot];
      if (slot > 0) {
        ASSERT_LT(plan.groups[slot - 1].group, g.group);
      }
      ASSERT_FALSE(g.rows.empty());
      ASSERT_EQ(g.offsets.size(), g.rows.size() + 1);
      ASSERT_EQ(g.offsets.front(), 0U);
      ASSERT_EQ(g.offsets.back(), g.experts.size());
      ASSERT_EQ(g.ranks.size(), g.experts.size());
      for (std::size_t i = 0; i < g.rows.size(); ++i) {
        if (i > 0) {
          ASSERT_LT(g.rows[i - 1], g.rows[i]);
        }
        ASSERT_LT(g.offsets[i], g.offsets[i + 1]);
        for (std::uint32_t a = g.offsets[i]; a < g.offsets[i + 1]; ++a) {
          if (a > g.offsets[i]) {
            ASSERT_LT(g.ranks[a - 1], g.ranks[a]);
          }
          const auto at = static_cast<std::size_t>(g.rows[i] * b.k + g.ranks[a]);
          ++seen[at];
          ASSERT_EQ(g.experts[a], b.experts[at]);
          ASSERT_EQ(g.group, b.targets[at]);
        }
      }
    }
    ASSERT_TRUE(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
  }
}

TEST(dispatch_plan, refuses_a_target_that_is_no_group) {
  const std::uint32_t expert = 0;
  const group_id target{3};
  EXPECT_DEATH((void)plan_dispatch(1, 1, 3, &expert, &target), "");
}

TEST(dispatch_progress, rows_without_credit_wait_in_order) {
  const std::vector<std::uint32_t> experts(5, 0);
  const std::vector<group_id> targets(5, group_id{0});
  const dispatch_plan plan = plan_dispatch(5, 1, 1, experts.data(), targets.data());
  dispatch_progress progress{plan};
  EXPECT_EQ(progress.take(0, 0), (send_range{.slot = 0, .first = 0, .count = 0}));
  EXPECT_EQ(progress.take(0, 2), (send_range{.slot = 0, .first = 0, .count = 2}));
  EXPECT_EQ(progress.waiting_rows(0), 3U);
  EXPECT_FALSE(progress.all_sent());
  EXPECT_EQ(progress.take(0, 9), (send_range{.slot = 0, .first = 2, .count = 3}));
  EXPECT_TRUE(progress.all_sent());
  EXPECT_EQ(progress.take(0, 9).count, 0U);
}

TEST(credits, are_kept_per_group_and_bounded) {
  credit_ledger ledger{2, 10};
  ledger.take(group_id{0}, 7);
  EXPECT_EQ(ledger.free(group_id{0}), 3U);
  EXPECT_EQ(ledger.free(group_id{1}), 10U);
  EXPECT_DEATH(ledger.take(group_id{0}, 4), "");
  EXPECT_DEATH(ledger.give_back(group_id{0}, 8), "");
  EXPECT_DEATH((void)ledger.free(group_id{2}), "");
  ledger.give_back(group_id{0}, 7);
  EXPECT_EQ(ledger.free(group_id{0}), 10U);
}

/// Sends a whole plan under random credits, lets the answers arrive in random order, some twice.
TEST(combine, gives_the_same_bits_whatever_came_first) {
  random_source random{72};
  constexpr std::int64_t hidden = 5;
  for (int round = 0; round < 200; ++round) {
    const batch b = random_batch(random);
    std::vector<float> weights(b.experts.size());
    std::vector<float> values(b.experts.size() * hidden);
    for (float& w : weights) w = static_cast<float>(random.normal());
    for (float& v : values) v = static_cast<float>(random.normal());

    const dispatch_plan plan =
        plan_dispatch(b.rows, b.k, b.groups, b.experts.data(), b.targets.data());
    dispatch_progress progress{plan};
    std::vector<send_range> sent;
    while (!progress.all_sent()) {
      const auto slot = static_cast<std::uint32_t>(random.below(plan.groups.size()));
      const send_range range = progress.take(slot, static_cast<std::uint32_t>(random.below(4)));
      if (range.count > 0) sent.push_back(range);
    }
    for (std::size_t i = sent.size(); i > 1; --i) std::swap(sent[i - 1], sent[random.below(i)]);
    if (!sent.empty()) sent.insert(sent.begin() + 1, sent.front());

    std::vector<std::vector<float>> payloads;
    answer_table table{b.rows, b.k};
    for (const send_range& range : sent) {
      const group_plan& g = plan.groups[range.slot];
      std::vector<float>& payload = payloads.emplace_back();
      for (std::uint32_t i = range.first; i < range.first + range.count; ++i) {
        for (std::uint32_t a = g.offsets[i]; a < g.offsets[i + 1]; ++a) {
          const auto from = values.begin() + (g.rows[i] * b.k + g.ranks[a]) * hidden;
          payload.insert(payload.end(), from, from + hidden);
        }
      }
      const std::int64_t before = table.missing();
      const std::int64_t placed = table.place(g, range, payload.data(), hidden);
      ASSERT_EQ(table.missing(), before - placed);
    }
    ASSERT_TRUE(table.complete());

    std::vector<float> y(static_cast<std::size_t>(b.rows * hidden), 99.0F);
    const std::int64_t half = b.rows / 2;
    combine(
        half, b.rows - half, b.k, hidden, weights.data(), table.pointers(), y.data(), accumulate);
    combine(0, half, b.k, hidden, weights.data(), table.pointers(), y.data(), accumulate);
    for (std::int64_t row = 0; row < b.rows; ++row) {
      for (std::int64_t h = 0; h < hidden; ++h) {
        float expected = 0.0F;
        for (std::int64_t rank = 0; rank < b.k; ++rank) {
          const std::int64_t at = row * b.k + rank;
          expected = std::fma(weights[at], values[at * hidden + h], expected);
        }
        ASSERT_EQ(std::bit_cast<std::uint32_t>(y[row * hidden + h]),
                  std::bit_cast<std::uint32_t>(expected));
      }
    }
  }
}

TEST(combine, the_first_answer_wins) {
  const std::uint32_t expert = 4;
  const group_id target{0};
  const dispatch_plan plan = plan_dispatch(1, 1, 1, &expert, &target);
  const send_range all{.slot = 0, .first = 0, .count = 1};
  const float first = 1.0F;
  const float second = 2.0F;
  answer_table table{1, 1};
  EXPECT_EQ(table.place(plan.groups[0], all, &first, 1), 1);
  EXPECT_EQ(table.place(plan.groups[0], all, &second, 1), 0);
  EXPECT_EQ(table.pointers()[0], &first);
}

TEST(combine, refuses_to_sum_a_missing_answer) {
  const answer_table table{1, 1};
  const float weight = 1.0F;
  float y = 0.0F;
  EXPECT_FALSE(table.complete());
  EXPECT_DEATH(combine(0, 1, 1, 1, &weight, table.pointers(), &y, accumulate), "");
}

}  // namespace
}  // namespace atl::experts
