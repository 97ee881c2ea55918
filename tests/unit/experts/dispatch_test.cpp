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
#include <numeric>
#include <vector>

namespace atl::experts {
namespace {

/// A plan of all (row, rank) of a batch.
std::vector<group_plan> plan_all(std::int64_t rows,
                                 std::int64_t k,
                                 const std::vector<std::uint32_t>& experts,
                                 const std::vector<group_id>& targets) {
  std::vector<std::uint32_t> pairs(static_cast<std::size_t>(rows * k));
  std::iota(pairs.begin(), pairs.end(), 0U);
  return plan_dispatch(k, pairs, experts.data(), targets.data());
}

const accumulate_function accumulate = kernels::row_kernels::make(*kernels::best_isa()).accumulate;

const kernels::row_codec plain = kernels::row_codec::make(*kernels::best_isa(), tensor::dtype::f32);

const std::byte* bytes_of(const float* row) { return reinterpret_cast<const std::byte*>(row); }

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
  const auto plan = plan_all(2, 3, experts, targets);
  ASSERT_EQ(plan.size(), 2U);
  EXPECT_EQ(plan[0].group, group_id{0});
  EXPECT_EQ(plan[0].rows, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(plan[0].offsets, (std::vector<std::uint32_t>{0, 1, 4}));
  EXPECT_EQ(plan[0].experts, (std::vector<std::uint32_t>{1, 2, 3, 4}));
  EXPECT_EQ(plan[0].ranks, (std::vector<std::uint32_t>{1, 0, 1, 2}));
  EXPECT_EQ(plan[1].group, group_id{2});
  EXPECT_EQ(plan[1].rows, (std::vector<std::uint32_t>{0}));
  EXPECT_EQ(plan[1].offsets, (std::vector<std::uint32_t>{0, 2}));
  EXPECT_EQ(plan[1].experts, (std::vector<std::uint32_t>{9, 8}));
  EXPECT_EQ(plan[1].ranks, (std::vector<std::uint32_t>{0, 2}));
}

TEST(dispatch_plan, covers_every_choice_once_and_sends_a_row_once_per_group) {
  random_source random{71};
  for (int round = 0; round < 500; ++round) {
    const batch b = random_batch(random);
    const auto plan = plan_all(b.rows, b.k, b.experts, b.targets);
    std::vector<int> seen(b.experts.size(), 0);
    for (std::size_t slot = 0; slot < plan.size(); ++slot) {
      const group_plan& g = plan[slot];
      if (slot > 0) {
        ASSERT_LT(plan[slot - 1].group, g.group);
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

TEST(dispatch_plan, plans_some_of_the_pairs_and_leaves_out_what_has_no_group) {
  const std::vector<std::uint32_t> experts{9, 1, 8, 2, 3, 4};
  const std::vector<std::uint32_t> pairs{1, 2, 4, 5};
  // Ids may be as large as they like.
  const group_id far{0xFFFF'FFF0};
  const std::vector<group_id> targets{far, no_group, far, group_id{3}};
  const auto plan = plan_dispatch(3, pairs, experts.data(), targets.data());
  ASSERT_EQ(plan.size(), 2U);
  EXPECT_EQ(plan[0].group, group_id{3});
  EXPECT_EQ(plan[0].rows, (std::vector<std::uint32_t>{1}));
  EXPECT_EQ(plan[0].experts, (std::vector<std::uint32_t>{4}));
  EXPECT_EQ(plan[0].ranks, (std::vector<std::uint32_t>{2}));
  EXPECT_EQ(plan[1].group, far);
  EXPECT_EQ(plan[1].rows, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(plan[1].offsets, (std::vector<std::uint32_t>{0, 1, 2}));
  EXPECT_EQ(plan[1].experts, (std::vector<std::uint32_t>{1, 3}));
  EXPECT_EQ(plan[1].ranks, (std::vector<std::uint32_t>{1, 1}));
  EXPECT_TRUE(plan_dispatch(3, {}, experts.data(), targets.data()).empty());
}

TEST(dispatch_plan, refuses_pairs_out_of_order) {
  const std::vector<std::uint32_t> experts{1, 2};
  const std::vector<std::uint32_t> pairs{1, 0};
  const std::vector<group_id> targets{group_id{3}, group_id{3}};
  EXPECT_DEATH((void)plan_dispatch(1, pairs, experts.data(), targets.data()), "");
}

TEST(credits, are_kept_per_group_and_bounded) {
  credit_ledger ledger{10};
  ledger.take(group_id{0}, 7);
  EXPECT_EQ(ledger.free(group_id{0}), 3U);
  EXPECT_EQ(ledger.free(group_id{1}), 10U);
  EXPECT_DEATH(ledger.take(group_id{0}, 4), "");
  EXPECT_DEATH(ledger.give_back(group_id{0}, 8), "");
  const group_id far{0xFFFF'FFF0};
  EXPECT_EQ(ledger.free(far), 10U);
  EXPECT_DEATH(ledger.give_back(far, 1), "");
  ledger.give_back(group_id{0}, 7);
  EXPECT_EQ(ledger.free(group_id{0}), 10U);
}

struct sent_rows {
  const group_plan* plan;
  send_range range;
};

/// Sends a whole plan in ranges, some of it twice, and lets the answers arrive in random order.
TEST(combine, gives_the_same_bits_whatever_came_first) {
  random_source random{72};
  constexpr std::int64_t hidden = 5;
  for (int round = 0; round < 200; ++round) {
    const batch b = random_batch(random);
    std::vector<float> weights(b.experts.size());
    std::vector<float> values(b.experts.size() * hidden);
    for (float& w : weights) w = static_cast<float>(random.normal());
    for (float& v : values) v = static_cast<float>(random.normal());

    const auto plan = plan_all(b.rows, b.k, b.experts, b.targets);
    answer_table table{b.rows, b.k};
    std::vector<sent_rows> sent;
    for (const group_plan& g : plan) {
      // Some groups are asked twice: two plans of the same rows.
      for (std::uint64_t copy = 0; copy < 1 + random.below(2); ++copy) {
        table.expect(g);
        for (std::uint32_t at = 0; at < g.rows.size();) {
          const auto left = static_cast<std::uint32_t>(g.rows.size()) - at;
          const auto count = 1 + static_cast<std::uint32_t>(random.below(left));
          sent.push_back({&g, {at, count}});
          at += count;
        }
      }
    }
    for (std::size_t i = sent.size(); i > 1; --i) std::swap(sent[i - 1], sent[random.below(i)]);
    std::vector<std::vector<float>> payloads;
    for (const auto& [of, range] : sent) {
      const group_plan& g = *of;
      std::vector<float>& payload = payloads.emplace_back();
      for (std::uint32_t i = range.first; i < range.first + range.count; ++i) {
        for (std::uint32_t a = g.offsets[i]; a < g.offsets[i + 1]; ++a) {
          const auto from = values.begin() + (g.rows[i] * b.k + g.ranks[a]) * hidden;
          payload.insert(payload.end(), from, from + hidden);
        }
      }
      const std::int64_t before = table.missing();
      const std::int64_t placed =
          table.place(g, range, bytes_of(payload.data()), hidden * sizeof(float));
      ASSERT_EQ(table.missing(), before - placed);
    }
    ASSERT_TRUE(table.complete());

    std::vector<float> y(static_cast<std::size_t>(b.rows * hidden), 99.0F);
    const std::int64_t half = b.rows / 2;
    combine(half,
            b.rows - half,
            b.k,
            hidden,
            weights.data(),
            table.pointers(),
            plain,
            y.data(),
            accumulate);
    combine(0, half, b.k, hidden, weights.data(), table.pointers(), plain, y.data(), accumulate);
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
  const auto plan = plan_all(1, 1, {4}, {group_id{0}});
  const send_range all{.first = 0, .count = 1};
  const float first = 1.0F;
  const float second = 2.0F;
  answer_table table{1, 1};
  table.expect(plan[0]);
  table.expect(plan[0]);
  EXPECT_EQ(table.place(plan[0], all, bytes_of(&first), sizeof(float)), 1);
  EXPECT_EQ(table.place(plan[0], all, bytes_of(&second), sizeof(float)), 0);
  EXPECT_EQ(table.pointers()[0], bytes_of(&first));
  EXPECT_DEATH(table.place(plan[0], all, bytes_of(&second), sizeof(float)), "");
}

TEST(combine, knows_what_is_open_and_from_how_many_places_it_may_come) {
  // Three rows of two ranks: group 0 gets rank 0 of all, group 1 rank 1.
  const auto plan =
      plan_all(3,
               2,
               {1, 2, 1, 2, 1, 2},
               {group_id{0}, group_id{1}, group_id{0}, group_id{1}, group_id{0}, group_id{1}});
  const send_range all{.first = 0, .count = 3};
  const send_range last{.first = 1, .count = 2};
  using pairs = std::vector<std::uint32_t>;
  answer_table table{3, 2};
  table.expect(plan[0]);
  table.expect(plan[1]);
  EXPECT_EQ(table.open_pairs(plan[0], all, 1), (pairs{0, 2, 4}));
  EXPECT_EQ(table.open_pairs(plan[0], all, 0), pairs{});
  table.give_up(plan[0], last);
  EXPECT_EQ(table.open_pairs(plan[0], all, 0), (pairs{2, 4}));
  // Another group is asked for row 1 alone.
  const std::vector<std::uint32_t> experts{1, 2, 1, 2, 1, 2};
  const pairs one{2};
  const group_id other{7};
  const auto again = plan_dispatch(2, one, experts.data(), &other);
  table.expect(again[0]);
  EXPECT_EQ(table.open_pairs(plan[0], all, 0), (pairs{4}));
  EXPECT_EQ(table.open_pairs(plan[0], last, 1), (pairs{2, 4}));
  const float answer = 3.0F;
  EXPECT_EQ(table.place(again[0], {.first = 0, .count = 1}, bytes_of(&answer), sizeof(float)), 1);
  EXPECT_EQ(table.open_pairs(plan[0], all, 2), (pairs{0, 4}));
  EXPECT_TRUE(table.has_open(plan[0], last));
  EXPECT_FALSE(table.has_open(again[0], {.first = 0, .count = 1}));
  EXPECT_EQ(table.missing(), 5);
}

TEST(combine, refuses_to_sum_a_missing_answer) {
  const answer_table table{1, 1};
  const float weight = 1.0F;
  float y = 0.0F;
  EXPECT_FALSE(table.complete());
  EXPECT_DEATH(combine(0, 1, 1, 1, &weight, table.pointers(), plain, &y, accumulate), "");
}

}  // namespace
}  // namespace atl::experts
