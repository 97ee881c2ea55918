#include "cluster/group_directory.hpp"

#include <gtest/gtest.h>

namespace atl::cluster {
namespace {

using groups = std::vector<group_id>;
using nodes = std::vector<node_id>;

constexpr node_id self{1}, two{2}, three{3};

/// Group 10 here, 20 and 21 on node 2, 30 on node 3.
group_directory seated() {
  group_directory d{self};
  const std::vector<group_directory::seated_group> all{{group_id{10}, {self, 0}},
                                                       {group_id{20}, {two, 0}},
                                                       {group_id{21}, {two, 1}},
                                                       {group_id{30}, {three, 0}}};
  d.seat_groups(all);
  return d;
}

std::vector<listed_node> members(std::uint64_t life_of_two, std::uint64_t life_of_three) {
  return {
      {self, incarnation{1}}, {two, incarnation{life_of_two}}, {three, incarnation{life_of_three}}};
}

TEST(group_directory, all_are_used_while_nothing_is_known) {
  const auto d = seated();
  EXPECT_TRUE(d.avoided().gone.empty());
  EXPECT_TRUE(d.avoided().shunned.empty());
  EXPECT_EQ(d.find(group_id{21})->node, two);
  EXPECT_EQ(d.find(group_id{21})->slot, 1U);
  EXPECT_FALSE(d.find(group_id{22}).has_value());
}

TEST(group_directory, a_suspect_is_shunned_until_it_is_alive_again) {
  auto d = seated();
  d.list(members(5, 5));
  const auto seen = d.note(two, incarnation{5}, node_health::suspect);
  EXPECT_TRUE(seen.is_any);
  EXPECT_FALSE(seen.is_lost);
  EXPECT_EQ(d.avoided().shunned, (groups{group_id{20}, group_id{21}}));
  EXPECT_TRUE(d.avoided().gone.empty());
  EXPECT_TRUE(d.list(members(5, 5)).empty());  // a list changes no suspicion
  EXPECT_EQ(d.avoided().shunned.size(), 2U);
  EXPECT_TRUE(d.note(two, incarnation{5}, node_health::alive).is_any);
  EXPECT_TRUE(d.avoided().shunned.empty());
}

TEST(group_directory, a_lost_path_that_is_back_is_used_again) {
  auto d = seated();
  d.list(members(5, 5));
  EXPECT_TRUE(d.note(two, incarnation{5}, node_health::dead).is_lost);
  EXPECT_FALSE(d.note(two, incarnation{5}, node_health::dead).is_lost);
  EXPECT_FALSE(d.note(two, incarnation{4}, node_health::alive).is_any);
  EXPECT_TRUE(d.list(members(5, 5)).empty());
  EXPECT_EQ(d.avoided().gone, (groups{group_id{20}, group_id{21}}));
  EXPECT_TRUE(d.note(two, incarnation{5}, node_health::alive).is_any);
  EXPECT_TRUE(d.avoided().gone.empty());
}

TEST(group_directory, a_listed_death_is_final_for_its_life) {
  auto d = seated();
  d.list(members(5, 5));
  auto dead = members(5, 5);
  for (auto& m : dead) m.is_dead = m.node == two;
  EXPECT_EQ(d.list(dead), (nodes{two}));
  EXPECT_FALSE(d.note(two, incarnation{5}, node_health::alive).is_any);
  EXPECT_EQ(d.avoided().gone, (groups{group_id{20}, group_id{21}}));
  EXPECT_TRUE(d.list(members(6, 5)).empty());
  EXPECT_TRUE(d.avoided().gone.empty());
  EXPECT_FALSE(d.note(two, incarnation{5}, node_health::dead).is_any);  // of the life before
  EXPECT_TRUE(d.avoided().gone.empty());
}

TEST(group_directory, a_new_life_means_that_the_one_before_is_lost) {
  auto d = seated();
  d.list(members(5, 5));
  EXPECT_EQ(d.list(members(6, 5)), (nodes{two}));
  EXPECT_TRUE(d.note(three, incarnation{9}, node_health::alive).is_lost);
  // The list is behind: nobody that could be used until it names that life.
  EXPECT_TRUE(d.list(members(6, 5)) == (nodes{three}));
  EXPECT_EQ(d.avoided().gone, (groups{group_id{30}}));
  EXPECT_TRUE(d.list(members(6, 9)).empty());
  EXPECT_TRUE(d.avoided().gone.empty());
}

TEST(group_directory, who_leaves_the_list_is_gone_until_it_is_in_one) {
  auto d = seated();
  d.list(members(5, 5));
  const std::vector<listed_node> without{{self, incarnation{1}}, {three, incarnation{5}}};
  EXPECT_EQ(d.list(without), (nodes{two}));
  EXPECT_TRUE(d.list(without).empty());
  EXPECT_EQ(d.avoided().gone, (groups{group_id{20}, group_id{21}}));
  EXPECT_TRUE(d.list(members(5, 5)).empty());
  EXPECT_TRUE(d.avoided().gone.empty());
  auto dead = members(5, 5);
  dead[2].is_dead = true;
  EXPECT_EQ(d.list(dead), (nodes{three}));
  EXPECT_EQ(d.avoided().gone, (groups{group_id{30}}));
}

TEST(group_directory, the_own_node_is_always_used) {
  auto d = seated();
  const std::vector<listed_node> without{{two, incarnation{5}}};
  d.list(without);
  EXPECT_FALSE(d.note(self, incarnation{1}, node_health::dead).is_lost);
  EXPECT_EQ(d.avoided().gone, (groups{group_id{30}}));
  EXPECT_TRUE(d.is_trusted(self));
}

TEST(group_directory, a_second_copy_is_asked_on_another_node_that_is_trusted) {
  auto d = seated();
  d.list(members(5, 5));
  EXPECT_EQ(d.avoided_beside(two).gone, (groups{group_id{20}, group_id{21}}));
  d.note(three, incarnation{5}, node_health::suspect);
  EXPECT_EQ(d.avoided_beside(two).gone, (groups{group_id{20}, group_id{21}, group_id{30}}));
  EXPECT_TRUE(d.avoided_beside(two).shunned.empty());
}

}  // namespace
}  // namespace atl::cluster
