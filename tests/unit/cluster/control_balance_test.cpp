// Plans: by hand, by the policy, undone, over losses and restarts.
#include "tests/unit/cluster/uneven.hpp"

#include <algorithm>

namespace atl::cluster {
namespace {

namespace wire = transport::wire;
using namespace std::chrono_literals;

TEST(control_balance, a_dry_run_says_what_it_would_do_and_changes_nothing) {
  uneven t;
  t.load(much);
  const wire_map before = t.map();
  const epoch at = t.mind().placement_epoch();
  const auto id = t.rebalance(true);
  t.settle();
  EXPECT_EQ(t.map(), before);
  EXPECT_EQ(t.mind().placement_epoch(), at);
  EXPECT_FALSE(t.mind().kept().goal.has_value());
  const plan_record& p = t.plan(id);
  EXPECT_EQ(p.state, plan_state::advised);
  EXPECT_FALSE(p.is_policys);
  ASSERT_TRUE(p.before.hottest && p.after.hottest && p.before.finish && p.after.finish);
  EXPECT_GT(*p.before.hottest, 1.8);
  EXPECT_LT(*p.after.hottest, 1.2);
  EXPECT_LT(*p.after.finish, *p.before.finish);
  EXPECT_GE(p.moves, 2U) << "a copy of the hot expert of each layer";
  EXPECT_EQ(p.bytes, p.moves * control_world::expert_bytes);
  EXPECT_EQ(p.steps.size(), p.moves + p.drops);
  EXPECT_FALSE(p.sentences.empty());
  EXPECT_EQ(p.epoch, at.value);
}

TEST(control_balance, a_plan_by_hand_is_carried_out_and_measured) {
  uneven t;
  t.load(much);
  const auto id = t.rebalance();
  EXPECT_EQ(t.plan(id).state, plan_state::applying);
  EXPECT_TRUE(has(t.mind().rebalance(false, t.w.now).error().message(), "is being applied"));
  EXPECT_LT(t.mind().percent_of(t.plan(id)), 100U);
  t.w.carry_out();
  t.pump();
  t.load(much, 15s);
  const plan_record& p = t.plan(id);
  EXPECT_EQ(p.state, plan_state::done) << p.detail;
  EXPECT_GT(t.copies_in_map(hot), 1);
  EXPECT_EQ(p.bytes_moved, p.bytes);
  EXPECT_EQ(t.mind().percent_of(p), 100U);
  ASSERT_TRUE(p.measured_hottest.has_value());
  EXPECT_LT(*p.measured_hottest, 1.5);
  EXPECT_FALSE(t.mind().kept().goal_before.has_value());
  EXPECT_EQ(t.mind().kept().goal->plan, id);
  // Nothing more is to be gained.
  const auto again = t.rebalance();
  EXPECT_EQ(t.plan(again).state, plan_state::done);
  EXPECT_EQ(t.plan(again).moves, 0U);
}

TEST(control_balance, what_was_advised_is_applied_later_unless_nodes_changed) {
  uneven t;
  t.load(much);
  const auto first = t.rebalance(true);
  ASSERT_TRUE(t.mind().apply_plan(first, t.w.now).has_value());
  EXPECT_EQ(t.plan(first).state, plan_state::applying);
  EXPECT_TRUE(has(t.refusal(t.mind().apply_plan(first, t.w.now)), "applying"));
  t.settle();
  EXPECT_EQ(t.plan(first).state, plan_state::done);
  EXPECT_TRUE(has(t.refusal(t.mind().cancel_plan(first, t.w.now)), "done already"));
  t.load(much);
  const auto second = t.rebalance(true);
  ASSERT_TRUE(t.mind().cordon(t.nodes[0], t.w.now).has_value());
  EXPECT_EQ(t.plan(second).state, plan_state::superseded);
  EXPECT_TRUE(has(t.refusal(t.mind().apply_plan(second, t.w.now)), "superseded"));
  EXPECT_EQ(t.mind().apply_plan(99, t.w.now).error().code(), errc::not_found);
  EXPECT_EQ(t.mind().cancel_plan(99, t.w.now).error().code(), errc::not_found);
}

/// At each point of its way: orders out, loaded, in the map.
TEST(control_balance, a_cancelled_plan_leaves_all_as_it_was) {
  for (int steps = 0; steps < 12; ++steps) {
    SCOPED_TRACE(steps);
    uneven t;
    t.load(much);
    const wire_map before = t.map();
    const auto id = t.rebalance();
    t.w.carry_out();
    for (int i = 0; i < steps; ++i) {
      const node_id node = t.nodes[static_cast<std::size_t>(i) % 3];
      if (!t.w.deliver_to(node)) t.w.deliver_from(node);
    }
    const bool is_over = t.plan(id).state != plan_state::applying;
    const auto cancelled = t.mind().cancel_plan(id, t.w.now);
    t.settle();
    EXPECT_EQ(cancelled.has_error(), is_over);
    if (is_over) continue;
    EXPECT_EQ(t.plan(id).state, plan_state::cancelled);
    EXPECT_EQ(t.map(), before);
    for (const node_id n : t.nodes) EXPECT_EQ(t.w.agents.at(n).held.size(), 4U);
  }
}

TEST(control_balance, a_restart_on_the_way_keeps_the_goal_and_the_plan_goes_on) {
  for (const std::size_t kept : {0U, 1U, 5U}) {
    SCOPED_TRACE(kept);
    uneven t;
    t.load(much);
    const auto id = t.rebalance();
    t.w.carry_out();
    t.w.crash(kept);
    t.settle();
    EXPECT_EQ(t.plan(id).state, plan_state::done) << t.plan(id).detail;
    EXPECT_GT(t.copies_in_map(hot), 1);
    EXPECT_EQ(t.mind().kept().goal->plan, id);
  }
}

TEST(control_balance, a_restart_afterwards_moves_nothing_and_knows_the_shares) {
  uneven t;
  t.load(much);
  const auto id = t.rebalance();
  t.settle();
  const wire_map before = t.map();
  const auto shares = t.mind().expert(layer_index{1}, expert_index{0})->copies;
  const std::size_t loads = t.w.loads_said;
  const auto dry = t.rebalance(true);
  t.w.carry_out();
  t.w.crash(0);
  t.settle();
  EXPECT_EQ(t.map(), before);
  EXPECT_EQ(t.w.loads_said, loads);
  const auto after = t.mind().expert(layer_index{1}, expert_index{0})->copies;
  ASSERT_EQ(after.size(), shares.size());
  for (std::size_t i = 0; i < after.size(); ++i) {
    EXPECT_EQ(after[i].group, shares[i].group);
    EXPECT_EQ(after[i].share, shares[i].share);
  }
  EXPECT_EQ(t.plan(id).state, plan_state::done);
  EXPECT_EQ(t.plan(dry).state, plan_state::superseded) << "it was made of loads that are forgotten";
}

TEST(control_balance, a_node_lost_in_between_costs_nothing_but_its_copies) {
  uneven t;
  t.load(much);
  const auto id = t.rebalance();
  t.w.carry_out();
  t.w.kill(t.nodes[2]);
  t.w.find_dead(t.nodes[2]);
  t.settle();
  EXPECT_EQ(t.plan(id).state, plan_state::done) << t.plan(id).detail;
  for (std::uint32_t layer = 1; layer <= 2; ++layer)
    for (std::uint32_t e = 0; e < 6; ++e) EXPECT_GE(t.w.live_copies({layer, e}), 1U);
  // It comes back, to what it had by the plan.
  t.w.begin_life(t.nodes[2]);
  t.settle();
  EXPECT_TRUE(t.mind().kept().goal.has_value());
  EXPECT_FALSE(t.w.agents.at(t.nodes[2]).held.empty());
  // A node that the goal does not know gets its share by count.
  t.nodes.push_back(t.w.add(wire::role_expert, 12));
  t.settle();
  EXPECT_FALSE(t.mind().kept().goal.has_value());
  EXPECT_GE(t.w.agents.at(t.nodes[3]).held.size(), 2U);
}

TEST(control_balance, what_cannot_be_loaded_is_taken_back) {
  uneven t;
  t.load(much);
  const wire_map before = t.map();
  for (auto& [node, a] : t.w.agents) a.fails = {{1, 0}, {2, 0}};
  const auto id = t.rebalance();
  t.w.carry_out();
  for (int i = 0; i < 100 && t.plan(id).state == plan_state::applying; ++i) {
    t.w.now = t.w.now + 10s;
    t.mind().tick(t.w.now);
    t.w.carry_out();
    t.pump();
  }
  EXPECT_EQ(t.plan(id).state, plan_state::failed);
  EXPECT_TRUE(has(t.plan(id).detail, "bad disk")) << t.plan(id).detail;
  t.settle();
  EXPECT_EQ(t.map(), before);
}

TEST(control_balance, what_operators_ask_of_an_expert_wins) {
  uneven t;
  const auto where = t.mind().expert(layer_index{1}, expert_index{0})->copies;
  ASSERT_EQ(where.size(), 1U);
  ASSERT_TRUE(t.mind().pin({layer_index{1}, expert_index{0}}, where[0].node, t.w.now).has_value());
  ASSERT_TRUE(t.mind().replicate({layer_index{2}, expert_index{0}}, 2, t.w.now).has_value());
  t.settle();
  t.load(much);
  const auto id = t.rebalance();
  t.settle();
  EXPECT_EQ(t.plan(id).state, plan_state::done);
  EXPECT_EQ(t.copies_in_map({2, 0}), 2);
  EXPECT_GT(t.copies_in_map(hot), 1) << "a pin is no bound";
  const auto after = t.mind().expert(layer_index{1}, expert_index{0})->copies;
  EXPECT_TRUE(std::any_of(
      after.begin(), after.end(), [&](const auto& c) { return c.node == where[0].node; }));
  // By hand against the plan.
  ASSERT_TRUE(t.mind().replicate({layer_index{2}, expert_index{0}}, 3, t.w.now).has_value());
  t.settle();
  EXPECT_EQ(t.copies_in_map({2, 0}), 3);
}

TEST(control_balance, the_policy_off_does_nothing_and_advise_never_moves) {
  for (const auto policy : {balance_policy::off, balance_policy::advise}) {
    uneven t{policy};
    const wire_map before = t.map();
    t.load(much, 200s);
    EXPECT_EQ(t.map(), before);
    EXPECT_FALSE(t.mind().kept().goal.has_value());
    if (policy == balance_policy::off) {
      EXPECT_EQ(t.plans(), 0U);
      continue;
    }
    ASSERT_GE(t.plans(), 1U);
    EXPECT_LE(t.plans(), 6U);
    std::size_t open = 0;
    for (const auto& [id, p] : t.mind().kept().plans) {
      EXPECT_TRUE(p.is_policys);
      open += p.state == plan_state::advised ? 1 : 0;
      EXPECT_TRUE(p.state == plan_state::advised || p.state == plan_state::superseded);
    }
    EXPECT_EQ(open, 1U);
    const std::uint64_t last = t.mind().kept().plans.rbegin()->first;
    ASSERT_TRUE(t.mind().apply_plan(last, t.w.now).has_value());
    t.w.carry_out();
    t.pump();
    EXPECT_EQ(t.plan(last).state, plan_state::done);
    EXPECT_GT(t.copies_in_map(hot), 1);
  }
}

TEST(control_balance, the_policy_auto_copies_what_is_hot_and_gives_it_up_when_it_cools) {
  uneven t{balance_policy::automatic};
  EXPECT_TRUE(t.mind().kept().goal.has_value()) << "where copies are";
  const wire_map before = t.map();
  t.load(30, 60s);
  EXPECT_EQ(t.map(), before) << "an even load moves nothing";
  EXPECT_EQ(t.plans(), 0U);
  t.load(much, 30s);
  EXPECT_GT(t.copies_in_map(hot), 1);
  ASSERT_GE(t.plans(), 1U);
  EXPECT_TRUE(t.plan(1).is_policys);
  EXPECT_EQ(t.plan(1).state, plan_state::done);
  EXPECT_LE(t.plans(), 4U) << "and then it rests";
  t.load(30, 600s);
  EXPECT_EQ(t.copies_in_map(hot), 1);
  EXPECT_EQ(t.copies_in_map({2, 0}), 1);
}

TEST(control_balance, the_policy_auto_gives_a_joiner_its_share_and_replaces_the_lost) {
  uneven t{balance_policy::automatic};
  t.load(30, 30s);
  t.nodes.push_back(t.w.add(wire::role_expert, 12));
  t.pump();
  t.load(30, 5s);
  EXPECT_GE(t.w.agents.at(t.nodes[3]).held.size(), 2U);
  ASSERT_GE(t.plans(), 1U);
  EXPECT_TRUE(has(t.plan(1).reason, "joined")) << t.plan(1).reason;
  t.w.kill(t.nodes[0]);
  t.w.find_dead(t.nodes[0]);
  t.pump();
  t.load(30, 200s);
  for (std::uint32_t layer = 1; layer <= 2; ++layer)
    for (std::uint32_t e = 0; e < 6; ++e) EXPECT_GE(t.w.live_copies({layer, e}), 1U);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_GE(t.w.agents.at(t.nodes[i]).held.size(), 4U);
}

TEST(control_balance, the_policy_lets_an_operators_cancelling_stand_for_a_while) {
  uneven t{balance_policy::automatic};
  const wire_map before = t.map();
  std::uint64_t id = 0;
  for (int i = 0; i < 400 && id == 0; ++i) {
    t.w.now = t.w.now + 250ms;
    for (const node_id n : t.nodes) t.report(n, much);
    t.w.finish_plan();
    for (const auto& [known, p] : t.mind().kept().plans)
      if (p.state == plan_state::applying) id = known;
  }
  ASSERT_GT(id, 0U);
  ASSERT_TRUE(t.mind().cancel_plan(id, t.w.now).has_value());
  t.w.carry_out();
  t.pump();
  t.load(much, 50s);
  EXPECT_EQ(t.map(), before);
  EXPECT_EQ(t.plans(), 1U);
  t.load(much, 30s);
  EXPECT_GT(t.copies_in_map(hot), 1);
}

TEST(control_balance, the_policy_and_the_last_plans_outlive_the_coordinator) {
  uneven t;
  t.mind().set_policy(balance_policy::advise, t.w.now);
  for (int i = 0; i < 70; ++i) {
    const auto id = t.rebalance(true);
    ASSERT_TRUE(t.mind().cancel_plan(id, t.w.now).has_value());
  }
  EXPECT_EQ(t.plans(), 64U);
  t.w.carry_out();
  t.w.crash(0);
  t.settle();
  EXPECT_EQ(t.mind().policy(), balance_policy::advise);
  EXPECT_EQ(t.plans(), 64U);
  EXPECT_EQ(t.mind().kept().plans.rbegin()->first, 70U);
}

TEST(control_balance, says_why_no_plan_can_be_made) {
  control_world w;
  const auto early = w.mind().rebalance(true, w.now);
  ASSERT_TRUE(early.has_error());
  EXPECT_EQ(early.error().code(), errc::invalid_argument);
  EXPECT_TRUE(has(early.error().message(), "no placement"));
  uneven t;
  t.w.mind().peer_changed({t.nodes[0], t.w.agents.at(t.nodes[0]).life},
                          transport::plane::control,
                          member_state::suspect,
                          "late",
                          t.w.now);
  EXPECT_TRUE(has(t.mind().rebalance(false, t.w.now).error().message(), "suspected"));
}

}  // namespace
}  // namespace atl::cluster
