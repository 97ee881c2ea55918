// How often a coordinator wakes up.
#include "actors/coordinator.hpp"
#include "runtime/base/clock.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/typed_actor.hpp>
#include <gtest/gtest.h>

#include <functional>
#include <optional>

namespace atl::actors {
namespace {

namespace wire = transport::wire;
using std::chrono::milliseconds;

class coordinator_test : public testing::Test {
protected:
  coordinator_test() : mail_{{node_id{1}, incarnation{1}}, {nullptr, nullptr, nullptr, nullptr}} {
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
    self_ = spawn_coordinator(*system_, parts);
    caf::anon_send(self_, start_atom::value);
    run();
  }
  ~coordinator_test() override {
    caf::anon_send_exit(self_, caf::exit_reason::user_shutdown);
    run();
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
  void join(std::uint32_t node) {
    auto message = std::make_shared<incoming>();
    message->source = {node_id{node}, agent_slot};
    message->sender = incarnation{1};
    wire::join j;
    j.roles = wire::role_attention;
    j.shards = 1;
    j.name = "n";
    j.tls = "host:1";
    message->body = std::move(j);
    caf::anon_send(self_, incoming_ptr{message});
    run();
  }

  caf::actor_system_config config_;
  std::optional<caf::actor_system> system_;
  caf::scheduler::test_coordinator* scheduler_ = nullptr;
  virtual_clock time_;
  mailroom mail_;
  coordinator_actor self_;
  int writes_ = 0;
  bool is_full_ = true;
};

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
