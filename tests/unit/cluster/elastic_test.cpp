#include "cluster/elastic/elastic.hpp"
#include "runtime/base/random.hpp"
#include "tests/unit/cluster/elastic_world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace atl::cluster {
namespace {

TEST(elastic, even_load_on_an_even_placement_needs_nothing) {
  for (const std::size_t nodes : {1U, 3U, 8U}) {
    elastic_input in = world(4, 24, nodes, 120 / nodes);
    set_loads(in, [](std::size_t, std::size_t) { return 100.0; });
    spread(in);
    const auto plan = plan_elastic(in);
    ASSERT_TRUE(plan) << plan.error().message();
    EXPECT_FALSE(plan->has_work()) << plan->sentences.front();
    EXPECT_NEAR(plan->hottest_after(), 1, 0.3);
    EXPECT_EQ(plan->sentences.front(), "nothing to do");
  }
}

TEST(elastic, zipf_loads_are_balanced_with_a_quarter_of_spare_slots) {
  constexpr std::size_t layers = 2;
  constexpr std::size_t experts = 64;
  constexpr std::size_t nodes = 8;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    elastic_input in = world(layers, experts, nodes, layers * experts * 5 / 4 / nodes);
    zipf_loads(in, seed, 1.0);
    spread(in);
    const auto plan = plan_elastic(in);
    ASSERT_TRUE(plan) << plan.error().message();
    expect_sound(in, *plan);
    for (std::size_t l = 0; l < layers; ++l) {
      EXPECT_LE(plan->layers[l].after, 1.15) << "seed " << seed;
      EXPECT_NEAR(hottest_of(in, plan->target, l), plan->layers[l].after, 0.02);
    }
    EXPECT_GT(plan->hottest_before(), 1.15);
  }
}

TEST(elastic, unequal_speeds_finish_near_the_bound) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    elastic_input in = world(2, 64, 9, 20);
    for (std::size_t j = 0; j < 9; ++j) {
      in.groups[j].speed = j % 3 == 0 ? 1 : j % 3 == 1 ? 2 : 4;
      in.groups[j].capacity = 10 + 10 * static_cast<std::size_t>(in.groups[j].speed);
    }
    zipf_loads(in, seed, 0.8);
    spread(in);
    const auto plan = plan_elastic(in);
    ASSERT_TRUE(plan) << plan.error().message();
    expect_sound(in, *plan);
    for (std::size_t l = 0; l < 2; ++l)
      EXPECT_LE(hottest_of(in, plan->target, l), 1.05) << "seed " << seed;
  }
}

TEST(elastic, what_is_wanted_twice_stays_in_two_domains) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    elastic_input in = world(2, 24, 6, 24);
    in.copies = 2;
    for (std::size_t j = 0; j < 6; ++j) in.groups[j].domain = "rack-" + std::to_string(j % 3);
    zipf_loads(in, seed, 1.2);
    spread(in);
    const auto plan = plan_elastic(in);
    ASSERT_TRUE(plan) << plan.error().message();
    expect_sound(in, *plan);
    for (const auto& copies : plan->target) {
      std::set<std::uint32_t> racks;
      for (const auto& r : copies) racks.insert(r.group.value % 3);
      EXPECT_GE(copies.size(), 2U);
      EXPECT_GE(racks.size(), 2U) << "seed " << seed;
    }
  }
}

expert_copy copy_at(std::uint32_t group, std::uint32_t layer, std::uint32_t expert) {
  return {.group = group_id{group}, .layer = layer_index{layer}, .expert = expert_index{expert}};
}

bool holds(const elastic_input& in, const elastic_plan& plan, const expert_copy& c) {
  const std::size_t i = (c.layer.value - 3) * in.shape.experts + c.expert.value;
  return std::any_of(plan.target[i].begin(), plan.target[i].end(), [&](const auto& r) {
    return r.group == c.group;
  });
}

