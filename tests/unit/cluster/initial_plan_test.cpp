#include "cluster/initial_plan.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace atl::cluster {
namespace {

member node(std::uint32_t id, std::uint32_t groups, std::size_t bytes, member_state state) {
  return {.node = node_id{id},
          .life = incarnation{1},
          .state = state,
          .expert_bytes = bytes,
          .groups = groups};
}

/// Two layers of eight experts of ten bytes.
const placed_model model{.shape = {.layers = {layer_index{1}, layer_index{2}}, .experts = 8},
                         .expert_bytes = 10};

TEST(initial_plan, one_node_holds_everything_once_even_with_copies) {
  const membership single{.version = 1, .members = {node(3, 4, 160, member_state::alive)}};
  for (const std::uint32_t copies : {1U, 2U, 4U}) {
    const auto plan = plan_initial(single, model, epoch{1}, copies);
    ASSERT_TRUE(plan.has_value());
    EXPECT_EQ(plan->map.version(), epoch{1});
    EXPECT_EQ(plan->map.groups(), 4U);
    ASSERT_EQ(plan->groups.size(), 4U);
    EXPECT_EQ(plan->groups[2].group, group_id{2});
    EXPECT_EQ(plan->groups[2].node, node_id{3});
    ASSERT_EQ(plan->nodes.size(), 1U);
    EXPECT_EQ(plan->nodes[0].bytes, 160U);
    EXPECT_EQ(plan->map.replicas(layer_index{2}, expert_index{7}).size(), copies);
  }
}

TEST(initial_plan, spreads_over_the_living) {
  const membership members{.version = 1,
                           .members = {node(0, 1, 1000, member_state::alive),
                                       node(1, 2, 1000, member_state::dead),
                                       node(2, 1, 1000, member_state::suspect),
                                       node(5, 2, 1000, member_state::alive)}};
  const auto plan = plan_initial(members, model, epoch{4}, 1);
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(plan->groups.size(), 4U);
  EXPECT_EQ(plan->groups[1].node, node_id{2});
  EXPECT_EQ(plan->groups[2].node, node_id{5});
  EXPECT_EQ(plan->groups[3].node, node_id{5});
  ASSERT_EQ(plan->nodes.size(), 3U);
  EXPECT_EQ(plan->nodes[0].bytes, 40U);
  EXPECT_EQ(plan->nodes[1].bytes, 40U);
  EXPECT_EQ(plan->nodes[2].bytes, 80U);
}

TEST(initial_plan, refuses_what_does_not_fit) {
  membership members{
      .version = 1,
      .members = {node(0, 1, 80, member_state::alive), node(1, 1, 79, member_state::alive)}};
  const auto full = plan_initial(members, model, epoch{1}, 1);
  ASSERT_TRUE(full.has_error());
  EXPECT_EQ(full.error().code(), errc::out_of_memory);
  EXPECT_NE(full.error().message().find("node 1 would hold 8 experts of 10 bytes, 80 in all"),
            std::string::npos)
      << full.error().message();
  members.members[1].expert_bytes = 80;
  EXPECT_TRUE(plan_initial(members, model, epoch{1}, 1).has_value());
  EXPECT_EQ(plan_initial(members, model, epoch{1}, 2).error().code(), errc::out_of_memory);
  EXPECT_EQ(plan_initial(members, model, epoch{1}, 3).error().code(), errc::invalid_argument);
  EXPECT_EQ(plan_initial({}, model, epoch{1}, 1).error().code(), errc::invalid_argument);
}

}  // namespace
}  // namespace atl::cluster
