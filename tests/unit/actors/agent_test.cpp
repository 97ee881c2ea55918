#include "tests/unit/actors/agent_world.hpp"

#include <caf/event_based_actor.hpp>

namespace atl::actors {
namespace {

using tensor::dtype;

class agent : public agent_world {
protected:
  agent() : made_{experts::ragged_config()} { made_.add_all(dtype::bf16); }
  agent_setup setup(bool joins) const {
    agent_setup s;
    s.weights = made_.get();
    s.config = experts::ragged_config();
    s.joins = joins;
    return s;
  }
  std::vector<std::int64_t> join_times() const {
    std::vector<std::int64_t> out;
    for (std::size_t i = 0; i < heard_.size(); ++i)
      if (std::holds_alternative<wire::join>(heard_[i]->body))
        out.push_back(heard_at_[i].value / 1'000'000);
    return out;
  }
  experts::made_weights made_;
};

TEST_F(agent, asks_to_join_until_it_is_welcome) {
  open_coordinator();
  auto& n = add_node(2, setup(true));
  run_for(seconds{6});
  EXPECT_EQ(join_times(), (std::vector<std::int64_t>{0, 500, 1500, 3500, 5500}));
  EXPECT_EQ(heard<wire::join>().front().name, "box");
  wire::welcome w;
  w.group_first = 4;
  w.shard_first = 2;
  say(2, w);
  say(2, wire::members{.version = 1, .list = {}});
  run_for(seconds{10});
  EXPECT_EQ(join_times().size(), 5U);
  ASSERT_EQ(n.welcomes.size(), 1U);
  EXPECT_EQ(n.welcomes[0], w);
  say(2, w);  // the answer to an earlier join
  run_for(seconds{1});
  EXPECT_EQ(n.welcomes.size(), 1U);
}

TEST_F(agent, waits_for_an_absent_coordinator_and_joins_again_when_it_was_lost) {
  auto& n = add_node(2, setup(true));
  run_for(seconds{60});
  open_coordinator();
  ASSERT_TRUE(run_until([&] { return !join_times().empty(); }, milliseconds{2050}));
  wire::welcome w;
  w.group_first = 4;
  say(2, w);
  say(2, wire::members{.version = 1, .list = {}});
  const auto placed = load(2, order(3, 1, {0, 2}, {}, 4));
  ASSERT_FALSE(placed.cause) << placed.cause->text;
  heard_.clear();
  heard_at_.clear();
  close_coordinator();
  run_for(seconds{20});
  EXPECT_EQ(n.welcomes.size(), 1U);
  open_coordinator(2);
  ASSERT_TRUE(run_until([&] { return !join_times().empty(); }, milliseconds{2050}));
  const auto said = heard<wire::join>().front();
  EXPECT_EQ(said.held, placed.held);
  ASSERT_EQ(said.held.size(), 2U);
  say(2, w);
  say(2, wire::members{.version = 2, .list = {}});
  run_for(seconds{5});
  EXPECT_EQ(n.welcomes.size(), 2U);
  EXPECT_LE(join_times().size(), 2U);
}

TEST_F(agent, asks_again_until_who_welcomed_it_has_told_the_members) {
  open_coordinator();
  auto& n = add_node(2, setup(true));
  run_for(milliseconds{20});
  say(2, wire::welcome{});
  run_for(seconds{3});
  EXPECT_GT(join_times().size(), 1U);
  EXPECT_EQ(n.welcomes.size(), 1U);
  say(2, wire::members{.version = 1, .list = {}});
  run_for(seconds{1});
  const auto before = join_times().size();
  run_for(seconds{10});
  EXPECT_EQ(join_times().size(), before);
}

TEST_F(agent, a_dead_control_path_makes_it_join_at_once) {
  open_coordinator();
  auto& n = add_node(2, setup(true));
  run_for(milliseconds{20});
  say(2, wire::welcome{});
  say(2, wire::members{.version = 1, .list = {}});
  run_for(seconds{3});
  ASSERT_EQ(join_times().size(), 1U);
  const transport::node_identity who{coordinator, incarnation{1}};
  caf::anon_send(n.agent,
                 peer_changed{who, transport::plane::data, peer_state::dead, "another path"});
  caf::anon_send(n.agent,
                 peer_changed{who, transport::plane::control, peer_state::suspect, "late"});
  run_for(milliseconds{50});
  EXPECT_EQ(join_times().size(), 1U);
  caf::anon_send(n.agent, peer_changed{who, transport::plane::control, peer_state::dead, "dead"});
  caf::anon_send(n.agent, connection_lost{who, transport::plane::control, "and closed"});
  run_for(milliseconds{50});
  EXPECT_EQ(join_times().size(), 2U);
}

TEST_F(agent, a_refusal_is_told_and_final_but_for_a_coordinator_that_is_not_ready) {
  open_coordinator();
  auto& n = add_node(2, setup(true));
  run_for(milliseconds{20});
  wire::welcome w;
  w.cause = wire::failure{errc::unavailable, "still reading the journal"};
  say(2, w);
  run_for(seconds{4});
  EXPECT_TRUE(n.refusals.empty());
  EXPECT_EQ(join_times().size(), 4U);
  w.cause = wire::failure{errc::invalid_model, "another model"};
  say(2, w);
  run_for(seconds{10});
  ASSERT_EQ(n.refusals.size(), 1U);
  EXPECT_EQ(n.refusals[0].code(), errc::invalid_model);
  EXPECT_EQ(join_times().size(), 4U);
  EXPECT_TRUE(n.welcomes.empty());
}

TEST_F(agent, hands_members_on_in_order_and_tells_of_its_dismissal) {
  open_coordinator();
  auto& n = add_node(2, setup(false));
  const auto tell = [&](std::uint64_t version) {
    wire::members m;
    m.version = version;
    say(2, m);
  };
  tell(5);
  tell(4);
  tell(5);  // with new tickets
  tell(6);
  say(2, wire::dismissed{incarnation{2}, std::nullopt});  // an earlier life
  run_for(milliseconds{20});
  ASSERT_EQ(n.members.size(), 3U);
  EXPECT_EQ(n.members[2]->version, 6U);
  EXPECT_TRUE(n.dismissals.empty());
  say(2, wire::dismissed{incarnation{3}, wire::failure{errc::peer_gone, "declared dead"}});
  say(2, wire::dismissed{incarnation{3}, std::nullopt});
  run_for(milliseconds{20});
  ASSERT_EQ(n.dismissals.size(), 2U);
  EXPECT_EQ(n.dismissals[0]->message(), "declared dead");
  EXPECT_FALSE(n.dismissals[1]);
}

TEST_F(agent, obeys_the_coordinator_alone) {
  open_coordinator();
  auto& n = add_node(2, setup(false));
  auto& other = add_node(3, setup(false));
  ASSERT_TRUE(other.mail->send(agent_slot, {node_id{2}, agent_slot}, order(1, 1, {0})).has_value());
  ASSERT_TRUE(other.mail
                  ->send(agent_slot,
                         {node_id{2}, agent_slot},
                         wire::dismissed{incarnation{3}, std::nullopt})
                  .has_value());
  run_for(seconds{1});
  EXPECT_TRUE(heard<wire::placed>().empty());
  EXPECT_TRUE(n.dismissals.empty());
  EXPECT_EQ(n.memory->used_bytes(), 0U);
}

TEST_F(agent, tells_the_epoch_that_all_routers_have_adopted) {
  open_coordinator();
  std::vector<std::uint64_t> places;
  agent_setup s = setup(true);
  for (int i = 0; i < 2; ++i) {
    // An argument: without one CAF takes a reference to nothing.
    const auto stand_in = [&places](caf::event_based_actor*, int) -> caf::behavior {
      return {[&places](const incoming_ptr& m) {
                places.push_back(std::get<wire::place>(m->body).epoch.value);
              },
              [](held_atom) {
                held h;
                h.rows_in_flight = 7;
                return h;
              }};
    };
    others_.push_back(system_->spawn(stand_in, i));
    s.routers.push_back(caf::actor_cast<router_actor>(others_.back()));
  }
  auto& n = add_node(2, s);
  run_for(milliseconds{20});
  say(2, wire::welcome{});
  wire::place p;
  p.epoch = epoch{9};
  say(2, p);
  run_for(milliseconds{20});
  EXPECT_EQ(places, (std::vector<std::uint64_t>{9, 9}));
  const auto use = [&](std::uint32_t shard, std::uint64_t current, std::uint64_t oldest) {
    caf::anon_send(n.agent, router_epochs{shard_id{shard}, epoch{current}, epoch{oldest}});
    run_for(milliseconds{20});
  };
  use(0, 9, 9);
  EXPECT_TRUE(heard<wire::adopted>().empty());  // one router has not said anything yet
  use(1, 9, 8);
  use(1, 9, 8);
  use(1, 9, 9);
  use(0, 10, 9);
  EXPECT_EQ(heard<wire::adopted>(),
            (std::vector<wire::adopted>{{epoch{9}, epoch{8}}, {epoch{9}, epoch{9}}}));
  heard_.clear();
  heard_at_.clear();
  close_coordinator();
  run_for(seconds{3});
  use(1, 10, 10);
  open_coordinator(2);
  ASSERT_TRUE(run_until([&] { return !join_times().empty(); }, milliseconds{2050}));
  EXPECT_EQ(heard<wire::join>().front().epoch, epoch{10});
  say(2, wire::welcome{});
  run_for(seconds{2});
  EXPECT_EQ(heard<wire::adopted>(), (std::vector<wire::adopted>{{epoch{10}, epoch{9}}}));
  ASSERT_FALSE(heard<wire::load_report>().empty());
  EXPECT_EQ(heard<wire::load_report>().back().rows_in_flight, 14U);
}

TEST_F(agent, reports_each_second_and_forgets_no_row_while_nobody_listens) {
  open_coordinator();
  add_node(2, setup(true));
  run_for(milliseconds{20});
  say(2, wire::welcome{});
  ASSERT_FALSE(load(2, order(1, 1, {0, 1})).cause);
  ASSERT_TRUE(row_check(2, 1, 0, 200));
  run_for(seconds{4});
  const auto reports = heard<wire::load_report>();
  EXPECT_GE(reports.size(), 3U);
  EXPECT_LE(reports.size(), 5U);
  std::uint64_t rows = 0;
  for (const auto& r : reports)
    for (const auto& c : r.counts) rows += c.rows;
  EXPECT_EQ(rows, 1U);
  EXPECT_GT(reports.back().expert_bytes, 0U);
  // Two rows while the coordinator is away.
  heard_.clear();
  heard_at_.clear();
  close_coordinator();
  coordinator_ =
      std::make_shared<mailroom>(transport::node_identity{node_id{9}, incarnation{1}}, links());
  coordinator_->bind(asker_slot, [this](incoming_ptr m) { answers_.push_back(std::move(m)); });
  ASSERT_TRUE(coordinator_->open().has_value());
  ASSERT_TRUE(row_check(2, 1, 1, 200));
  ASSERT_TRUE(row_check(2, 1, 1, 200));
  run_for(seconds{5});
  close_coordinator();
  open_coordinator(2);
  ASSERT_TRUE(run_until([&] { return !join_times().empty(); }));
  say(2, wire::welcome{});
  run_for(seconds{3});
  rows = 0;
  for (const auto& r : heard<wire::load_report>())
    for (const auto& c : r.counts) rows += c.expert == 1 ? c.rows : 100;
  EXPECT_EQ(rows, 2U);
}

TEST_F(agent, tells_soon_of_rows_and_of_the_speed_that_they_showed) {
  open_coordinator();
  agent_setup s = setup(true);
  s.cost = {0, 10e6};  // 10 ms a row: 100 rows/s
  auto& n = add_node(2, s);
  run_for(milliseconds{20});
  EXPECT_EQ(heard<wire::join>().front().speed, 100);
  say(2, wire::welcome{});
  ASSERT_FALSE(load(2, order(1, 1, {0, 1})).cause);
  run_for(seconds{2});
  EXPECT_EQ(heard<wire::load_report>().back().speed_now, 0);
  // Four times as long as it should take.
  n.device->takes = milliseconds{40};
  heard_.clear();
  heard_at_.clear();
  ASSERT_TRUE(row_check(2, 1, 0, 200));
  const time_point_ns computed = time_->now();
  const auto has_rows = [&] {
    const auto all = heard<wire::load_report>();
    return !all.empty() && !all.back().counts.empty();
  };
  ASSERT_TRUE(run_until(has_rows));
  EXPECT_LE(time_->now() - computed, milliseconds{260});
  const auto report = heard<wire::load_report>().back();
  EXPECT_NEAR(report.speed_now, 25, 1);
  EXPECT_NEAR(static_cast<double>(report.busy_ns), 40e6, 1e6);
  // Nothing more to tell: once a second.
  heard_.clear();
  heard_at_.clear();
  run_for(seconds{4});
  EXPECT_LE(heard<wire::load_report>().size(), 5U);
  EXPECT_NEAR(heard<wire::load_report>().back().speed_now, 25, 1);
}

}  // namespace
}  // namespace atl::actors
