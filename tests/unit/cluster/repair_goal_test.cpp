// Plans that lead to a goal.
#include "runtime/base/random.hpp"
#include "tests/unit/cluster/repair_inputs.hpp"

#include <algorithm>
#include <set>

namespace atl::cluster {
namespace {

using groups_list = std::vector<std::uint32_t>;

/// Plans and applies until nothing is left; the number of plans with work. No plan may leave an
/// expert with fewer copies than it had or is to have, as far as there are nodes that stay.
int follow(repair_input& input) {
  const auto stay = static_cast<std::size_t>(std::count_if(
      input.holders.begin(), input.holders.end(), [](const holder& h) { return !h.drains; }));
  const std::size_t least = std::min<std::size_t>(input.copies, stay);
  for (int round = 0; round < 500; ++round) {
    const repair_plan plan = planned(input);
    if (!plan.has_work()) return round;
    for (std::size_t i = 0; i < input.present.size(); ++i)
      EXPECT_GE(plan.target[i].size(), std::min(input.present[i].size(), least)) << i;
    for (const holder& h : input.holders) {
      std::size_t held = 0;
      for (const auto& list : input.present)
        for (const replica& r : list) held += r.group == h.group ? 1 : 0;
      for (const expert_copy& c : plan.loads) held += c.group == h.group ? 1 : 0;
      EXPECT_LE(held, h.capacity);
    }
    input.present = plan.target;
  }
  ADD_FAILURE() << "does not come to rest";
  return -1;
}

/// One layer of six experts: 0 and 1 in group 0, 2 and 3 in group 1, 4 and 5 in group 2.
repair_input pairs(std::size_t capacity = 6) {
  repair_input input = nodes(3, capacity, shape_of(1, 6));
  for (std::uint32_t e = 0; e < 6; ++e) input.present[e] = {{group_id{e / 2}, 1}};
  return input;
}

TEST(repair_goal, makes_its_copies_with_its_shares_and_gives_up_others) {
  repair_input input = pairs();
  input.goal = input.present;
  input.goal[0] = {{group_id{0}, 30}, {group_id{2}, 10}};
  input.goal[2] = {{group_id{2}, 7}};
  const repair_plan plan = planned(input);
  const expert_copy made{group_id{2}, layer_index{1}, expert_index{0}};
  const expert_copy moved{group_id{2}, layer_index{1}, expert_index{2}};
  EXPECT_EQ(plan.loads, (std::vector<expert_copy>{made, moved}));
  ASSERT_EQ(plan.releases.size(), 1U);
  EXPECT_EQ(plan.releases[0], (expert_copy{group_id{1}, layer_index{1}, expert_index{2}}));
  EXPECT_EQ(plan.target[0], input.goal[0]);
  EXPECT_EQ(plan.target[2], input.goal[2]);
  EXPECT_TRUE(plan.short_of.empty());
  EXPECT_EQ(follow(input), 1);
  EXPECT_EQ(input.present, input.goal);
}

TEST(repair_goal, does_not_even_out_by_counts) {
  repair_input input = nodes(2, 8, shape_of(1, 8));
  for (auto& list : input.present) list = {{group_id{0}, 1}};
  EXPECT_TRUE(planned(input).has_work());
  input.goal = input.present;
  EXPECT_FALSE(planned(input).has_work());
  // Nor where it says nothing.
  for (auto& list : input.goal) list.clear();
  EXPECT_FALSE(planned(input).has_work());
}

TEST(repair_goal, gives_a_copy_up_only_when_there_are_as_many_as_it_has) {
  repair_input input = pairs();
  input.goal = input.present;
  input.goal[0] = {{group_id{1}, 1}};
  input.holders[1].accepts_new = false;  // for the moment
  EXPECT_FALSE(planned(input).has_work()) << "it is waited for";
  input.holders[1].accepts_new = true;
  input.holders[1].capacity = 2;
  EXPECT_FALSE(planned(input).has_work()) << "there is no room";
  input.barred = {{group_id{1}, layer_index{1}, expert_index{0}}};
  input.holders[1].capacity = 3;
  EXPECT_FALSE(planned(input).has_work()) << "it could not";
  input.barred.clear();
  EXPECT_EQ(follow(input), 1);
  EXPECT_EQ(groups_of(input.present[0]), groups_list{1});
}

TEST(repair_goal, replaces_what_is_lost_and_goes_back_when_its_place_is) {
  repair_input input = pairs();
  input.goal = input.present;
  input.goal[0] = {{group_id{0}, 1}, {group_id{1}, 1}};
  follow(input);
  // Group 1 dies: expert 0 has its two copies again, 2 and 3 one each.
  auto all = input.holders;
  input.holders.erase(input.holders.begin() + 1);
  for (auto& list : input.present)
    std::erase_if(list, [](const replica& r) { return r.group == group_id{1}; });
  follow(input);
  EXPECT_EQ(groups_of(input.present[0]), (groups_list{0, 2}));
  EXPECT_EQ(input.present[2].size(), 1U);
  EXPECT_EQ(input.present[0][1].share, 1U) << "the mean of the goal";
  input.holders = all;
  follow(input);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(input.present[i], input.goal[i]) << i;
}

TEST(repair_goal, a_drained_group_gives_all_up_whatever_the_goal) {
  repair_input input = pairs();
  input.goal = input.present;
  input.holders[0].drains = true;
  follow(input);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(input.present[i].size(), 1U);
    EXPECT_NE(input.present[i][0].group, group_id{0});
  }
  input.holders[0].drains = false;
  follow(input);
  EXPECT_EQ(input.present, input.goal);
}

TEST(repair_goal, moves_are_bounded_and_what_is_lost_comes_first) {
  repair_input input = nodes(3, 24, shape_of(2, 12));
  for (auto& list : input.present) list = {{group_id{0}, 1}};
  for (std::size_t i = 20; i < 24; ++i) input.present[i].clear();
  input.goal.assign(24, {{group_id{1}, 1}});
  input.moves_max = 5;
  const repair_plan plan = planned(input);
  EXPECT_EQ(plan.loads.size(), 9U);
  EXPECT_TRUE(plan.unplaceable.empty());
  EXPECT_EQ(follow(input), 4);
  EXPECT_EQ(input.present, input.goal);
}

TEST(repair_goal, pins_stay_and_unwanted_copies_are_not_made) {
  repair_input input = pairs();
  input.goal = input.present;
  input.goal[0] = {{group_id{1}, 1}};
  input.pinned = {{group_id{0}, layer_index{1}, expert_index{0}}};
  follow(input);
  EXPECT_EQ(groups_of(input.present[0]), (groups_list{0, 1})) << "both";
  input = pairs();
  input.goal = input.present;
  input.goal[0] = {{group_id{1}, 1}};
  input.unwanted = {{group_id{1}, layer_index{1}, expert_index{0}}};
  follow(input);
  EXPECT_EQ(groups_of(input.present[0]), groups_list{0});
}

TEST(repair_goal, a_fresh_cluster_is_placed_by_it) {
  repair_input input = pairs();
  input.goal = input.present;
  input.goal[3] = {{group_id{0}, 3}, {group_id{2}, 5}};
  for (auto& list : input.present) list.clear();
  follow(input);
  EXPECT_EQ(input.present, input.goal);
}

TEST(repair_goal, refuses_one_of_another_shape) {
  repair_input input = pairs();
  input.goal.resize(5);
  EXPECT_EQ(plan_repair(input).error().code(), errc::invalid_argument);
}

/// Wherever memory allows, every goal is reached, over deaths, drains and returns.
TEST(repair_goal, random_goals_are_reached) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    random_source random{seed};
    const auto count = 2 + static_cast<std::uint32_t>(random.below(4));
    const auto experts = 1 + static_cast<std::uint32_t>(random.below(10));
    repair_input input = nodes(count, 4 * experts, shape_of(2, experts));
    input.copies = 1 + static_cast<std::uint32_t>(random.below(2));
    input.moves_max = random.below(3);
    const auto lists = [&](bool may_be_empty) {
      experts::replica_lists all(input.present.size());
      for (auto& list : all) {
        std::set<std::uint32_t> at;
        const auto least = may_be_empty ? 0 : std::min<std::uint64_t>(input.copies, count);
        const auto copies = std::max<std::uint64_t>(least, random.below(count + 1));
        while (at.size() < copies) at.insert(static_cast<std::uint32_t>(random.below(count)));
        for (const std::uint32_t g : at)
          list.push_back({group_id{g}, 1 + static_cast<std::uint32_t>(random.below(9))});
      }
      return all;
    };
    input.present = lists(true);
    input.goal = lists(false);
    const auto gone = random.below(count);
    const auto whole = input.holders;
    if (random.below(2) == 0) {
      input.holders[gone].drains = true;
    } else {
      input.holders.erase(input.holders.begin() + static_cast<std::ptrdiff_t>(gone));
      for (auto& list : input.present)
        std::erase_if(list, [&](const replica& r) { return r.group.value == gone; });
    }
    follow(input);
    for (std::size_t i = 0; i < input.present.size(); ++i) {
      const std::size_t least = std::max<std::size_t>(input.copies, input.goal[i].size());
      EXPECT_EQ(input.present[i].size(), std::min<std::size_t>(least, count - 1));
      for (const replica& r : input.present[i]) EXPECT_NE(r.group.value, gone);
    }
    input.holders = whole;
    follow(input);
    EXPECT_EQ(input.present, input.goal);
  }
}

}  // namespace
}  // namespace atl::cluster
