#include "experts/placement/expert_map.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

namespace atl::experts {
namespace {

expert_shape shape_of(std::uint32_t first, std::uint32_t layers, std::uint32_t experts) {
  expert_shape shape;
  for (std::uint32_t i = 0; i < layers; ++i) shape.layers.emplace_back(first + i);
  shape.experts = experts;
  return shape;
}

std::vector<group_place> places_of(std::uint32_t groups, std::uint32_t per_node) {
  std::vector<group_place> places;
  for (std::uint32_t i = 0; i < groups; ++i) {
    places.push_back({.group = group_id{i}, .node = node_id{i / per_node}});
  }
  return places;
}

replica in(std::uint32_t group, std::uint32_t share = 1) {
  return {.group = group_id{group}, .share = share};
}

errc refusal(const replica_lists& lists, std::uint32_t groups) {
  const auto made = expert_map::make(epoch{1}, shape_of(0, 1, 2), groups, lists);
  return made.has_error() ? made.error().code() : errc{};
}

TEST(expert_map, keeps_replicas_by_ascending_group) {
  const auto made =
      expert_map::make(epoch{7}, shape_of(2, 1, 2), 3, {{in(2, 5), in(0, 1)}, {in(1)}});
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(made->version(), epoch{7});
  const auto first = made->replicas(layer_index{2}, expert_index{0});
  ASSERT_EQ(first.size(), 2U);
  EXPECT_EQ(first[0], in(0, 1));
  EXPECT_EQ(first[1], in(2, 5));
  ASSERT_EQ(made->replicas(layer_index{2}, expert_index{1}).size(), 1U);
  EXPECT_TRUE(made->has_layer(layer_index{2}));
  EXPECT_FALSE(made->has_layer(layer_index{1}));
  EXPECT_FALSE(made->has_layer(layer_index{3}));
  EXPECT_DEATH((void)made->replicas(layer_index{1}, expert_index{0}), "");
  EXPECT_DEATH((void)made->replicas(layer_index{2}, expert_index{2}), "");
}

TEST(expert_map, an_expert_may_have_no_copy) {
  const auto made = expert_map::make(epoch{1}, shape_of(0, 1, 3), 2, {{in(1)}, {}, {in(0)}});
  ASSERT_TRUE(made.has_value());
  EXPECT_TRUE(made->replicas(layer_index{0}, expert_index{1}).empty());
  EXPECT_EQ(made->replicas(layer_index{0}, expert_index{2})[0], in(0));
  EXPECT_EQ(made->held_by(group_id{0}).size(), 1U);
  EXPECT_TRUE(expert_map::make(epoch{1}, shape_of(0, 1, 1), 0, {{}}).has_value());
}

TEST(expert_map, refuses_what_no_router_could_use) {
  EXPECT_EQ(refusal({{in(0)}, {in(1)}}, 2), errc{});
  EXPECT_EQ(refusal({{in(0)}}, 2), errc::invalid_argument);
  EXPECT_EQ(refusal({{in(0)}, {in(2)}}, 2), errc::invalid_argument);
  EXPECT_EQ(refusal({{in(0)}, {in(1, 0)}}, 2), errc::invalid_argument);
  EXPECT_EQ(refusal({{in(0)}, {in(1), in(0), in(1)}}, 2), errc::invalid_argument);
  EXPECT_TRUE(expert_map::make(epoch{1}, shape_of(0, 0, 2), 1, {}).has_error());
  EXPECT_TRUE(expert_map::make(epoch{1}, shape_of(0, 1, 0), 1, {}).has_error());
  expert_shape twice = shape_of(0, 1, 1);
  twice.layers.push_back(twice.layers.front());
  EXPECT_TRUE(expert_map::make(epoch{1}, twice, 1, {{in(0)}, {in(0)}}).has_error());
}

TEST(expert_map, lists_what_a_group_holds) {
  const auto map =
      expert_map::make(epoch{1}, shape_of(3, 2, 2), 2, {{in(0)}, {in(1)}, {in(0), in(1)}, {in(0)}});
  ASSERT_TRUE(map.has_value());
  const auto held = map->held_by(group_id{0});
  const std::vector<expert_map::held_expert> expected{
      {layer_index{3}, expert_index{0}},
      {layer_index{4}, expert_index{0}},
      {layer_index{4}, expert_index{1}},
  };
  EXPECT_EQ(held, expected);
}

/// Largest and smallest number of experts a group holds in a layer.
std::pair<std::size_t, std::size_t> layer_range(const expert_map& map, layer_index layer) {
  std::vector<std::size_t> counts(map.groups(), 0);
  for (std::uint32_t e = 0; e < map.shape().experts; ++e) {
    for (const replica& copy : map.replicas(layer, expert_index{e})) ++counts[copy.group.value];
  }
  return {*std::min_element(counts.begin(), counts.end()),
          *std::max_element(counts.begin(), counts.end())};
}

TEST(spread_evenly, is_balanced_and_puts_copies_in_different_groups) {
  for (const std::uint32_t experts : {1U, 3U, 16U, 64U, 65U}) {
    for (const std::uint32_t groups : {1U, 2U, 3U, 8U, 16U}) {
      for (std::uint32_t copies = 1; copies <= std::min(groups, 3U); ++copies) {
        const auto map =
            spread_evenly(epoch{1}, shape_of(1, 5, experts), places_of(groups, groups), copies);
        ASSERT_TRUE(map.has_value());
        for (const layer_index layer : map->shape().layers) {
          const auto [least, most] = layer_range(*map, layer);
          EXPECT_LE(most - least, copies) << experts << " experts in " << groups << " groups";
          for (std::uint32_t e = 0; e < experts; ++e) {
            EXPECT_EQ(map->replicas(layer, expert_index{e}).size(), copies);
          }
        }
      }
    }
  }
}

TEST(spread_evenly, remainders_go_to_different_groups_in_different_layers) {
  const auto map = spread_evenly(epoch{1}, shape_of(0, 4, 10), places_of(4, 1), 1);
  ASSERT_TRUE(map.has_value());
  for (std::uint32_t g = 0; g < 4; ++g) EXPECT_EQ(map->held_by(group_id{g}).size(), 10U);
}

TEST(spread_evenly, keeps_runs_of_experts_together) {
  const auto map = spread_evenly(epoch{1}, shape_of(0, 1, 8), places_of(4, 1), 1);
  ASSERT_TRUE(map.has_value());
  for (std::uint32_t e = 0; e < 8; ++e) {
    EXPECT_EQ(map->replicas(layer_index{0}, expert_index{e})[0].group, group_id{e / 2});
  }
}

TEST(spread_evenly, puts_copies_on_different_nodes) {
  // Nodes of 1, 4 and 1 groups.
  std::vector<group_place> places = places_of(6, 1);
  for (std::size_t i = 0; i < 6; ++i) places[i].node = node_id{i == 0 ? 0U : i < 5 ? 1U : 2U};
  const auto map = spread_evenly(epoch{1}, shape_of(0, 4, 24), places, 3);
  ASSERT_TRUE(map.has_value());
  for (std::uint32_t layer = 0; layer < 4; ++layer) {
    for (std::uint32_t e = 0; e < 24; ++e) {
      std::set<node_id> nodes;
      for (const replica& copy : map->replicas(layer_index{layer}, expert_index{e})) {
        nodes.insert(places[copy.group.value].node);
      }
      EXPECT_EQ(nodes.size(), 3U);
    }
  }
}

TEST(spread_evenly, refuses_more_copies_than_groups) {
  const auto places = places_of(2, 1);
  EXPECT_TRUE(spread_evenly(epoch{1}, shape_of(0, 1, 4), places, 2).has_value());
  EXPECT_EQ(spread_evenly(epoch{1}, shape_of(0, 1, 4), places, 3).error().code(),
            errc::invalid_argument);
  EXPECT_EQ(spread_evenly(epoch{1}, shape_of(0, 1, 4), places, 0).error().code(),
            errc::invalid_argument);
  EXPECT_EQ(spread_evenly(epoch{1}, shape_of(0, 1, 4), {}, 1).error().code(),
            errc::invalid_argument);
}

}  // namespace
}  // namespace atl::experts
