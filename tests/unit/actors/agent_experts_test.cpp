#include "tests/unit/actors/agent_world.hpp"

namespace atl::actors {
namespace {

using tensor::dtype;

/// Experts of 13 MB as float32: four chunks.
model::model_config large_config() {
  model::model_config c = experts::ragged_config();
  c.hidden = 1000;
  c.expert_inner = 1100;
  return c;
}
constexpr std::uint32_t large_width = 1000;

class agent_experts_world : public agent_world {
protected:
  agent_experts_world() : large_{large_config()} {
    large_.add(1, 0, dtype::f32, dtype::f32, dtype::f32);
    large_.add(1, 3, dtype::f8_e4m3, dtype::f8_e4m3, dtype::f8_e4m3);
    open_coordinator();
  }
  agent_setup with_weights() const { return {large_.get(), large_config()}; }
  agent_setup without() const { return {nullptr, large_config()}; }
  std::uint64_t right(std::uint32_t expert) const { return right_check(*large_.get(), 1, expert); }
  std::uint64_t bytes(std::uint32_t expert) const {
    return experts::layout_of(large_.get()->layers[1].experts[expert]).total;
  }
  void faults(const transport::fault_plan& plan) {
    faults_ = transport::faulty_network{5, plan, events_};
  }

  experts::made_weights large_;
};

TEST_F(agent_experts_world, loads_from_its_own_checkpoint_and_lets_go_again) {
  auto& n = add_node(2, with_weights());
  const auto placed = load(2, order(4, 1, {3, 0}));
  ASSERT_FALSE(placed.cause) << placed.cause->text;
  EXPECT_EQ(placed.epoch, epoch{4});
  EXPECT_EQ(placed.node, node_id{2});
  EXPECT_EQ(placed.layer, layer_index{1});
  EXPECT_GT(placed.bytes, 0U);
  EXPECT_EQ(placed.held,
            (std::vector<wire::checked_expert>{{right(0), layer_index{1}, 0},
                                               {right(3), layer_index{1}, 3}}));
  EXPECT_EQ(n.memory->used_bytes(), bytes(0) + bytes(3));
  EXPECT_EQ(row_check(2, 1, 3, large_width), right(3));
  say(2, drop(5, 1, {3}));
  run_for(milliseconds{10});
  EXPECT_EQ(n.memory->used_bytes(), bytes(0));
  EXPECT_FALSE(row_check(2, 1, 3, large_width));
  EXPECT_EQ(row_check(2, 1, 0, large_width), right(0));
}

TEST_F(agent_experts_world, two_groups_share_the_memory_of_one_expert) {
  auto setup = with_weights();
  setup.groups = 2;
  auto& n = add_node(2, setup);
  say(2, order(1, 1, {0}, {}, 0));
  ASSERT_FALSE(load(2, order(1, 1, {0}, {}, 1)).cause);
  ASSERT_TRUE(run_until([&] { return heard<wire::placed>().size() == 2; }));
  EXPECT_EQ(n.memory->used_bytes(), bytes(0));
  say(2, drop(2, 1, {0}, 0));
  run_for(milliseconds{10});
  EXPECT_EQ(n.memory->used_bytes(), bytes(0));
  say(2, drop(2, 1, {0}, 1));
  run_for(milliseconds{10});
  EXPECT_EQ(n.memory->used_bytes(), 0U);
}

TEST_F(agent_experts_world, fetches_from_a_peer_over_a_network_that_loses_and_damages) {
  faults({.drop = 0.1, .duplicate = 0.2, .corrupt = 0.2, .delay = 0.3, .delay_max = seconds{2}});
  add_node(3, with_weights());
  add_node(4, with_weights());
  auto& n = add_node(2, without());
  ASSERT_FALSE(load(3, order(1, 1, {0, 3})).cause);
  ASSERT_FALSE(load(4, order(1, 1, {0, 3})).cause);
  const auto placed = load(2, order(2, 1, {0, 3}, {node_id{3}, node_id{4}}), seconds{120});
  ASSERT_FALSE(placed.cause) << placed.cause->text;
  ASSERT_EQ(placed.held.size(), 2U);
  EXPECT_EQ(placed.held[0].check, right(0));
  EXPECT_EQ(placed.held[1].check, right(3));
  EXPECT_GT(faults_.counts().corrupted, 0U);
  EXPECT_EQ(n.memory->used_bytes(), bytes(0) + bytes(3));
  say(2, drop(3, 1, {0, 3}));
  run_for(milliseconds{10});
  EXPECT_EQ(n.memory->used_bytes(), 0U);
}

TEST_F(agent_experts_world, goes_on_from_another_source_when_one_dies) {
  add_node(3, with_weights());
  add_node(4, with_weights());
  auto& n = add_node(2, without());
  ASSERT_FALSE(load(3, order(1, 1, {0})).cause);
  ASSERT_FALSE(load(4, order(1, 1, {0})).cause);
  say(2, order(2, 1, {0}, {node_id{3}, node_id{4}}));
  ASSERT_TRUE(run_until([&] { return n.memory->used_bytes() > 0; }));  // the first chunk is here
  ASSERT_TRUE(heard<wire::placed>(2).empty());
  faults_.cut(node_id{3});
  const auto began = time_->now();
  run_for(milliseconds{100});
  caf::anon_send(
      n.agent,
      peer_changed{
          {node_id{3}, incarnation{3}}, transport::plane::data, peer_state::dead, "killed"});
  ASSERT_TRUE(run_until([&] { return !heard<wire::placed>(2).empty(); }));
  EXPECT_LT(time_->now() - began, milliseconds{200});
  EXPECT_FALSE(heard<wire::placed>(2)[0].cause);
  EXPECT_EQ(row_check(2, 1, 0, large_width), right(0));
}

TEST_F(agent_experts_world, a_source_that_is_no_member_any_more_is_not_waited_for) {
  add_node(3, with_weights());
  add_node(4, with_weights());
  add_node(2, without());
  ASSERT_FALSE(load(4, order(1, 1, {0})).cause);
  faults_.cut(node_id{3});
  wire::members all;
  for (const std::uint32_t id : {2U, 3U, 4U}) {
    wire::member_info m;
    m.node = node_id{id};
    m.life = incarnation{3};
    m.roles = wire::role_expert;
    all.list.push_back(m);
  }
  all.version = 1;
  say(2, all);
  say(2, order(2, 1, {0}, {node_id{3}, node_id{4}}));
  run_for(milliseconds{100});
  all.version = 2;
  all.list.erase(all.list.begin() + 1);
  say(2, all);
  ASSERT_TRUE(run_until([&] { return !heard<wire::placed>(2).empty(); }, milliseconds{300}));
  EXPECT_FALSE(heard<wire::placed>(2)[0].cause);
}

TEST_F(agent_experts_world, a_load_that_nobody_can_serve_fails_and_leaves_nothing) {
  auto& n = add_node(2, without());
  add_node(3, with_weights());  // holds nothing
  auto placed = load(2, order(2, 1, {0}, {node_id{3}}));
  ASSERT_TRUE(placed.cause);
  EXPECT_EQ(placed.cause->code, errc::unavailable);
  EXPECT_NE(placed.cause->text.find("not held"), std::string::npos) << placed.cause->text;
  // A source that dies in the middle and was the only one.
  ASSERT_FALSE(load(3, order(1, 1, {0})).cause);
  say(2, order(3, 1, {0}, {node_id{3}}));
  ASSERT_TRUE(run_until([&] { return n.memory->used_bytes() > 0; }));
  faults_.cut(node_id{3});
  const auto began = time_->now();
  ASSERT_TRUE(run_until([&] { return heard<wire::placed>(2).size() == 2; }));
  EXPECT_LT(time_->now() - began, milliseconds{6200});
  EXPECT_TRUE(heard<wire::placed>(2)[1].cause);
  EXPECT_EQ(n.memory->used_bytes(), 0U);
  // And once there is one again, it works.
  faults_.heal(node_id{3});
  EXPECT_FALSE(load(2, order(4, 1, {0}, {node_id{3}})).cause);
  placed = load(2, order(4, 1, {1}));
  ASSERT_TRUE(placed.cause);  // no source at all
}

TEST_F(agent_experts_world, refuses_what_does_not_exist) {
  add_node(2, with_weights());
  EXPECT_EQ(load(2, order(1, 0, {0})).cause->code, errc::invalid_argument);  // a dense layer
  EXPECT_EQ(load(2, order(1, 1, {4})).cause->code, errc::invalid_argument);
  EXPECT_EQ(load(2, order(1, 1, {0}, {}, 1)).cause->code, errc::invalid_argument);
  auto nothing = with_weights();
  nothing.groups = 0;
  add_node(5, nothing);
  EXPECT_EQ(load(5, order(1, 1, {0})).cause->code, errc::invalid_argument);
  say(5, drop(1, 1, {0}));
  say(2, drop(1, 0, {0}));
  say(2, drop(1, 1, {0}, 9));
  run_for(milliseconds{10});
  EXPECT_FALSE(load(2, order(1, 1, {})).cause);
}

TEST_F(agent_experts_world, a_full_budget_fails_the_one_that_does_not_fit) {
  auto setup = without();
  setup.memory = bytes(0) + bytes(3) - 1;
  auto& n = add_node(2, setup);
  add_node(3, with_weights());
  ASSERT_FALSE(load(3, order(1, 1, {0, 3})).cause);
  ASSERT_FALSE(load(2, order(2, 1, {0}, {node_id{3}})).cause);
  const auto placed = load(2, order(2, 1, {3}, {node_id{3}}));
  ASSERT_TRUE(placed.cause);
  EXPECT_EQ(placed.cause->code, errc::out_of_memory);
  EXPECT_EQ(n.memory->used_bytes(), bytes(0));
  say(2, drop(3, 1, {0}));
  ASSERT_FALSE(load(2, order(4, 1, {3}, {node_id{3}})).cause);
  setup.weights = large_.get();
  add_node(4, setup);
  EXPECT_EQ(load(4, order(1, 1, {0, 3})).cause->code, errc::out_of_memory);
}

TEST_F(agent_experts_world, a_release_waits_for_the_jobs_that_compute) {
  auto& n = add_node(2, without());
  add_node(3, with_weights());
  ASSERT_FALSE(load(3, order(1, 1, {0})).cause);
  ASSERT_FALSE(load(2, order(2, 1, {0}, {node_id{3}})).cause);
  n.device->takes = seconds{2};
  ask_row(2, 1, 0, large_width);
  run_for(milliseconds{100});
  say(2, drop(3, 1, {0}));
  run_for(seconds{1});
  EXPECT_EQ(n.memory->used_bytes(), bytes(0));
  ask_row(2, 1, 0, large_width);
  run_for(milliseconds{100});
  ASSERT_EQ(answers_.size(), 1U);
  EXPECT_FALSE(hash_of(answers_[0]));  // refused: held no more
  ASSERT_TRUE(run_until([&] { return answers_.size() == 2; }));
  EXPECT_EQ(hash_of(answers_[1]), right(0));
  run_for(milliseconds{10});
  EXPECT_EQ(n.memory->used_bytes(), 0U);
}

TEST_F(agent_experts_world, a_release_calls_off_a_load_wherever_it_is) {
  auto& n = add_node(2, without());
  add_node(3, with_weights());
  ASSERT_FALSE(load(3, order(1, 1, {0})).cause);
  n.device->takes = milliseconds{50};
  std::size_t placed = 0;
  for (int ms = 0; ms < 400; ms += 19) {
    say(2, order(2, 1, {0}, {node_id{3}}));
    run_for(milliseconds{ms});
    say(2, drop(2, 1, {0}));
    ASSERT_TRUE(run_until([&] { return heard<wire::placed>(2).size() > placed; }));
    placed = heard<wire::placed>(2).size();
    ASSERT_TRUE(run_until([&] { return n.memory->used_bytes() == 0; }, milliseconds{300})) << ms;
  }
  EXPECT_EQ(heard<wire::placed>(2).front().cause->code, errc::cancelled);
  EXPECT_FALSE(heard<wire::placed>(2).back().cause);
  EXPECT_FALSE(load(2, order(3, 1, {0}, {node_id{3}})).cause);
}

TEST_F(agent_experts_world, a_load_anew_is_not_taken_for_the_one_that_was_called_off) {
  auto& n = add_node(2, without());
  add_node(3, with_weights());
  ASSERT_FALSE(load(3, order(1, 1, {0})).cause);
  n.device->takes = milliseconds{50};
  std::size_t placed = 0;
  for (int ms = 0; ms < 400; ms += 37) {
    say(2, order(2, 1, {0}, {node_id{3}}));
    run_for(milliseconds{ms});
    say(2, drop(2, 1, {0}));
    say(2, order(2, 1, {0}, {node_id{3}}));
    placed += 2;
    ASSERT_TRUE(run_until([&] { return heard<wire::placed>(2).size() == placed; })) << ms;
    EXPECT_FALSE(heard<wire::placed>(2).back().cause) << ms;
    EXPECT_EQ(heard<wire::placed>(2).back().held.front().check, right(0));
    run_for(milliseconds{300});
    EXPECT_EQ(n.memory->used_bytes(), bytes(0)) << ms;
    say(2, drop(2, 1, {0}));
    run_for(milliseconds{100});
    ASSERT_EQ(n.memory->used_bytes(), 0U) << ms;
  }
}

TEST_F(agent_experts_world, orders_may_come_again_and_late) {
  auto& n = add_node(2, with_weights());
  const auto what = order(6, 1, {0, 3});
  say(2, what);
  say(2, what);
  say(2, order(7, 1, {0}));
  run_for(seconds{1});
  ASSERT_EQ(heard<wire::placed>(2).size(), 2U);  // one for each different order
  const auto again = load(2, what);
  ASSERT_FALSE(again.cause);
  EXPECT_EQ(again.held.size(), 2U);
  EXPECT_EQ(n.memory->used_bytes(), bytes(0) + bytes(3));
  say(2, drop(5, 1, {0, 3}));  // of a plan before
  say(2, drop(6, 1, {0}));     // 0 was ordered for epoch 7 since
  run_for(milliseconds{10});
  EXPECT_EQ(n.memory->used_bytes(), bytes(0) + bytes(3));
  say(2, drop(8, 1, {0}));
  say(2, drop(8, 1, {0}));
  run_for(milliseconds{10});
  EXPECT_EQ(n.memory->used_bytes(), bytes(3));
  const auto late = load(2, order(7, 1, {0}));
  ASSERT_TRUE(late.cause);
  EXPECT_EQ(late.cause->code, errc::stale_epoch);
  EXPECT_FALSE(load(2, order(8, 1, {0})).cause);
}

TEST_F(agent_experts_world, answers_at_most_so_many_fetches_at_once) {
  auto& n = add_node(3, with_weights());
  ASSERT_FALSE(load(3, order(1, 1, {0})).cause);
  n.device->takes = milliseconds{50};
  std::vector<incoming_ptr> chunks;
  coordinator_->bind(agent_slot, [&](incoming_ptr m) { chunks.push_back(std::move(m)); });
  wire::fetch ask;
  ask.layer = layer_index{1};
  ask.length = wire::chunk_bytes_max;
  const auto send = [&] {
    ++ask.number;
    ASSERT_TRUE(coordinator_->send(agent_slot, {node_id{3}, agent_slot}, ask).has_value());
  };
  for (int i = 0; i < 5; ++i) send();
  ask.offset = bytes(0);
  send();
  ask.offset = 0;
  ask.expert = 3;
  send();
  run_for(seconds{1});
  {
    const auto all = all_of<wire::chunk>(chunks);
    ASSERT_EQ(all.size(), 7U);
    std::size_t whole = 0;
    for (const auto& c : all) {
      if (!c.cause) {
        ++whole;
        std::vector<std::byte> expected(wire::chunk_bytes_max);
        experts::read_blob(large_.get()->layers[1].experts[0], 0, expected);
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), c.bytes.bytes.begin()));
        continue;
      }
      const errc expected = c.number == 5   ? errc::overloaded
                            : c.number == 6 ? errc::invalid_argument
                                            : errc::not_found;
      EXPECT_EQ(c.cause->code, expected) << c.number;
    }
    EXPECT_EQ(whole, 4U);
  }
  // Room again once those chunks are gone.
  chunks.clear();
  ask.expert = 0;
  run_for(milliseconds{10});
  send();
  run_for(seconds{1});
  ASSERT_EQ(chunks.size(), 1U);
  EXPECT_FALSE(all_of<wire::chunk>(chunks)[0].cause);
}

}  // namespace
}  // namespace atl::actors
