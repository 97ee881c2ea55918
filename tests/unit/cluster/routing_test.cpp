#include "cluster/routing.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

namespace atl::cluster {
namespace {

using experts::replica;

constexpr layer_index layer{3};

experts::expert_map map_of(const std::vector<std::vector<replica>>& by_expert) {
  const experts::expert_shape shape{.layers = {layer},
                                    .experts = static_cast<std::uint32_t>(by_expert.size())};
  std::uint32_t groups = 0;
  for (const auto& copies : by_expert)
    for (const replica& r : copies) groups = std::max(groups, r.group.value + 1);
  auto map = experts::expert_map::make(epoch{1}, shape, groups, by_expert);
  EXPECT_TRUE(map.has_value());
  return std::move(*map);
}

replica copy(std::uint32_t group, std::uint32_t share) { return {group_id{group}, share}; }

struct asked {
  avoided_groups avoid = {};
  std::vector<group_estimate> expected = {};
  double factor = capacity_factor_default;
  std::uint64_t call = 1;
};

/// Each of `chosen` is the only expert of a row.
std::vector<group_id> targets_of(const experts::expert_map& map,
                                 const std::vector<std::uint32_t>& chosen,
                                 const asked& a = {}) {
  std::vector<std::uint32_t> pairs(chosen.size());
  std::iota(pairs.begin(), pairs.end(), 0U);
  std::vector<group_id> targets(chosen.size(), group_id{12345});
  route({map, a.avoid, a.expected, a.factor}, layer, a.call, pairs, chosen.data(), targets.data());
  return targets;
}

std::map<std::uint32_t, int> counted(const std::vector<group_id>& targets) {
  std::map<std::uint32_t, int> counts;
  for (const group_id g : targets) ++counts[g.value];
  return counts;
}

/// Rows that each group gets of `calls` calls.
std::map<std::uint32_t, int> counted(const experts::expert_map& map,
                                     const std::vector<std::uint32_t>& chosen,
                                     asked a,
                                     int calls) {
  std::map<std::uint32_t, int> all;
  for (int i = 0; i < calls; ++i) {
    a.call = static_cast<std::uint64_t>(i);
    for (const auto& [group, rows] : counted(targets_of(map, chosen, a))) all[group] += rows;
  }
  return all;
}

const std::vector<replica> three{copy(0, 1), copy(4, 2), copy(7, 5)};

TEST(routing, rows_follow_shares_where_all_are_as_quick) {
  const auto map = map_of({three});
  const auto rows = counted(map, {0}, {}, 80'000);
  // Six standard deviations of a binomial count are below 900.
  EXPECT_NEAR(rows.at(0), 10'000, 900);
  EXPECT_NEAR(rows.at(4), 20'000, 900);
  EXPECT_NEAR(rows.at(7), 50'000, 900);
}

TEST(routing, the_same_call_is_routed_the_same_way) {
  const auto map = map_of({three, three});
  const std::vector<std::uint32_t> chosen(300, 1);
  asked a;
  a.call = 7;
  a.expected = {{group_id{0}, 10, 1}, {group_id{4}, 0, 2}, {group_id{7}, 5, 1}};
  const auto first = targets_of(map, chosen, a);
  EXPECT_EQ(targets_of(map, chosen, a), first);
  std::size_t others = 0;
  for (a.call = 8; a.call < 40; ++a.call) others += targets_of(map, chosen, a) != first ? 1 : 0;
  EXPECT_GT(others, 16U);
}

TEST(routing, targets_hold_the_expert) {
  const experts::expert_shape shape{.layers = {layer}, .experts = 12};
  std::vector<experts::group_place> places;
  for (std::uint32_t i = 0; i < 5; ++i)
    places.push_back({.group = group_id{i}, .node = node_id{i}});
  const auto map = experts::spread_evenly(epoch{1}, shape, places, 2);
  ASSERT_TRUE(map.has_value());
  std::vector<std::uint32_t> chosen;
  for (std::uint32_t i = 0; i < 1200; ++i) chosen.push_back(i % 12);
  const auto targets = targets_of(*map, chosen);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const auto copies = map->replicas(layer, expert_index{chosen[i]});
    EXPECT_TRUE(targets[i] == copies[0].group || targets[i] == copies[1].group);
  }
  const std::vector<std::uint32_t> some{2, 3, 17};
  std::vector<group_id> of_some(some.size());
  const avoided_groups none;
  const routing_state state{*map, none, {}, 1.2};
  route(state, layer, 9, some, chosen.data(), of_some.data());
  for (std::size_t i = 0; i < some.size(); ++i) {
    const auto copies = map->replicas(layer, expert_index{chosen[some[i]]});
    EXPECT_TRUE(of_some[i] == copies[0].group || of_some[i] == copies[1].group);
  }
  EXPECT_DEATH(route(state, layer_index{0}, 9, some, chosen.data(), of_some.data()), "");
}

TEST(routing, a_group_at_half_the_speed_gets_about_half_the_rows) {
  // 40 experts of a few rows each, every one on both groups; the balancer knows nothing yet.
  const std::vector<replica> both{copy(0, 1024), copy(1, 1024)};
  const auto map = map_of(std::vector<std::vector<replica>>(40, both));
  std::vector<std::uint32_t> chosen;
  for (std::uint32_t row = 0; row < 240; ++row) chosen.push_back(row % 40);
  asked a;
  a.expected = {{group_id{0}, 0, 1000}, {group_id{1}, 0, 2000}};
  const auto rows = counted(map, chosen, a, 200);
  const double half = static_cast<double>(rows.at(1)) / rows.at(0);
  EXPECT_GT(half, 0.45);
  EXPECT_LT(half, 0.6);
  // Equal ones share the rows of each call almost evenly.
  a.expected[1].pair_ns = 1000;
  for (a.call = 0; a.call < 50; ++a.call) {
    const auto even = counted(targets_of(map, chosen, a));
    EXPECT_NEAR(even.at(0), 120, 12);
  }
}

TEST(routing, who_is_far_or_has_much_to_do_gets_less_and_never_nothing) {
  const std::vector<replica> both{copy(0, 1), copy(1, 1)};
  const auto map = map_of(std::vector<std::vector<replica>>(8, both));
  std::vector<std::uint32_t> chosen(8);
  std::iota(chosen.begin(), chosen.end(), 0U);
  asked a;
  a.expected = {{group_id{0}, 1e9, 1000}, {group_id{1}, 1000, 1000}};
  const auto rows = counted(map, chosen, a, 2000);
  // Both draws fall on it for a quarter of the blocks: so it is heard of again.
  EXPECT_NEAR(rows.at(0), 4000, 400);
}

TEST(routing, the_capacity_factor_bounds_what_a_replica_gets) {
  const std::vector<replica> copies{copy(0, 1), copy(1, 1), copy(2, 2)};
  const auto map = map_of({copies});
  for (const std::uint32_t rows : {64U, 100U, 1000U, 4096U}) {
    for (const double factor : {1.0, 1.2, 2.0}) {
      asked a;
      a.factor = factor;
      // Group 2 would be done last by far.
      a.expected = {{group_id{0}, 0, 1}, {group_id{1}, 0, 1}, {group_id{2}, 1e12, 1}};
      for (a.call = 0; a.call < 20; ++a.call) {
        const auto got = counted(targets_of(map, std::vector<std::uint32_t>(rows, 0), a));
        int sum = 0;
        for (const auto& [group, count] : got) {
          const double fair = rows * (group == 2 ? 0.5 : 0.25);
          EXPECT_LE(count, std::max(std::ceil(factor * fair), 16.0)) << rows << " " << factor;
          sum += count;
        }
        EXPECT_EQ(sum, static_cast<int>(rows));
        EXPECT_EQ(got.count(12345), 0U);
      }
    }
  }
  // At the edge: two equal copies and a factor of 1 get half each, to the row.
  const auto two = map_of({{copy(0, 3), copy(1, 3)}});
  asked a;
  a.factor = 1;
  a.expected = {{group_id{0}, 0, 1}, {group_id{1}, 1e12, 1}};
  const auto got = counted(targets_of(two, std::vector<std::uint32_t>(96, 0), a));
  EXPECT_EQ(got.at(0), 48);
  EXPECT_EQ(got.at(1), 48);
  // A little more and it is whole blocks again: three quarters of the draws find the quicker one.
  a.factor = 1.34;
  int most = 0;
  for (a.call = 0; a.call < 50; ++a.call)
    most = std::max(most, counted(targets_of(two, std::vector<std::uint32_t>(96, 0), a)).at(0));
  EXPECT_EQ(most, 64);
}

TEST(routing, up_to_sixteen_rows_of_an_expert_stay_together) {
  const auto map = map_of({{copy(0, 1), copy(1, 1)}, {copy(0, 1), copy(1, 1)}});
  for (std::uint64_t call = 0; call < 50; ++call) {
    asked a;
    a.call = call;
    std::vector<std::uint32_t> chosen(16, 0);
    chosen.insert(chosen.end(), 5, 1);
    const auto targets = targets_of(map, chosen, a);
    EXPECT_EQ(counted({targets.begin(), targets.begin() + 16}).size(), 1U);
    EXPECT_EQ(counted({targets.begin() + 16, targets.end()}).size(), 1U);
  }
}

TEST(routing, groups_that_are_gone_get_nothing_and_the_rest_keep_their_ratio) {
  const auto map = map_of({three});
  asked a;
  a.avoid.gone = {group_id{4}};
  const auto rows = counted(map, {0}, a, 60'000);
  EXPECT_EQ(rows.count(4), 0U);
  EXPECT_NEAR(rows.at(0), 10'000, 900);
  EXPECT_NEAR(rows.at(7), 50'000, 900);
}

TEST(routing, shunned_groups_get_rows_only_where_no_other_copy_is) {
  const auto map = map_of({three, {}});
  const std::vector<std::uint32_t> rows(200, 0);
  asked a;
  a.avoid.shunned = {group_id{0}, group_id{4}};
  EXPECT_EQ(counted(targets_of(map, rows, a)), (std::map<std::uint32_t, int>{{7, 200}}));
  a.avoid.gone = {group_id{7}};
  EXPECT_EQ(counted(targets_of(map, rows, a)).count(7), 0U);
  a.avoid.gone = {group_id{0}, group_id{4}, group_id{7}};
  EXPECT_EQ(targets_of(map, {0, 1}, a), std::vector<group_id>(2, experts::no_group));
  EXPECT_EQ(targets_of(map, {1}), std::vector<group_id>(1, experts::no_group));
}

}  // namespace
}  // namespace atl::cluster
