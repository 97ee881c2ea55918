// Copies that were asked for one by one.
#include "tests/unit/cluster/repair_inputs.hpp"

#include <algorithm>

namespace atl::cluster {
namespace {

TEST(repair_plan, keeps_the_copies_that_each_expert_is_to_have) {
  auto input = nodes(4, 100, shape_of(1, 8));
  input.copies = 2;
  input.copies_of.assign(8, 2);
  input.copies_of[3] = 4;
  input.copies_of[5] = 0;
  const auto plan = planned(input);
  for (std::size_t i = 0; i < 8; ++i)
    EXPECT_EQ(plan.target[i].size(), i == 3 ? 4U : 2U) << "a first placement puts all; " << i;
  input.present = plan.target;
  input.present[5].clear();
  const auto next = planned(input);
  EXPECT_EQ(next.target[3].size(), 4U);
  EXPECT_TRUE(next.target[5].empty());
  EXPECT_TRUE(next.unplaceable.empty());
  EXPECT_TRUE(next.short_of.empty());
}

TEST(repair_plan, a_pinned_copy_takes_the_place_of_one_that_is_not_wanted) {
  auto input = nodes(4, 100, shape_of(1, 6));
  input.copies = 2;
  input.present = planned(input).target;
  const auto before = groups_of(input.present[0]);
  const expert_index first{0};
  input.unwanted = {{group_id{before[0]}, layer_index{1}, first}};
  // Where nobody would put it unasked.
  const auto unasked = planned(input);
  ASSERT_EQ(unasked.loads.size(), 1U);
  std::uint32_t to = 0;
  while (group_id{to} == unasked.loads[0].group ||
         std::find(before.begin(), before.end(), to) != before.end())
    ++to;
  ASSERT_LT(to, 4U);
  input.pinned = {{group_id{to}, layer_index{1}, first}};
  const auto plan = planned(input);
  EXPECT_EQ(plan.loads, input.pinned);
  EXPECT_EQ(plan.releases, input.unwanted);
  // Where it does not fit, it goes elsewhere.
  input.holders[to].capacity = 0;
  EXPECT_EQ(planned(input).loads, unasked.loads);
}

TEST(repair_plan, pinned_copies_stay_where_evenness_would_move_them) {
  auto input = nodes(2, 100, shape_of(1, 8));
  for (std::uint32_t e = 0; e < 8; ++e) {
    input.present[e] = {replica{.group = group_id{0}, .share = 1}};
    input.pinned.push_back({group_id{0}, layer_index{1}, expert_index{e}});
  }
  EXPECT_FALSE(planned(input).has_work());
  input.pinned.resize(2);
  const auto plan = planned(input);
  EXPECT_TRUE(plan.has_work());
  for (const expert_copy& c : plan.releases) EXPECT_GE(c.expert.value, 2U);
}

}  // namespace
}  // namespace atl::cluster
