#include "tests/unit/cluster/control_world.hpp"

#include <algorithm>
#include <cmath>

namespace atl::cluster {
namespace {

namespace wire = transport::wire;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

constexpr expert_key first{layer_index{1}, expert_index{0}};

/// Three expert nodes with two copies of each of twelve experts.
struct by_hand {
  explicit by_hand(std::size_t capacity = 12) : w{2, 3} {
    w.add(wire::role_attention, 0);
    for (int i = 0; i < 3; ++i) nodes.push_back(w.add(wire::role_expert, capacity));
    w.settle_all();
  }
  control& mind() { return w.mind(); }
  operation of(std::uint64_t id) { return *mind().find_operation(id); }
  void settle() {
    w.carry_out();
    w.settle_all();
  }
  std::vector<node_id> where(expert_key key = first) {
    std::vector<node_id> all;
    const auto v = mind().expert(key.first, key.second);
    for (const auto& c : v->copies) {
      EXPECT_EQ(c.state, copy_state::serving);
      all.push_back(c.node);
    }
    return all;
  }
  bool holds(node_id node) { return w.agents.at(node).held.count({1, 0}) > 0; }
  node_id without() {
    for (const node_id n : nodes)
      if (!holds(n)) return n;
    ADD_FAILURE() << "all have it";
    return {};
  }
  std::string refusal(const result<std::uint64_t>& r, errc code) {
    EXPECT_TRUE(r.has_error());
    if (!r.has_error()) return "";
    EXPECT_EQ(r.error().code(), code);
    return r.error().message();
  }
  control_world w;
  std::vector<node_id> nodes;
};

TEST(control_changes, a_copy_moves_and_stays_over_restarts) {
  by_hand t;
  const node_id to = t.without();
  const node_id from = t.where()[0];
  const node_id other = t.where()[1];
  const auto id = t.mind().move(first, to, from, t.w.now);
  ASSERT_TRUE(id.has_value()) << id.error().message();
  EXPECT_EQ(t.of(*id).state, operation_state::running);
  EXPECT_TRUE(t.holds(from)) << "it serves until the other does";
  t.settle();
  EXPECT_EQ(t.of(*id).state, operation_state::done);
  EXPECT_EQ(t.of(*id).percent, 100U);
  EXPECT_TRUE(t.holds(to));
  EXPECT_FALSE(t.holds(from));
  EXPECT_TRUE(t.holds(other));
  EXPECT_EQ(t.mind().expert(first.first, first.second)->pins, std::vector<node_id>{to});
  t.w.crash(0);
  t.w.settle_all();
  EXPECT_EQ(t.mind().expert(first.first, first.second)->pins, std::vector<node_id>{to});
  EXPECT_TRUE(t.holds(to));
}

TEST(control_changes, is_not_done_because_its_node_begins_a_new_life) {
  by_hand t;
  const node_id to = t.without();
  const auto id = t.mind().move(first, to, t.where()[0], t.w.now);
  ASSERT_TRUE(id.has_value());
  t.w.carry_out();
  t.w.kill(to);
  t.w.crash(0);
  t.w.begin_life(to);
  t.w.agents.at(to).fails.insert({1, 0});
  t.w.settle_all();
  EXPECT_EQ(t.of(*id).state, operation_state::failed) << "it cannot be so";
  const auto told = t.mind().events_since(0);
  EXPECT_EQ(
      std::count_if(told.begin(),
                    told.end(),
                    [](const event& e) { return e.kind == "operation" && has(e.text, "move"); }),
      1)
      << "it ends once";
  EXPECT_FALSE(t.holds(to));
  EXPECT_TRUE(t.mind().expert(first.first, first.second)->pins.empty());
}

TEST(control_changes, says_what_stands_against_it) {
  by_hand t;
  control& mind = t.mind();
  const node_id to = t.without();
  const node_id has_one = t.where()[0];
  const auto now = t.w.now;
  const expert_key no_layer{layer_index{9}, expert_index{0}},
      no_expert{layer_index{1}, expert_index{6}};
  EXPECT_TRUE(has(t.refusal(mind.move(no_layer, to, {}, now), errc::not_found), "layer 9"));
  EXPECT_TRUE(has(t.refusal(mind.pin(no_expert, to, now), errc::not_found), "expert 6"));
  t.refusal(mind.move(first, node_id{99}, {}, now), errc::not_found);
  t.refusal(mind.move(first, to, node_id{99}, now), errc::not_found);
  t.refusal(mind.drop(first, node_id{99}, false, now), errc::not_found);
  const auto no = errc::invalid_argument;
  EXPECT_TRUE(has(t.refusal(mind.move(first, has_one, {}, now), no), "already"));
  EXPECT_TRUE(has(t.refusal(mind.move(first, node_id{1}, {}, now), no), "role expert"));
  EXPECT_TRUE(has(t.refusal(mind.replicate(first, 4, now), no), "there are 3"));
  EXPECT_TRUE(has(t.refusal(mind.drop(first, to, false, now), no), "no copy"));
  EXPECT_TRUE(has(t.refusal(mind.unpin(first, {}, now), no), "not pinned"));
  ASSERT_TRUE(mind.cordon(to, now).has_value());
  EXPECT_TRUE(has(t.refusal(mind.move(first, to, {}, now), no), "cordoned"));
  ASSERT_TRUE(mind.uncordon(to, now).has_value());
  ASSERT_TRUE(mind.drain(to, std::nullopt, true, now).has_value());
  EXPECT_TRUE(has(t.refusal(mind.pin(first, to, now), no), "drained"));
  t.settle();
  EXPECT_TRUE(has(t.refusal(mind.pin(first, to, t.w.now), no), "drained; uncordon"));
  t.w.kill(to);
  t.w.find_dead(to);
  EXPECT_TRUE(has(t.refusal(mind.move(first, to, {}, t.w.now), no), "not here"));
}

TEST(control_changes, a_full_node_takes_no_more) {
  by_hand t{8};  // 24 copies fill all
  const auto why =
      t.refusal(t.mind().move(first, t.without(), {}, t.w.now), errc::invalid_argument);
  EXPECT_TRUE(has(why, "full")) << why;
  EXPECT_TRUE(has(why, "takes 8")) << why;
}

TEST(control_changes, copies_are_added_and_taken_away) {
  by_hand t;
  const auto more = t.mind().replicate(first, 3, t.w.now);
  ASSERT_TRUE(more.has_value()) << more.error().message();
  const auto second = t.mind().replicate(first, 2, t.w.now);
  EXPECT_TRUE(has(t.refusal(second, errc::invalid_argument), "changes"));
  t.settle();
  EXPECT_EQ(t.of(*more).state, operation_state::done);
  EXPECT_EQ(t.where().size(), 3U);
  const auto less = t.mind().replicate(first, 1, t.w.now);
  t.settle();
  EXPECT_EQ(t.of(*less).state, operation_state::done);
  EXPECT_EQ(t.where().size(), 1U);
  EXPECT_EQ(t.w.live_copies({1, 0}), 1U);
}

TEST(control_changes, the_last_copy_goes_by_force_only_and_comes_back) {
  by_hand t;
  const auto nodes = t.where();
  const auto one = t.mind().drop(first, nodes[0], false, t.w.now);
  t.settle();
  EXPECT_EQ(t.of(*one).state, operation_state::done);
  EXPECT_FALSE(t.holds(nodes[0]));
  EXPECT_EQ(t.where(), std::vector<node_id>{nodes[1]});
  const auto no = t.mind().drop(first, nodes[1], false, t.w.now);
  EXPECT_TRUE(has(t.refusal(no, errc::invalid_argument), "only copy"));
  EXPECT_TRUE(t.holds(nodes[1]));
  t.w.may_go.insert({1, 0});
  const auto last = t.mind().drop(first, nodes[1], true, t.w.now);
  ASSERT_TRUE(last.has_value()) << last.error().message();
  t.settle();
  EXPECT_EQ(t.of(*last).state, operation_state::done);
  EXPECT_TRUE(has(t.of(*last).detail, "503")) << t.of(*last).detail;
  EXPECT_TRUE(t.where().empty());
  for (const node_id n : t.nodes) EXPECT_FALSE(t.holds(n));
  EXPECT_EQ(t.mind().view(t.w.now).placement.without_copy, 1U);
  ASSERT_TRUE(t.mind().replicate(first, 2, t.w.now).has_value());
  t.settle();
  EXPECT_EQ(t.where().size(), 2U);
}

TEST(control_changes, pins_outlast_drains_and_must_not_contradict_each_other) {
  by_hand t;
  const node_id to = t.without();
  const auto pinned = t.mind().pin(first, to, t.w.now);
  t.settle();
  EXPECT_EQ(t.of(*pinned).state, operation_state::done);
  EXPECT_EQ(t.where().size(), 2U);
  EXPECT_TRUE(t.holds(to));
  const node_id second = t.where()[0] == to ? t.where()[1] : t.where()[0];
  const node_id third = t.without();
  ASSERT_TRUE(t.mind().pin(first, second, t.w.now).has_value());
  t.settle();
  const auto no = errc::invalid_argument;
  EXPECT_TRUE(has(t.refusal(t.mind().pin(first, third, t.w.now), no), "each is pinned"));
  EXPECT_TRUE(has(t.refusal(t.mind().move(first, third, {}, t.w.now), no), "pinned"));
  EXPECT_TRUE(has(t.refusal(t.mind().move(first, third, to, t.w.now), no), "pinned"));
  EXPECT_TRUE(has(t.refusal(t.mind().drop(first, to, true, t.w.now), no), "pinned"));
  EXPECT_TRUE(has(t.refusal(t.mind().replicate(first, 1, t.w.now), no), "pinned"));
  ASSERT_TRUE(t.mind().drain(to, std::nullopt, true, t.w.now).has_value());
  t.settle();
  EXPECT_FALSE(t.holds(to));
  EXPECT_EQ(t.where().size(), 2U);
  ASSERT_TRUE(t.mind().uncordon(to, t.w.now).has_value());
  t.settle();
  EXPECT_TRUE(t.holds(to)) << "the pin counts again";
  EXPECT_EQ(t.where().size(), 2U);
  ASSERT_TRUE(t.mind().unpin(first, std::nullopt, t.w.now).has_value());
  EXPECT_TRUE(t.mind().expert(first.first, first.second)->pins.empty());
}

TEST(control_changes, a_cancelled_move_leaves_all_as_it_was) {
  // At each point on its way: orders out, loaded, and so on until it is done.
  for (int steps = 0; steps < 3; ++steps) {
    SCOPED_TRACE(steps);
    by_hand t;
    const auto before = t.where();
    const node_id to = t.without();
    const auto id = t.mind().move(first, to, before[0], t.w.now);
    ASSERT_TRUE(id.has_value());
    t.w.carry_out();
    if (steps >= 1) t.w.deliver_to(to);
    if (steps >= 2) t.w.let_say(to);
    const bool is_over = t.of(*id).state != operation_state::running;
    const auto cancelled = t.mind().cancel(*id, t.w.now);
    t.settle();
    if (is_over) {
      EXPECT_TRUE(cancelled.has_error());
      EXPECT_TRUE(t.holds(to));
      continue;
    }
    EXPECT_TRUE(cancelled.has_value());
    EXPECT_EQ(t.of(*id).state, operation_state::cancelled);
    EXPECT_EQ(t.where(), before);
    EXPECT_FALSE(t.holds(to));
    EXPECT_TRUE(t.mind().expert(first.first, first.second)->pins.empty());
    EXPECT_TRUE(t.mind().cancel(*id, t.w.now).has_error());
  }
}

TEST(control_changes, what_cannot_be_is_rolled_back) {
  by_hand t;
  const auto before = t.where();
  const node_id to = t.without();
  t.w.agents.at(to).fails.insert({1, 0});
  const auto id = t.mind().move(first, to, std::nullopt, t.w.now);
  t.settle();
  EXPECT_EQ(t.of(*id).state, operation_state::failed);
  EXPECT_TRUE(has(t.of(*id).detail, "bad disk")) << t.of(*id).detail;
  EXPECT_EQ(t.where(), before);
  EXPECT_TRUE(t.mind().expert(first.first, first.second)->pins.empty());
  // The node dies on the way.
  t.w.agents.at(to).fails.clear();
  t.w.now = t.w.now + std::chrono::minutes{2};
  t.mind().tick(t.w.now);
  t.w.carry_out();
  const auto again = t.mind().move(first, to, std::nullopt, t.w.now);
  ASSERT_TRUE(again.has_value());
  t.w.carry_out();
  t.w.kill(to);
  t.w.find_dead(to);
  EXPECT_EQ(t.of(*again).state, operation_state::failed);
  EXPECT_TRUE(has(t.of(*again).detail, "gone")) << t.of(*again).detail;
  t.settle();
  EXPECT_EQ(t.where(), before);
}

TEST(control_changes, a_change_goes_on_after_a_restart) {
  by_hand t;
  const auto before = t.where();
  const node_id to = t.without();
  const auto id = t.mind().move(first, to, before[0], t.w.now);
  t.w.carry_out();
  t.w.crash(0);
  t.w.settle_all();
  EXPECT_EQ(t.of(*id).state, operation_state::done);
  EXPECT_TRUE(t.holds(to));
  EXPECT_FALSE(t.holds(before[0]));
}

TEST(control_changes, loads_follow_the_reports_of_all_nodes_fast_and_slowly) {
  by_hand t;
  const auto report = [&](std::uint64_t rows) {
    for (const node_id node : t.where()) {
      wire::load_report r;
      r.node = node;
      r.counts = {{layer_index{1}, 0, rows}, {layer_index{7}, 0, 9}, {layer_index{1}, 99, 9}};
      t.mind().reported({node, t.w.agents.at(node).life}, r, t.w.now);
    }
    t.w.now = t.w.now + std::chrono::seconds{1};
  };
  const auto load = [&] { return t.mind().expert(first.first, first.second)->load; };
  EXPECT_EQ(load().fast, 0);
  for (int i = 0; i < 600; ++i) report(500);
  // 1,000 rows a second: after a report more, by the time between reports.
  EXPECT_NEAR(load().fast, 1000 / (1 - std::exp(-1.0)), 1);
  EXPECT_NEAR(load().slow, 1000.0 / 60 / (1 - std::exp(-1.0 / 60)), 1);
  for (int i = 0; i < 10; ++i) report(0);
  EXPECT_NEAR(load().fast, 1000 / (1 - std::exp(-1.0)) * std::exp(-10.0), 1);
  EXPECT_GT(load().slow, 800);
  EXPECT_EQ(t.mind().expert(layer_index{1}, expert_index{1})->load.fast, 0);
}

TEST(control_changes, a_request_is_known_by_its_key_over_restarts) {
  by_hand t;
  const auto id = t.mind().replicate(first, 3, t.w.now);
  t.mind().note_key(*id, "key", "digest");
  t.settle();
  t.w.crash(0);
  t.w.settle_all();
  ASSERT_TRUE(t.mind().made_by("key").has_value());
  EXPECT_EQ(t.mind().made_by("key")->id, *id);
  EXPECT_EQ(t.mind().made_by("key")->request_digest, "digest");
  EXPECT_FALSE(t.mind().made_by("other").has_value());
}

}  // namespace
}  // namespace atl::cluster