TEST(elastic, operators_come_first) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    elastic_input in = world(2, 16, 4, 12);
    zipf_loads(in, seed, 1.2);
    spread(in);
    in.copies_of.resize(32);
    in.copies_of[2] = 3;
    in.copies_of[16 + 4] = 1;  // however hot
    in.copies_of[16 + 5] = 0;
    in.loads[16 + 4] = {.fast = 5000, .slow = 5000};
    in.pinned = {copy_at(3, 3, 0), copy_at(1, 4, 9)};
    const group_id there = in.present[7].front().group;
    in.unwanted = {{.group = there, .layer = layer_index{3}, .expert = expert_index{7}}};
    in.barred = {copy_at(2, 3, 1), copy_at(0, 4, 1)};
    const auto plan = plan_elastic(in);
    ASSERT_TRUE(plan) << plan.error().message();
    expect_sound(in, *plan);
    EXPECT_EQ(plan->target[2].size(), 3U);
    EXPECT_EQ(plan->target[16 + 4].size(), 1U);
    EXPECT_TRUE(plan->target[16 + 5].empty());
    for (const expert_copy& c : in.pinned) EXPECT_TRUE(holds(in, *plan, c)) << "seed " << seed;
    EXPECT_FALSE(holds(in, *plan, in.unwanted[0]));
    EXPECT_GE(plan->target[7].size(), 1U);
    for (const elastic_move& m : plan->moves)
      for (const expert_copy& b : in.barred) EXPECT_FALSE(m.what == b);
    // And once it is so it stays so.
    in.present = plan->target;
    const auto again = plan_elastic(in);
    ASSERT_TRUE(again);
    EXPECT_TRUE(again->moves.empty()) << again->sentences.front();
  }
}

TEST(elastic, budgets_hold_and_what_is_left_is_said) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    elastic_input in = world(3, 32, 6, 24);
    in.expert_bytes = 1000;
    zipf_loads(in, seed, 1.1);
    spread(in);
    in.limits.moved_experts_max = 5;
    auto plan = plan_elastic(in);
    ASSERT_TRUE(plan);
    expect_sound(in, *plan);
    EXPECT_LE(plan->moves.size(), 5U);
    EXPECT_LE(plan->bytes, 5000U);
    in.limits.moved_experts_max = 1000;
    in.limits.moved_bytes_max = 3999;
    plan = plan_elastic(in);
    ASSERT_TRUE(plan);
    EXPECT_LE(plan->moves.size(), 3U);
    bool has_more = false;
    for (const elastic_layer& l : plan->layers) has_more = has_more || l.best < l.after * 0.99;
    EXPECT_TRUE(has_more) << "seed " << seed;
    in.limits.moved_bytes_max = 0;
    plan = plan_elastic(in);
    ASSERT_TRUE(plan);
    EXPECT_TRUE(plan->moves.empty());
  }
}

TEST(elastic, drains_hand_over_and_holes_are_filled) {
  elastic_input in = world(2, 16, 4, 16);
  zipf_loads(in, 1, 0.5);
  spread(in);
  in.groups[1].intake = node_intake::draining;
  auto plan = plan_elastic(in);
  ASSERT_TRUE(plan);
  expect_sound(in, *plan);
  for (const auto& copies : plan->target)
    for (const auto& r : copies) EXPECT_NE(r.group, group_id{1});
  in.groups.erase(in.groups.begin() + 1);
  in.limits.moved_experts_max = 0;
  plan = plan_elastic(in);
  ASSERT_TRUE(plan);
  expect_sound(in, *plan);
  EXPECT_EQ(plan->moves.size(), 8U);
  for (const elastic_move& m : plan->moves) EXPECT_EQ(m.reason, elastic_reason::missing);
  EXPECT_TRUE(std::isinf(plan->hottest_before()));
}

TEST(elastic, groups_of_one_node_hold_no_expert_twice) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    elastic_input in = world(2, 32, 8, 10);
    for (std::size_t g = 0; g < 8; ++g)
      in.groups[g].node = node_id{static_cast<std::uint32_t>(g / 2)};
    zipf_loads(in, seed, 1.0);
    spread(in);
    const auto plan = plan_elastic(in);
    ASSERT_TRUE(plan);
    expect_sound(in, *plan);
    EXPECT_LE(plan->hottest_after(), 1.15);
  }
}

TEST(elastic, refuses_what_makes_no_sense) {
  elastic_input none = world(1, 4, 2, 4);
  none.groups.clear();
  EXPECT_FALSE(plan_elastic(none));
  elastic_input twice = world(1, 4, 2, 4);
  twice.groups[1].group = twice.groups[0].group;
  EXPECT_FALSE(plan_elastic(twice));
  elastic_input stopped = world(1, 4, 2, 4);
  stopped.groups[1].speed = 0;
  EXPECT_FALSE(plan_elastic(stopped));
  elastic_input ragged = world(1, 4, 2, 4);
  ragged.loads.pop_back();
  EXPECT_FALSE(plan_elastic(ragged));
  elastic_input small = world(1, 4, 2, 1);
  EXPECT_FALSE(plan_elastic(small));
}

}  // namespace
}  // namespace atl::cluster
