#include "tests/unit/cluster/control_world.hpp"

#include <algorithm>

namespace atl::cluster {
namespace {

namespace wire = transport::wire;

/// What the node is told when it says this.
std::string refusal(control_world& w, transport::node_identity who, const wire::join& j) {
  w.mind().joined(who, j, w.now);
  std::string text;
  for (effect& e : w.mind().take_effects()) {
    auto* sent = std::get_if<send_effect>(&e);
    if (sent == nullptr || sent->to != who) continue;
    if (const auto* m = std::get_if<wire::welcome>(&sent->body))
      text = m->cause ? std::string{to_string(m->cause->code)} + ": " + m->cause->text : "";
  }
  return text;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(control_members, refuses_who_sends_data_by_another_medium) {
  control_world w;
  const auto asks = [&](std::uint32_t role, bool by_ucx) {
    fake_agent a;
    a.node = *w.mind().admit("a", role);
    a.roles = role;
    a.capacity = 12;
    wire::join j = w.join_of(a);
    if (by_ucx) j.ucx.assign(8, std::byte{1});
    return refusal(w, {a.node, incarnation{1}}, j);
  };
  EXPECT_EQ(asks(wire::role_coordinator, false), "") << "it has no data to send";
  EXPECT_EQ(asks(wire::role_expert, true), "");
  EXPECT_EQ(asks(wire::role_attention, true), "");
  const std::string text = asks(wire::role_gateway, false);
  EXPECT_TRUE(has(text, "unsupported") && has(text, "by tls") && has(text, "--data-transport"))
      << text;
}

TEST(control_members, refuses_who_would_send_rows_in_another_type) {
  control_world w;
  const auto asks = [&](std::uint32_t role, tensor::dtype type) {
    fake_agent a;
    a.node = *w.mind().admit("a", role);
    a.roles = role;
    a.capacity = 12;
    wire::join j = w.join_of(a);
    j.activations = type;
    return refusal(w, {a.node, incarnation{1}}, j);
  };
  // Who only computes experts reads the type from each frame, whatever it would send itself.
  EXPECT_EQ(asks(wire::role_expert, tensor::dtype::f8_e4m3), "");
  EXPECT_EQ(asks(wire::role_gateway, tensor::dtype::bf16), "");
  EXPECT_EQ(asks(wire::role_attention, tensor::dtype::bf16), "");
  for (const auto role : {wire::role_attention, wire::role_gateway}) {
    const std::string text = asks(role, tensor::dtype::f32);
    EXPECT_TRUE(has(text, "unsupported") && has(text, "--activations f32, the cluster with bf16"))
        << text;
  }
  EXPECT_EQ(asks(wire::role_expert, tensor::dtype::f32), "");
}

TEST(control_members, refuses_who_was_not_admitted_or_asks_for_more) {
  control_world w;
  wire::join j;
  j.roles = wire::role_gateway;
  EXPECT_TRUE(has(refusal(w, {node_id{9}, incarnation{1}}, j), "unauthorised: node 9"));
  const node_id n = *w.mind().admit("a", wire::role_gateway);
  j.roles = wire::role_gateway | wire::role_expert;
  const std::string text = refusal(w, {n, incarnation{1}}, j);
  EXPECT_TRUE(has(text, "unauthorised")) << text;
  EXPECT_TRUE(has(text, "wants the roles gateway, expert and was admitted for gateway")) << text;
  j.roles = wire::role_gateway;
  EXPECT_EQ(refusal(w, {n, incarnation{1}}, j), "");
}

TEST(control_members, refuses_another_model_arithmetic_and_too_little_memory_by_name) {
  control_world w;
  w.add(wire::role_expert, 12);
  w.settle_all();
  const node_id n = *w.mind().admit("a", wire::role_expert);
  fake_agent a;
  a.node = n;
  a.roles = wire::role_expert;
  a.capacity = 12;
  wire::join j = w.join_of(a);
  j.model = "other";
  std::string text = refusal(w, {n, incarnation{1}}, j);
  EXPECT_TRUE(has(text, "invalid_model") && has(text, "fingerprint other") && has(text, "with m"))
      << text;
  j = w.join_of(a);
  j.numeric_class = "gpu";
  text = refusal(w, {n, incarnation{1}}, j);
  EXPECT_TRUE(has(text, "unsupported") && has(text, "class gpu, the cluster in x")) << text;
  j = w.join_of(a);
  j.expert_bytes = control_world::expert_bytes - 1;
  text = refusal(w, {n, incarnation{1}}, j);
  EXPECT_TRUE(has(text, "out_of_memory") && has(text, "9 bytes") && has(text, "10 bytes")) << text;
  // A little is taken for what it is, and said.
  j.expert_bytes = 3 * control_world::expert_bytes;
  EXPECT_EQ(refusal(w, {n, incarnation{1}}, j), "");
  EXPECT_TRUE(has(w.mind().view(n, w.now)->note, "memory for 3 experts"));
}

TEST(control_members, two_nodes_with_one_number_do_not_replace_each_other) {
  control_world w;
  const node_id n = w.add(wire::role_expert, 12);
  w.settle_all();
  const fake_agent a = w.agents.at(n);
  wire::join other = w.join_of(a);
  other.tls = "elsewhere:1";
  std::string text = refusal(w, {n, a.life}, other);
  EXPECT_TRUE(has(text, "unavailable") && has(text, "host:1") && has(text, "elsewhere:1")) << text;
  const incarnation later{a.life.value + 1};
  text = refusal(w, {n, later}, other);
  EXPECT_TRUE(has(text, "is a member already")) << text;
  EXPECT_TRUE(has(refusal(w, {n, incarnation{a.life.value - 1}}, other), "stale_epoch"));
  w.find_dead(transport::node_identity{n, a.life});
  EXPECT_TRUE(has(refusal(w, {n, a.life}, w.join_of(a)), "stale_epoch"));
  EXPECT_EQ(refusal(w, {n, later}, other), "");
}

TEST(control_members, a_life_that_is_over_is_told_so_once_a_second) {
  control_world w;
  const node_id n = w.add(wire::role_expert, 12);
  w.settle_all();
  const transport::node_identity dead{n, w.agents.at(n).life};
  w.kill(n);
  w.find_dead(dead);
  const std::size_t before = w.dismissals;
  for (int i = 0; i < 3; ++i) {
    w.mind().reported(dead, {}, w.now);
    w.carry_out();
  }
  EXPECT_EQ(w.dismissals, before + 1);
  w.now = w.now + std::chrono::seconds{1};
  w.mind().reported(dead, {}, w.now);
  w.carry_out();
  EXPECT_EQ(w.dismissals, before + 2);
}

TEST(control_members, members_name_states_and_carry_tickets_for_their_receiver) {
  control_world w;
  w.settings().ticket = [](std::span<const std::byte> key,
                           transport::node_identity from,
                           transport::node_identity to) {
    return std::vector<std::byte>{
        key[0], static_cast<std::byte>(from.node.value), static_cast<std::byte>(to.node.value)};
  };
  w.start();
  std::vector<wire::members> said;
  const auto join = [&](std::uint32_t roles, std::uint8_t key) {
    const node_id n = *w.mind().admit("a", roles);
    wire::join j;
    j.roles = roles;
    j.groups = j.shards = 1;
    j.expert_bytes = 1000;
    j.ticket_key = {std::byte{key}};
    w.mind().joined({n, incarnation{5}}, j, w.now);
    return n;
  };
  const node_id a = join(wire::role_attention, 41);
  const node_id b = join(wire::role_expert, 42);
  w.mind().peer_changed(
      {b, incarnation{5}}, transport::plane::control, member_state::suspect, "late", w.now);
  for (effect& e : w.mind().take_effects()) {
    auto* sent = std::get_if<send_effect>(&e);
    if (sent == nullptr || sent->to.node != a) continue;
    if (const auto* m = std::get_if<wire::members>(&sent->body)) said.push_back(*m);
  }
  ASSERT_GE(said.size(), 2U);
  for (std::size_t i = 1; i < said.size(); ++i) EXPECT_GT(said[i].version, said[i - 1].version);
  const auto& last = said.back().list;
  ASSERT_EQ(last.size(), 2U);
  EXPECT_EQ(last[0].node, a);
  EXPECT_TRUE(last[0].ticket.empty());
  EXPECT_EQ(last[1].state, wire::member_state::suspect);
  const std::vector<std::byte> ticket{std::byte{42}, std::byte{1}, std::byte{2}};
  EXPECT_EQ(last[1].ticket, ticket);
}

TEST(control_members, numbers_of_groups_stay_with_a_node_over_its_lives_and_restarts) {
  control_world w;
  const node_id a = w.add(wire::role_expert, 12);
  const node_id b = w.add(wire::role_expert, 12);
  w.settle_all();
  const std::uint32_t first = w.agents.at(a).group_first, second = w.agents.at(b).group_first;
  EXPECT_NE(first, second);
  w.kill(a);
  w.find_dead(a);
  w.crash(0);
  w.begin_life(a);
  w.settle_all();
  EXPECT_EQ(w.agents.at(a).group_first, first);
  EXPECT_EQ(w.agents.at(b).group_first, second);
}

TEST(control_members, who_hears_nobody_is_cut_off_itself_and_gives_nobody_up) {
  control_world w;
  const node_id a = w.add(wire::role_attention, 0);
  const node_id b = w.add(wire::role_expert, 12);
  const node_id c = w.add(wire::role_expert, 12);
  w.settle_all();
  const auto hears = [&](node_id n, member_state state) {
    w.mind().peer_changed({n, w.agents.at(n).life}, transport::plane::control, state, "so", w.now);
  };
  const epoch before = w.mind().view(w.now).placement.epoch;
  for (const node_id n : {a, b, c}) hears(n, member_state::suspect);
  for (const node_id n : {a, b, c}) hears(n, member_state::dead);
  w.settle_all();
  for (const node_id n : {a, b, c})
    EXPECT_EQ(w.mind().view(n, w.now)->state, node_state::suspect) << n.value;
  EXPECT_EQ(w.mind().view(w.now).placement.epoch, before);

  hears(a, member_state::alive);
  hears(b, member_state::alive);
  EXPECT_EQ(w.mind().view(a, w.now)->state, node_state::alive);
  EXPECT_EQ(w.mind().view(c, w.now)->state, node_state::suspect);
  ASSERT_TRUE(w.mind().next_due().has_value());
  w.agents.at(c).hears = false;
  w.now = w.now + cut_off_patience;
  w.mind().tick(w.now);
  EXPECT_EQ(w.mind().view(b, w.now)->state, node_state::alive);
  EXPECT_EQ(w.mind().view(c, w.now)->state, node_state::absent);
}

TEST(control_members, a_frozen_node_that_wakes_begins_a_new_life) {
  control_world w;
  w.add(wire::role_attention, 0);
  const node_id n = w.add(wire::role_expert, 12);
  w.add(wire::role_expert, 12);
  w.settle_all();
  const incarnation before = w.agents.at(n).life;
  w.agents.at(n).hears = false;
  w.find_dead(n);
  w.settle_all();
  EXPECT_EQ(w.mind().view(n, w.now)->state, node_state::absent);
  w.agents.at(n).hears = true;
  w.settle_all();
  EXPECT_GT(w.agents.at(n).life, before);
  EXPECT_EQ(w.mind().view(n, w.now)->state, node_state::alive);
  EXPECT_EQ(w.live_copies({1, 0}), 2U);
}

TEST(control_members, a_node_that_others_cannot_reach_is_fenced_after_a_while) {
  control_world w;
  std::vector<node_id> fronts;
  for (int i = 0; i < 2; ++i) fronts.push_back(w.add(wire::role_attention, 0));
  const node_id bad = w.add(wire::role_expert, 12);
  for (int i = 0; i < 2; ++i) w.add(wire::role_expert, 12);
  w.settle_all();
  const incarnation life = w.agents.at(bad).life;
  for (const node_id front : fronts) {
    w.mind().path_reported({front, w.agents.at(front).life}, {bad, life, true, "silent"}, w.now);
  }
  w.carry_out();
  EXPECT_EQ(w.mind().view(bad, w.now)->state, node_state::alive);
  const auto due = w.mind().next_due();
  ASSERT_TRUE(due.has_value());
  EXPECT_LE(*due, w.now + std::chrono::seconds{1});
  w.now = *due;
  w.mind().tick(w.now);
  w.carry_out();
  EXPECT_EQ(w.mind().view(bad, w.now)->state, node_state::absent);
  EXPECT_EQ(w.mind().view(fronts[0], w.now)->state, node_state::alive);
  w.settle_all();
  EXPECT_GT(w.agents.at(bad).life, life);
  EXPECT_EQ(w.mind().view(bad, w.now)->state, node_state::alive);
}

TEST(control_members, a_path_that_is_back_accuses_nobody) {
  control_world w;
  const node_id front = w.add(wire::role_attention, 0);
  const node_id bad = w.add(wire::role_expert, 12);
  w.add(wire::role_expert, 12);
  w.settle_all();
  const transport::node_identity from{front, w.agents.at(front).life};
  const incarnation life = w.agents.at(bad).life;
  w.mind().path_reported(from, {bad, life, true, "silent"}, w.now);
  w.mind().path_reported(from, {bad, life, false, ""}, w.now);
  w.carry_out();
  w.now = w.now + std::chrono::seconds{5};
  w.mind().tick(w.now);
  w.carry_out();
  EXPECT_EQ(w.mind().view(bad, w.now)->state, node_state::alive);
}

/// What the detector finds of a life.
void find(control_world& w, transport::node_identity who, member_state state) {
  w.mind().peer_changed(who, transport::plane::control, state, "silent", w.now);
  w.carry_out();
}

TEST(control_members, who_was_lost_while_all_were_silent_is_given_up_once_others_are_heard) {
  control_world w;
  const node_id lost = w.add(wire::role_expert, 12);
  const node_id other = w.add(wire::role_expert, 12);
  w.settle_all();
  const transport::node_identity of_lost{lost, w.agents.at(lost).life};
  const transport::node_identity of_other{other, w.agents.at(other).life};
  w.kill(lost);
  find(w, of_other, member_state::suspect);
  find(w, of_lost, member_state::suspect);
  find(w, of_lost, member_state::dead);
  EXPECT_EQ(w.mind().view(lost, w.now)->state, node_state::suspect);
  find(w, of_other, member_state::alive);
  const auto due = w.mind().next_due();
  ASSERT_TRUE(due.has_value() && *due <= w.now + cut_off_patience);
  w.now = w.now + cut_off_patience;
  w.mind().tick(w.now);
  w.carry_out();
  EXPECT_EQ(w.mind().view(lost, w.now)->state, node_state::absent);
  EXPECT_EQ(w.mind().view(other, w.now)->state, node_state::alive);
}

TEST(control_members, new_lives_take_the_places_of_those_lost_while_all_were_silent) {
  control_world w;
  const node_id a = w.add(wire::role_expert, 12);
  const node_id b = w.add(wire::role_expert, 12);
  w.settle_all();
  for (const node_id n : {a, b}) find(w, {n, w.agents.at(n).life}, member_state::suspect);
  for (const node_id n : {a, b}) find(w, {n, w.agents.at(n).life}, member_state::dead);
  for (const node_id n : {a, b}) {
    w.agents.at(n).life = incarnation{w.agents.at(n).life.value + 1000};
    EXPECT_EQ(refusal(w, {n, w.agents.at(n).life}, w.join_of(w.agents.at(n))), "");
  }
  w.now = w.now + cut_off_patience;
  w.mind().tick(w.now);  // and nothing is left to judge
  for (const node_id n : {a, b}) EXPECT_EQ(w.mind().view(n, w.now)->state, node_state::alive);
}

TEST(control_members, a_restarted_coordinator_does_not_wait_for_ever_for_all_others) {
  control_world w;
  const node_id own = w.add(wire::role_expert | wire::role_attention, 12);
  const node_id other = w.add(wire::role_expert, 12);
  w.settings().self = own;
  w.settle_all();
  w.kill(other);
  w.crash(0);
  w.ended.clear();
  w.settle_all();
  EXPECT_TRUE(w.mind().is_ready());
  EXPECT_EQ(w.mind().view(other, w.now)->state, node_state::absent);
}

TEST(control_members, refuses_an_epoch_that_the_cluster_cannot_have_come_to) {
  control_world w;
  const node_id n = w.add(wire::role_expert, 12);
  w.settle_all();
  fake_agent& a = w.agents.at(n);
  const transport::node_identity who{n, a.life};
  wire::join j = w.join_of(a);
  j.epoch = epoch{~std::uint64_t{0}};
  const std::string text = refusal(w, who, j);
  EXPECT_TRUE(has(text, "invalid_argument") && has(text, "epoch 18446744073709551615")) << text;
  j.epoch = epoch{w.last_epoch.value + 100};
  EXPECT_EQ(refusal(w, who, j), "");
}

TEST(control_members, a_lost_path_that_is_not_said_again_accuses_nobody) {
  control_world w;
  const node_id front = w.add(wire::role_attention, 0);
  const node_id second = w.add(wire::role_attention, 0);
  const node_id bad = w.add(wire::role_expert, 12);
  for (int i = 0; i < 2; ++i) w.add(wire::role_expert, 12);
  w.settle_all();
  const auto says = [&](node_id who) {
    w.mind().path_reported(
        {who, w.agents.at(who).life}, {bad, w.agents.at(bad).life, true, "silent"}, w.now);
    w.carry_out();
  };
  says(front);
  w.now = w.now + loss_patience;
  w.mind().tick(w.now);
  says(second);
  w.now = w.now + std::chrono::seconds{2};
  w.mind().tick(w.now);
  w.carry_out();
  EXPECT_EQ(w.mind().view(bad, w.now)->state, node_state::alive);
  // Said again in time, both count.
  says(front);
  w.now = w.now + std::chrono::seconds{1};
  w.mind().tick(w.now);
  w.carry_out();
  EXPECT_EQ(w.mind().view(bad, w.now)->state, node_state::absent);
}

TEST(control_placement, waits_for_enough_nodes_and_then_spreads_evenly) {
  control_world w{2, 3};
  w.add(wire::role_attention, 0);
  w.add(wire::role_expert, 12);
  w.add(wire::role_expert, 12);
  w.settle_all();
  EXPECT_EQ(w.loads_said, 0U);
  EXPECT_FALSE(w.mind().is_ready());
  EXPECT_TRUE(has(w.mind().view(w.now).waiting_for, "3 expert nodes"));
  w.add(wire::role_expert, 12);
  w.settle_all();
  ASSERT_TRUE(w.mind().is_ready());
  const std::vector<experts::group_place> places{
      {group_id{0}, node_id{2}}, {group_id{1}, node_id{3}}, {group_id{2}, node_id{4}}};
  const auto even = experts::spread_evenly(epoch{1}, w.settings().model.shape, places, 2);
  wire_map expected;
  for (const layer_index layer : w.settings().model.shape.layers) {
    for (std::uint32_t e = 0; e < 6; ++e) {
      for (const auto& r : even->replicas(layer, expert_index{e}))
        expected.insert({{layer.value, e}, r.group.value});
    }
  }
  EXPECT_EQ(w.current_map(), expected);
}

TEST(control_placement, a_dead_copy_leaves_at_once_and_is_made_anew_elsewhere) {
  control_world w;
  w.add(wire::role_attention, 0);
  std::vector<node_id> nodes;
  for (int i = 0; i < 3; ++i) nodes.push_back(w.add(wire::role_expert, 12));
  w.settle_all();
  const epoch before = w.last_epoch;
  w.kill(nodes[1]);
  w.find_dead(nodes[1]);
  EXPECT_GT(w.last_epoch, before);
  for (const auto& [expert, group] : w.current_map())
    EXPECT_NE(w.node_of_group.at(group), nodes[1]);
  w.settle_all();
  for (std::uint32_t e = 0; e < 6; ++e) EXPECT_EQ(w.live_copies({1, e}), 2U);
}

TEST(control_placement, says_which_lost_experts_are_being_loaded) {
  control_world w{1};
  w.add(wire::role_attention, 0);
  std::vector<node_id> nodes;
  for (int i = 0; i < 2; ++i) nodes.push_back(w.add(wire::role_expert, 10));
  w.settle_all();
  EXPECT_TRUE(w.last_coming.empty());
  const auto held = [&w](node_id node) { return w.agents.at(node).held; };
  const auto lost = held(nodes[1]);
  const std::size_t room = 10 - held(nodes[0]).size();
  ASSERT_LT(room, lost.size());
  w.kill(nodes[1]);
  w.find_dead(nodes[1]);
  EXPECT_EQ(w.last_coming.size(), room);  // and no more than it has room for
  for (const auto& c : w.last_coming) EXPECT_EQ(lost.count({c.layer.value, c.expert}), 1U);
  w.settle_all();
  EXPECT_TRUE(w.last_coming.empty());
  EXPECT_EQ(held(nodes[0]).size(), 10U);
}

TEST(control_placement, nodes_without_a_checkpoint_fetch_once_others_hold) {
  control_world w{2, 4};
  w.add(wire::role_attention, 0);
  for (int i = 0; i < 4; ++i) {
    const node_id n = w.add(wire::role_expert, 9);
    w.agents.at(n).has_weights = i < 2;
    w.from_agent[n].clear();
    w.say_join(n);
  }
  w.settle_all();
  EXPECT_TRUE(w.mind().is_ready());
  for (const std::uint32_t layer : {1U, 2U})
    for (std::uint32_t e = 0; e < 6; ++e) EXPECT_EQ(w.live_copies({layer, e}), 2U);
  for (const auto& [node, a] : w.agents)
    EXPECT_GE(a.held.size(), (a.roles & wire::role_expert) != 0 ? 5U : 0U) << node.value;
}

TEST(control_placement, a_restarted_coordinator_loads_nothing_that_is_held) {
  control_world w;
  w.add(wire::role_attention, 0);
  for (int i = 0; i < 3; ++i) w.add(wire::role_expert, 12);
  w.settle_all();
  const auto map = w.current_map();
  const epoch before = w.last_epoch;
  const std::size_t loads = w.loads_said;
  w.crash(0);
  w.settle_all();
  EXPECT_EQ(w.loads_said, loads);
  EXPECT_EQ(w.current_map(), map);
  EXPECT_GT(w.last_epoch, before);
  EXPECT_TRUE(w.mind().is_ready());
}

TEST(control_placement, a_holder_that_computes_otherwise_does_not_get_the_expert) {
  control_world w;
  w.add(wire::role_attention, 0);
  w.add(wire::role_expert, 12);
  w.settle_all();
  const node_id odd = w.add(wire::role_expert, 12);
  w.agents.at(odd).differs.insert({2, 3});
  w.add(wire::role_expert, 12);
  w.settle_all();
  EXPECT_EQ(w.live_copies({2, 3}), 2U);
  EXPECT_EQ(w.agents.at(odd).held.count({2, 3}), 0U);
  const auto events = w.mind().events_since(0);
  EXPECT_TRUE(std::any_of(events.begin(), events.end(), [&](const event& e) {
    return has(e.text,
               "node " + std::to_string(odd.value) + " computes expert 3 of layer 2 differently");
  }));
}

TEST(control_placement, an_order_without_an_answer_goes_elsewhere) {
  control_world w;
  w.add(wire::role_attention, 0);
  w.add(wire::role_expert, 12);
  w.settle_all();
  const node_id mute = w.add(wire::role_expert, 12);
  const node_id other = w.add(wire::role_expert, 12);
  for (int i = 0; i < 4; ++i) w.deliver_from(mute);
  w.agents.at(mute).hears = false;
  // It is tried again now and then, so this never comes to rest.
  for (int i = 0; i < 100; ++i) {
    for (const auto& [node, a] : w.agents) {
      while (w.deliver_to(node) || w.deliver_from(node) || w.finish_calls(node)) {
      }
    }
    w.now = w.now + std::chrono::milliseconds{500};
    w.mind().tick(w.now);
    w.carry_out();
  }
  EXPECT_EQ(w.live_copies({1, 0}), 2U);
  EXPECT_EQ(w.agents.at(other).held.size(), 12U);
}

TEST(control_members, speeds_are_as_observed_else_as_measured_else_the_mean) {
  control_world w;
  std::vector<transport::node_identity> who;
  const std::vector<float> measured{100, 300, 0};
  for (const float speed : measured) {
    fake_agent a;
    a.node = *w.mind().admit("a", wire::role_expert);
    a.roles = wire::role_expert;
    a.capacity = 12;
    wire::join j = w.join_of(a);
    j.speed = speed;
    if (speed == 300) j.domain = "rack-2";
    who.push_back({a.node, incarnation{1}});
    EXPECT_EQ(refusal(w, who.back(), j), "");
  }
  const auto speed_of = [&](std::size_t i) { return w.mind().speed_of(who[i].node); };
  EXPECT_EQ(speed_of(0), 100);
  EXPECT_EQ(speed_of(1), 300);
  EXPECT_EQ(speed_of(2), 200);
  EXPECT_EQ(w.mind().speed_of(node_id{77}), 200);
  wire::load_report r;
  r.node = who[1].node;
  r.speed_now = 50;
  r.busy_ns = 7'000'000;
  w.mind().reported(who[1], r, w.now);
  EXPECT_EQ(speed_of(1), 50);
  EXPECT_EQ(speed_of(2), 75);
  const node_view v = *w.mind().view(who[1].node, w.now);
  EXPECT_EQ(v.speed, 300);
  EXPECT_EQ(v.speed_now, 50);
  EXPECT_EQ(v.busy_ms, 7U);
  EXPECT_EQ(v.domain, "rack-2");
  EXPECT_EQ(w.mind().domain_of(who[1].node), "rack-2");
  EXPECT_EQ(w.mind().domain_of(who[0].node), "node " + std::to_string(who[0].node.value));
  EXPECT_EQ(w.mind().domain_of(node_id{77}), "");
  EXPECT_EQ(control_world{}.mind().speed_of(node_id{1}), 1);
}

}  // namespace
}  // namespace atl::cluster
