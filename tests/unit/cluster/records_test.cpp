#include "cluster/records.hpp"

#include <gtest/gtest.h>

namespace atl::cluster {
namespace {

plan_record full_plan() {
  plan_record p;
  p.id = 4;
  p.state = plan_state::failed;
  p.is_policys = true;
  p.reason = "expert 1 of layer 2 is \"hot\"";
  p.created_unix_ms = 5;
  p.applied_unix_ms = 6;
  p.ended_unix_ms = 7;
  p.epoch = 1ULL << 60;
  p.before = {.hottest = 1.75, .finish = {}};
  p.after = {.hottest = 1.125, .finish = 0.25};
  p.bytes = 1ULL << 40;
  p.moves = 2;
  p.drops = 1;
  p.steps = {{true, layer_index{3}, expert_index{17}, node_id{4}, 40, "balance"},
             {false, layer_index{3}, expert_index{18}, node_id{5}, 0, "makes way"}};
  p.sentences = {"one", "two"};
  p.measured_hottest = 1.25;
  p.bytes_moved = 99;
  p.took_ms = 12;
  p.detail = "why";
  p.asked_by = {{"key", "digest"}, {"another", "one"}};
  return p;
}

durable_state full_state() {
  durable_state s;
  s.counters = {3, 4, 5, 6, 1ULL << 63, 8, 9, 10, true};
  node_record n;
  n.node = node_id{2};
  n.name = "a \"b\"\n\xc3\xa9";
  n.roles = 5;
  n.groups = 2;
  n.group_first = 7;
  n.shards = 1;
  n.shard_first = 3;
  n.life = incarnation{~0ULL};
  n.life_over = incarnation{12};
  n.is_cordoned = n.is_drained = n.is_removed = true;
  s.nodes[n.node] = n;
  s.tokens["t"] = {"t", "hash", 8, 2, -5, 1LL << 60, true};
  operation o;
  o.id = 9;
  o.kind = operation_kind::remove;
  o.state = operation_state::cancelled;
  o.node = node_id{2};
  o.is_forced = true;
  o.created_unix_ms = 1;
  o.ended_unix_ms = 2;
  o.deadline_unix_ms = 3;
  o.detail = "why";
  s.operations[9] = o;
  o.id = 10;
  o.kind = operation_kind::move;
  o.change = expert_change{.layer = layer_index{3},
                           .expert = expert_index{17},
                           .from = node_id{4},
                           .copies = 5,
                           .before = {.copies = 0, .pins = {node_id{6}}}};
  o.idempotency_key = "k";
  o.request_digest = "d";
  s.operations[10] = o;
  s.rules[{layer_index{3}, expert_index{17}}] = {.copies = 3, .pins = {node_id{2}, node_id{4}}};
  s.rules[{layer_index{3}, expert_index{18}}] = {.copies = 0, .pins = {}};
  s.rules[{layer_index{4}, expert_index{0}}] = {.copies = {}, .pins = {node_id{2}}};
  s.certificates["ff"] = {"ff", node_id{2}, 75, 79, 77};
  s.policy = balance_policy::advise;
  s.tuned = {.moved_experts_max = 0, .drain_deadline_s = 86'400};
  s.plans[4] = full_plan();
  s.plans[5].id = 5;
  s.goal = placement_goal{.copies = {{{group_id{3}, 65536}},
                                     {},
                                     {{group_id{0}, 17}, {group_id{4'000'000'000}, 1}},
                                     {{group_id{7}, 2}}},
                          .known = {group_id{0}, group_id{3}},
                          .plan = 4};
  s.goal_before = placement_goal{.copies = {{{group_id{1}, 65536}}}, .known = {}};
  return s;
}

TEST(records, a_snapshot_restores_everything) {
  const durable_state before = full_state();
  durable_state after;
  for (const std::string& r : snapshot(before)) ASSERT_TRUE(apply_record(after, r).has_value());
  EXPECT_EQ(after, before);
  // Again changes nothing.
  for (const std::string& r : snapshot(before)) ASSERT_TRUE(apply_record(after, r).has_value());
  EXPECT_EQ(after, before);
}

TEST(records, what_is_forgotten_is_gone) {
  durable_state s = full_state();
  ASSERT_TRUE(apply_record(s, forget_operation(9)).has_value());
  ASSERT_TRUE(apply_record(s, forget_token("t")).has_value());
  ASSERT_TRUE(apply_record(s, forget_operation(10)).has_value());
  EXPECT_TRUE(s.operations.empty());
  const expert_key of{layer_index{3}, expert_index{17}};
  ASSERT_TRUE(apply_record(s, to_record(of, {})).has_value());
  EXPECT_EQ(s.rules.count(of), 0U);
  EXPECT_TRUE(s.tokens.empty());
  ASSERT_TRUE(apply_record(s, forget_plan(4)).has_value());
  EXPECT_EQ(s.plans.size(), 1U);
  ASSERT_TRUE(apply_record(s, to_record(std::optional<placement_goal>{}, false)).has_value());
  EXPECT_FALSE(s.goal.has_value());
  ASSERT_TRUE(s.goal_before.has_value());
  ASSERT_TRUE(apply_record(s, to_record(std::optional<placement_goal>{}, true)).has_value());
  EXPECT_FALSE(s.goal_before.has_value());
}

TEST(records, a_goal_of_a_large_model_fits_into_one_record) {
  placement_goal goal;
  for (std::uint32_t i = 0; i < 58 * 256; ++i) {
    auto& list = goal.copies.emplace_back();
    for (std::uint32_t c = 0; c < (i % 4 == 0 ? 3U : 1U); ++c)
      list.push_back({group_id{i % 1000 + c}, c == 0 ? 40000U : 25536U});
  }
  for (std::uint32_t g = 0; g < 1000; ++g) goal.known.push_back(group_id{g});
  const std::string record = to_record(goal, false);
  EXPECT_LT(record.size(), std::size_t{1} << 19);
  durable_state s;
  ASSERT_TRUE(apply_record(s, record).has_value());
  EXPECT_EQ(s.goal, goal);
  // What does not read is none.
  for (const char* bad : {R"({"kind":"goal","copies":"1:2:3"})",
                          R"({"kind":"goal","copies":"x"})",
                          R"({"kind":"goal","copies":"1;-2"})",
                          R"({"kind":"goal","copies":"1:0"})",
                          R"({"kind":"goal","copies":"1,1"})"}) {
    ASSERT_TRUE(apply_record(s, bad).has_value());
    EXPECT_FALSE(s.goal.has_value()) << bad;
  }
}

TEST(records, later_versions_are_passed_over_and_damage_is_refused) {
  durable_state s;
  EXPECT_TRUE(apply_record(s, R"({"kind":"new","x":1})").has_value());
  EXPECT_TRUE(apply_record(s, R"({"kind":"node","node":4,"flavour":[1],"roles":"?"})").has_value());
  ASSERT_EQ(s.nodes.count(node_id{4}), 1U);
  EXPECT_EQ(s.nodes.at(node_id{4}).roles, 0U);
  for (const char* bad : {"", "{", "[]", "7", "{\"kind\":\"node\"} x"})
    EXPECT_EQ(apply_record(s, bad).error().code(), errc::io) << bad;
}

}  // namespace
}  // namespace atl::cluster
