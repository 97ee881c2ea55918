#include "cluster/routing.hpp"

#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <vector>

namespace atl::cluster {
namespace {

using experts::replica;

const std::vector<replica> three{{.group = group_id{0}, .share = 1},
                                 {.group = group_id{4}, .share = 2},
                                 {.group = group_id{7}, .share = 5}};

TEST(routing, shares_decide_how_many_rows_a_replica_gets) {
  std::array<int, 8> rows{};
  constexpr int draws = 80000;
  for (std::uint32_t row = 0; row < draws; ++row) {
    ++rows[choose_group(three, {}, 77, row, expert_index{3}).value];
  }
  // Six standard deviations of a binomial count are below 900.
  EXPECT_NEAR(rows[0], draws / 8, 900);
  EXPECT_NEAR(rows[4], draws / 4, 900);
  EXPECT_NEAR(rows[7], draws * 5 / 8, 900);
}

TEST(routing, a_choice_depends_on_call_row_and_expert) {
  const auto choices = [](std::uint64_t call, std::uint32_t row, std::uint32_t expert) {
    std::vector<std::uint32_t> groups;
    for (std::uint32_t i = 0; i < 64; ++i) {
      groups.push_back(choose_group(three, {}, call + i, row, expert_index{expert}).value);
    }
    return groups;
  };
  EXPECT_EQ(choices(100, 1, 2), choices(100, 1, 2));
  EXPECT_NE(choices(100, 1, 2), choices(101, 1, 2));
  EXPECT_NE(choices(100, 1, 2), choices(100, 2, 2));
  EXPECT_NE(choices(100, 1, 2), choices(100, 1, 3));
}

TEST(routing, targets_hold_the_expert) {
  const experts::expert_shape shape{.layers = {layer_index{1}, layer_index{2}}, .experts = 12};
  std::vector<experts::group_place> places;
  for (std::uint32_t i = 0; i < 5; ++i)
    places.push_back({.group = group_id{i}, .node = node_id{i}});
  const auto map = experts::spread_evenly(epoch{1}, shape, places, 2);
  ASSERT_TRUE(map.has_value());
  std::vector<std::uint32_t> chosen;
  for (std::uint32_t i = 0; i < 24; ++i) chosen.push_back(i % 12);
  std::vector<std::uint32_t> pairs(chosen.size());
  std::iota(pairs.begin(), pairs.end(), 0U);
  std::vector<group_id> targets(chosen.size());
  route(*map, layer_index{2}, 9, 4, pairs, chosen.data(), {}, targets.data());
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const auto row = static_cast<std::uint32_t>(i / 4);
    const auto copies = map->replicas(layer_index{2}, expert_index{chosen[i]});
    EXPECT_EQ(targets[i], choose_group(copies, {}, 9, row, expert_index{chosen[i]}));
    EXPECT_TRUE(targets[i] == copies[0].group || targets[i] == copies[1].group);
  }
  // Some of the pairs alone are routed as they were among all.
  const std::vector<std::uint32_t> some{2, 3, 17};
  std::vector<group_id> of_some(some.size());
  route(*map, layer_index{2}, 9, 4, some, chosen.data(), {}, of_some.data());
  for (std::size_t i = 0; i < some.size(); ++i) EXPECT_EQ(of_some[i], targets[some[i]]);
  EXPECT_DEATH(route(*map, layer_index{0}, 9, 4, pairs, chosen.data(), {}, targets.data()), "");
}

TEST(routing, groups_that_are_gone_get_nothing_and_the_rest_keep_their_ratio) {
  std::array<int, 8> rows{};
  constexpr int draws = 60000;
  const avoided_groups avoid{.gone = {group_id{4}}, .shunned = {}};
  for (std::uint32_t row = 0; row < draws; ++row)
    ++rows[choose_group(three, avoid, 77, row, expert_index{3}).value];
  EXPECT_EQ(rows[4], 0);
  EXPECT_NEAR(rows[0], draws / 6, 900);
  EXPECT_NEAR(rows[7], draws * 5 / 6, 900);
}

TEST(routing, shunned_groups_get_rows_only_where_no_other_copy_is) {
  avoided_groups avoid{.gone = {}, .shunned = {group_id{0}, group_id{4}}};
  for (std::uint32_t row = 0; row < 100; ++row)
    EXPECT_EQ(choose_group(three, avoid, 1, row, expert_index{3}), group_id{7});
  avoid.gone = {group_id{7}};
  for (std::uint32_t row = 0; row < 100; ++row)
    EXPECT_NE(choose_group(three, avoid, 1, row, expert_index{3}), group_id{7});
  avoid.gone = {group_id{0}, group_id{4}, group_id{7}};
  EXPECT_EQ(choose_group(three, avoid, 1, 0, expert_index{3}), experts::no_group);
  EXPECT_EQ(choose_group({}, {}, 1, 0, expert_index{3}), experts::no_group);
}

}  // namespace
}  // namespace atl::cluster
