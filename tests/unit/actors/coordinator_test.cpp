// How often a coordinator wakes up, and plans that are made beside it.
#include "actors/coordinator.hpp"
#include "actors/planner.hpp"
#include "cluster/elastic/elastic.hpp"
#include "runtime/base/clock.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/typed_actor.hpp>
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <vector>

namespace atl::actors {
namespace {

namespace wire = transport::wire;
using std::chrono::milliseconds;

class coordinator_test : public testing::Test {
protected:
  explicit coordinator_test(bool has_experts = false)
      : mail_{{node_id{1}, incarnation{1}}, {nullptr, nullptr, nullptr, nullptr}} {
    config_.set("scheduler.policy", caf::atom("testing"));
    config_.set("logger.verbosity", caf::atom("quiet"));
    system_.emplace(config_);
    scheduler_ = dynamic_cast<caf::scheduler::test_coordinator*>(&system_->scheduler());
    coordinator_parts parts;
    parts.mail = &mail_;
    parts.time = &time_;
    parts.settings.cluster = "c";
    parts.settings.admits_unknown = true;
    parts.settings.self = node_id{1};
    parts.journal = [this](std::vector<std::string>, std::function<void(result<void>)> done) {
      ++writes_;
      done(is_full_ ? result<void>{error{errc::io, "the disk is full"}} : result<void>{});
    };
    if (has_experts) {
      parts.settings.model = {.shape = {.layers = {layer_index{1}}, .experts = 4},
                              .expert_bytes = 10};
      parts.settings.expert_nodes_min = 2;
      parts.plan = [this](auto input, plan_done done) {
        asked_.push_back({std::move(input), std::move(done)});
      };
    }
    self_ = spawn_coordinator(*system_, parts);
    caf::anon_send(self_, start_atom::value);
    run();
  }
  ~coordinator_test() override {
    caf::anon_send_exit(self_, caf::exit_reason::user_shutdown);
    run();
    asked_.clear();
    mail_.unbind();
    self_ = coordinator_actor{};
    system_.reset();
  }

  void run() {
    while (scheduler_->has_job()) scheduler_->run_once();
  }
  void pass(duration_ns time) {
    time_.advance(time);
    scheduler_->advance_time(std::chrono::duration_cast<caf::timespan>(time));
    run();
  }
  std::size_t timers() { return scheduler_->clock().schedule().size(); }
  void ask(std::function<void(cluster::control&, time_point_ns)> what) {
    auto call = std::make_shared<control_call>();
    call->run = std::move(what);
    caf::anon_send(self_, control_call_ptr{call});
    run();
  }
  void say(std::uint32_t node, wire::message what) {
    auto message = std::make_shared<incoming>();
    message->source = {node_id{node}, agent_slot};
    message->sender = incarnation{1};
    message->body = std::move(what);
    caf::anon_send(self_, incoming_ptr{message});
    run();
  }
  void join(std::uint32_t node) {
    wire::join j;
    j.roles = wire::role_attention;
    j.shards = 1;
    j.name = "n";
    j.tls = "host:1";
    j.model = "m";
    j.numeric_class = "x";
    say(node, std::move(j));
  }
  /// With a copy of each of those.
  void join_with_experts(std::uint32_t node, std::uint32_t first, std::uint32_t last) {
    wire::join j;
    j.roles = wire::role_expert;
    j.groups = 1;
    j.name = "n";
    j.tls = "host:1";
    j.model = "m";
    j.numeric_class = "x";
    j.expert_bytes = 80;
    for (std::uint32_t e = first; e <= last; ++e) j.held.push_back({7, layer_index{1}, e});
    say(node, std::move(j));
  }

