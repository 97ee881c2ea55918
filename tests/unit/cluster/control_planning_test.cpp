// What happens while a plan is being made.
#include "tests/unit/cluster/uneven.hpp"

namespace atl::cluster {
namespace {

using namespace std::chrono_literals;

/// The policy is automatic, the load uneven, and a plan for it is being made.
struct planning : uneven {
  planning() : uneven{balance_policy::automatic} {
    for (int i = 0; i < 400 && w.plans.empty(); ++i) {
      w.now = w.now + 250ms;
      for (const node_id n : nodes) report(n, much);
    }
    EXPECT_EQ(w.plans.size(), 1U);
    EXPECT_EQ(plans(), 0U);
  }
  /// Reports come while it is made, and no other is begun.
  void go_on() {
    for (int i = 0; i < 10; ++i) {
      w.now = w.now + 250ms;
      for (const node_id n : nodes) report(n, much);
      EXPECT_LE(w.plans.size(), 1U);
    }
  }
  const elastic_input& input() { return *w.plans.front().input; }
};

TEST(control_planning, a_plan_that_takes_its_time_is_applied_all_the_same) {
  planning t;
  t.go_on();
  EXPECT_EQ(t.plans(), 0U);
  ASSERT_TRUE(t.w.finish_plan());
  ASSERT_EQ(t.plans(), 1U);
  EXPECT_EQ(t.plan(1).state, plan_state::applying);
  t.pump();
  EXPECT_EQ(t.plan(1).state, plan_state::done);
  EXPECT_GT(t.copies_in_map(hot), 1);
}

TEST(control_planning, what_a_dead_node_was_to_get_is_planned_anew) {
  planning t;
  t.w.kill(t.nodes[2]);
  t.w.find_dead(t.nodes[2]);
  t.w.finish_plan();
  EXPECT_EQ(t.plans(), 0U) << "it was for other nodes";
  t.pump();
  t.load(much, 30s);
  ASSERT_GE(t.plans(), 1U);
  for (const plan_step& s : t.plan(1).steps) EXPECT_NE(s.node, t.nodes[2]);
  EXPECT_GT(t.copies_in_map(hot), 1);
}

TEST(control_planning, a_rule_by_hand_that_comes_meanwhile_is_in_the_next_plan) {
  planning t;
  EXPECT_TRUE(t.input().copies_of.empty());
  ASSERT_TRUE(t.mind().replicate({layer_index{1}, expert_index{0}}, 3, t.w.now).has_value());
  t.w.carry_out();
  ASSERT_TRUE(t.w.finish_plan());
  EXPECT_EQ(t.plans(), 0U) << "it did not know of the rule";
  t.pump();
  t.load(much, 30s);
  ASSERT_GE(t.plans(), 1U) << "the other layer is hot too";
  EXPECT_EQ(t.copies_in_map(hot), 3);
  EXPECT_GT(t.copies_in_map({2, 0}), 1);
}

TEST(control_planning, a_pin_that_holds_at_once_is_in_the_next_plan) {
  planning t;
  const expert_key cold{layer_index{2}, expert_index{5}};
  const auto where = t.mind().expert(cold.first, cold.second)->copies;
  ASSERT_TRUE(t.mind().pin(cold, where.at(0).node, t.w.now).has_value());
  t.w.carry_out();
  ASSERT_TRUE(t.w.finish_plan());
  EXPECT_EQ(t.plans(), 0U) << "it did not know of the pin";
  ASSERT_EQ(t.w.plans.size(), 1U) << "and is made again at once";
  EXPECT_EQ(t.input().pinned.size(), 1U);
  ASSERT_TRUE(t.w.finish_plan());
  EXPECT_EQ(t.plan(1).state, plan_state::applying);
}

TEST(control_planning, who_joins_meanwhile_is_in_the_next_plan) {
  planning t;
  t.nodes.push_back(t.w.add(transport::wire::role_expert, 12));
  while (t.w.deliver_from(t.nodes[3])) {
  }
  EXPECT_EQ(t.input().groups.size(), 3U);
  ASSERT_TRUE(t.w.finish_plan());
  EXPECT_EQ(t.plans(), 0U) << "it did not know of the joiner";
  ASSERT_EQ(t.w.plans.size(), 1U);
  EXPECT_EQ(t.input().groups.size(), 4U);
  ASSERT_TRUE(t.w.finish_plan());
  EXPECT_EQ(t.plan(1).state, plan_state::applying);
}

TEST(control_planning, a_plan_of_a_policy_that_is_off_by_then_comes_to_nothing) {
  for (const auto next : {balance_policy::off, balance_policy::advise}) {
    planning t;
    t.mind().set_policy(next, t.w.now);
    ASSERT_TRUE(t.w.finish_plan());
    EXPECT_EQ(t.plans(), 0U);
    t.load(much, 5s);
    EXPECT_EQ(t.copies_in_map(hot), 1);
    EXPECT_EQ(t.plans(), next == balance_policy::off ? 0U : 1U);
  }
}

TEST(control_planning, a_coordinator_that_starts_meanwhile_hears_nothing_of_it) {
  planning t;
  const plan_effect before = t.w.plans.front();
  t.w.crash(0);
  t.mind().planned(before.job, plan_elastic(*before.input), t.w.now);
  t.settle();
  EXPECT_EQ(t.plans(), 0U);
  // Nor is it taken for one of the present life, whose first has the same number.
  t.load(much, 30s);
  EXPECT_GT(t.copies_in_map(hot), 1);
  const auto done = t.plans();
  t.mind().planned(before.job, plan_elastic(*before.input), t.w.now);
  EXPECT_EQ(t.plans(), done);
}

TEST(control_planning, joiners_are_planned_for_while_copies_of_another_plan_are_made) {
  planning t;
  ASSERT_TRUE(t.w.finish_plan());
  ASSERT_EQ(t.plan(1).state, plan_state::applying);
  t.nodes.push_back(t.w.add(transport::wire::role_expert, 12));
  while (t.w.deliver_from(t.nodes[3])) {
  }
  ASSERT_EQ(t.w.plans.size(), 1U);
  EXPECT_EQ(t.input().groups.size(), 4U);
  // Some copies of the first come meanwhile, as its goal wants.
  t.w.deliver_to(t.nodes[1]);
  t.w.deliver_from(t.nodes[1]);
  const bool is_over = t.plan(1).state != plan_state::applying;
  ASSERT_TRUE(t.w.finish_plan());
  EXPECT_FALSE(is_over);
  EXPECT_EQ(t.plan(1).state, plan_state::superseded);
  EXPECT_EQ(t.plan(2).state, plan_state::applying);
  t.pump();
  EXPECT_EQ(t.plan(2).state, plan_state::done);
  EXPECT_GE(t.w.agents.at(t.nodes[3]).held.size(), 2U);
}

TEST(control_planning, a_plan_that_is_cancelled_meanwhile_is_not_taken_for_the_ground_of_the_next) {
  planning t;
  ASSERT_TRUE(t.w.finish_plan());
  t.nodes.push_back(t.w.add(transport::wire::role_expert, 12));
  while (t.w.deliver_from(t.nodes[3])) {
  }
  ASSERT_EQ(t.w.plans.size(), 1U);
  ASSERT_TRUE(t.mind().cancel_plan(1, t.w.now).has_value());
  ASSERT_TRUE(t.w.finish_plan());
  EXPECT_EQ(t.plans(), 1U) << "the policy rests, and the goal is another";
  t.pump();
  EXPECT_EQ(t.copies_in_map(hot), 1);
}

TEST(control_planning, an_operator_hears_when_nothing_stays_as_it_was) {
  uneven t;
  t.load(much);
  const auto request = t.mind().rebalance(true, t.w.now);
  ASSERT_TRUE(request.has_value());
  t.w.carry_out();
  int attempts = 0;
  for (; !t.w.plans.empty() && attempts < 20; ++attempts) {
    const bool is_open = attempts % 2 == 0;
    ASSERT_TRUE(
        (is_open ? t.mind().cordon(t.nodes[0], t.w.now) : t.mind().uncordon(t.nodes[0], t.w.now))
            .has_value());
    t.w.carry_out();
    EXPECT_TRUE(t.mind().plan_requests().plan_of(*request).has_value());
    t.w.finish_plan();
  }
  EXPECT_EQ(attempts, 5);
  const auto plan = t.mind().plan_requests().plan_of(*request);
  ASSERT_TRUE(plan.has_error());
  EXPECT_EQ(plan.error().code(), errc::invalid_argument);
  EXPECT_TRUE(has(plan.error().message(), "kept changing")) << plan.error().message();
  EXPECT_EQ(t.plans(), 0U);
}

TEST(control_planning, operators_wait_for_each_other_and_not_for_ever_many) {
  uneven t;
  t.load(much);
  std::vector<std::uint64_t> requests;
  for (int i = 0; i < 17; ++i) {
    const auto r = t.mind().rebalance(i != 1 && i != 2, t.w.now);
    ASSERT_TRUE(r.has_value()) << i;
    requests.push_back(*r);
  }
  const auto over = t.mind().rebalance(true, t.w.now);
  ASSERT_TRUE(over.has_error());
  EXPECT_EQ(over.error().code(), errc::overloaded);
  t.w.carry_out();
  while (t.w.finish_plan()) {
  }
  EXPECT_EQ(t.plan(**t.mind().plan_requests().plan_of(requests[0])).state, plan_state::advised);
  EXPECT_EQ(t.plan(**t.mind().plan_requests().plan_of(requests[1])).state, plan_state::applying);
  const auto second = t.mind().plan_requests().plan_of(requests[2]);
  ASSERT_TRUE(second.has_error());
  EXPECT_TRUE(has(second.error().message(), "is being applied"));
  EXPECT_EQ(t.mind().plan_requests().plan_of(99).error().code(), errc::not_found);
  EXPECT_EQ(t.mind().plan_requests().plan_of(0).error().code(), errc::not_found);
}

}  // namespace
}  // namespace atl::cluster