  caf::actor_system_config config_;
  std::optional<caf::actor_system> system_;
  caf::scheduler::test_coordinator* scheduler_ = nullptr;
  virtual_clock time_;
  mailroom mail_;
  coordinator_actor self_;
  int writes_ = 0;
  bool is_full_ = true;
  struct asked_plan {
    std::shared_ptr<const cluster::elastic_input> input;
    plan_done done;
  };
  std::vector<asked_plan> asked_;
};

class coordinator_plan_test : public coordinator_test {
protected:
  coordinator_plan_test() : coordinator_test{true} {
    is_full_ = false;
    join_with_experts(2, 0, 1);
    join_with_experts(3, 2, 3);
    join(4);
    epoch at;
    ask([&](cluster::control& c, time_point_ns) { at = c.placement_epoch(); });
    EXPECT_GT(at, epoch{});
    say(4, wire::adopted{at, at});
  }
  result<std::optional<std::uint64_t>> plan_of(std::uint64_t request) {
    result<std::optional<std::uint64_t>> plan = error{errc::internal, "not asked"};
    ask([&](cluster::control& c, time_point_ns) { plan = c.plan_requests().plan_of(request); });
    return plan;
  }
  std::uint64_t rebalance() {
    std::uint64_t request = 0;
    ask([&](cluster::control& c, time_point_ns now) {
      const auto asked = c.rebalance(true, now);
      EXPECT_TRUE(asked.has_value()) << (asked.has_error() ? asked.error().message() : "");
      if (asked.has_value()) request = *asked;
    });
    return request;
  }
  void finish() {
    ASSERT_FALSE(asked_.empty());
    const asked_plan p = std::move(asked_.front());
    asked_.erase(asked_.begin());
    p.done(cluster::plan_elastic(*p.input));
    run();
  }
};

TEST_F(coordinator_plan_test, it_goes_on_while_a_plan_is_made) {
  const auto first = rebalance();
  const auto second = rebalance();
  ASSERT_EQ(asked_.size(), 1U) << "one at a time";
  EXPECT_EQ(asked_[0].input->groups.size(), 2U);
  EXPECT_FALSE(plan_of(first)->has_value());
  wire::load_report report;
  report.node = node_id{4};
  say(4, report);
  ask([](cluster::control& c, time_point_ns now) {
    EXPECT_TRUE(c.view(node_id{4}, now).has_value());
  });
  finish();
  EXPECT_TRUE(plan_of(first)->has_value());
  EXPECT_FALSE(plan_of(second)->has_value());
  finish();
  EXPECT_TRUE(plan_of(second)->has_value());
  EXPECT_TRUE(asked_.empty());
  EXPECT_EQ(plan_of(99).error().code(), errc::not_found);
}

TEST_F(coordinator_plan_test, a_plan_for_members_of_before_is_made_again) {
  const auto request = rebalance();
  join_with_experts(5, 0, 0);
  finish();
  EXPECT_FALSE(plan_of(request)->has_value());
  ASSERT_EQ(asked_.size(), 1U);
  EXPECT_EQ(asked_[0].input->groups.size(), 3U);
}

TEST(planner_test, makes_one_after_the_other_and_ends_at_once) {
  auto input = std::make_shared<cluster::elastic_input>();
  input->shape = {.layers = {layer_index{1}}, .experts = 2};
  input->groups = {{.group = group_id{1}, .node = node_id{2}, .capacity = 4}};
  input->present = {{{group_id{1}, 1}}, {{group_id{1}, 1}}};
  input->loads.resize(2);
  const auto bad = std::make_shared<cluster::elastic_input>();
  std::promise<void> is_begun, may_end;
  std::vector<bool> made;
  {
    planner p;
    p.plan(input,
           [&](const result<cluster::elastic_plan>& plan) { made.push_back(plan.has_value()); });
    p.plan(bad, [&](const result<cluster::elastic_plan>& plan) {
      made.push_back(plan.has_value());
      is_begun.set_value();
      may_end.get_future().wait();
    });
    p.plan(input, [&](const result<cluster::elastic_plan>&) { made.push_back(true); });
    is_begun.get_future().wait();
    EXPECT_EQ(made, (std::vector<bool>{true, false}));
    may_end.set_value();
  }
  // The third may have been made in time.
  EXPECT_GE(made.size(), 2U);
  EXPECT_FALSE(made[1]);
}

TEST_F(coordinator_test, a_timer_that_was_overtaken_makes_no_other) {
  is_full_ = false;
  join(2);
  join(3);
  for (int i = 0; i < 100; ++i) pass(milliseconds{100});
  ask([](cluster::control& c, time_point_ns now) {
    EXPECT_TRUE(c.drain(node_id{3}, std::chrono::minutes{5}, true, now).has_value());
  });
  for (int i = 0; i < 20; ++i) {
    ask([i](cluster::control& c, time_point_ns now) {
      EXPECT_TRUE(c.drain(node_id{2}, std::chrono::seconds{60 - i}, true, now).has_value());
    });
    ask([](cluster::control& c, time_point_ns now) {
      EXPECT_TRUE(c.cancel_drain(node_id{2}, now).has_value());
    });
  }
  EXPECT_GT(timers(), 20U);
  pass(std::chrono::seconds{70});
  EXPECT_LE(timers(), 2U) << "those of the drain that goes on";
  pass(std::chrono::minutes{4});
  ask([](cluster::control& c, time_point_ns now) {
    for (const auto& o : c.view(now).operations)
      EXPECT_NE(o.state, cluster::operation_state::running) << cluster::subject_of(o);
  });
}

TEST_F(coordinator_test, a_disk_that_takes_nothing_is_tried_once_a_second) {
  ask([](cluster::control& c, time_point_ns) {
    cluster::join_token t;
    t.id = "t";
    t.roles = wire::role_expert;
    t.uses_left = 1;
    EXPECT_TRUE(c.create_token(t).has_value());
  });
  const int before = writes_;
  for (int i = 0; i < 50; ++i) pass(milliseconds{300});
  EXPECT_GE(writes_ - before, 10);
  EXPECT_LE(writes_ - before, 16);
}

}  // namespace
}  // namespace atl::actors
