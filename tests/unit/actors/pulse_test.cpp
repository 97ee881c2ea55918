// What a pulse says to the coordinator of data paths that are lost.
#include "actors/pulse.hpp"
#include "runtime/tensor/inline_device.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/send.hpp>
#include <gtest/gtest.h>

namespace atl::actors {
namespace {

namespace wire = transport::wire;
using std::chrono::milliseconds;
using transport::plane;

/// Keeps what is sent, or refuses it.
class kept_line final : public transport::transport,
                        public std::enable_shared_from_this<kept_line> {
public:
  bool is_down = false;
  std::uint64_t beats = 0;  // to node 6
  std::vector<wire::path_report> reports;

  result<void> listen(atl::transport::node_identity,
                      std::weak_ptr<atl::transport::receiver>) override {
    return {};
  }
  result<std::shared_ptr<atl::transport::endpoint>> connect(node_id peer) override {
    if (is_down) return error{errc::peer_gone, "nobody is there"};
    return std::shared_ptr<atl::transport::endpoint>{
        std::make_shared<end>(shared_from_this(), peer)};
  }
  result<std::unique_ptr<atl::transport::memory_region>>
  register_memory(std::span<std::byte> bytes) override {
    return atl::transport::plain_region(bytes);
  }
  void close() noexcept override {}

private:
  class end final : public atl::transport::endpoint {
  public:
    end(std::shared_ptr<kept_line> on, node_id peer) : on_{std::move(on)}, peer_{peer} {}
    atl::transport::node_identity peer() const noexcept override { return {peer_, {}}; }
    result<void> send(atl::transport::frame f) override {
      if (on_->is_down) return error{errc::peer_gone, "nobody is there"};
      const auto body = wire::decode(f);
      if (peer_ == node_id{6} && std::holds_alternative<wire::heartbeat>(*body)) ++on_->beats;
      if (const auto* r = std::get_if<wire::path_report>(&body.value())) {
        EXPECT_EQ(peer_, node_id{1}) << "the coordinator";
        on_->reports.push_back(*r);
      }
      return {};
    }
    void close() noexcept override {}

  private:
    std::shared_ptr<kept_line> on_;
    node_id peer_;
  };
};

/// Node 3, of attention, with the coordinator on node 1 and experts on node 6.
class pulse_test : public testing::Test {
protected:
  pulse_test() {
    config_.set("scheduler.policy", caf::atom("testing"));
    config_.set("logger.verbosity", caf::atom("quiet"));
    system_.emplace(config_);
    scheduler_ = dynamic_cast<caf::scheduler::test_coordinator*>(&system_->scheduler());
    mail_.emplace(transport::node_identity{node_id{3}, incarnation{1}},
                  node_links{data_, control_, nullptr, nullptr});
    pulse_parts parts;
    parts.mail = &*mail_;
    parts.time = &time_;
    parts.device = &device_;
    parts.roles = wire::role_attention;
    parts.coordinator = node_id{1};
    parts.tell = [](const peer_changed&) {};
    pulse_ = spawn_pulse(*system_, parts);
    run();
    list(true);
  }
  ~pulse_test() override {
    caf::anon_send_exit(pulse_, caf::exit_reason::user_shutdown);
    run();
    mail_->unbind();
    pulse_ = pulse_actor{};
    run();
    system_.reset();
  }

  void run() {
    while (scheduler_->has_job()) scheduler_->run_once();
  }

  void list(bool with_experts) {
    wire::members all;
    all.version = ++version_;
    const auto add = [&](std::uint32_t node, std::uint32_t role) {
      wire::member_info m;
      m.node = node_id{node};
      m.life = incarnation{1};
      m.roles = role;
      all.list.push_back(m);
    };
    add(1, wire::role_coordinator);
    add(3, wire::role_attention);
    if (with_experts) add(6, wire::role_expert);
    mail_->set_members(all);
    caf::anon_send(pulse_, std::make_shared<const wire::members>(all));
    run();
  }

  void lose() {
    caf::anon_send(pulse_, connection_lost{{node_id{6}, incarnation{1}}, plane::data, "it is cut"});
    run();
  }

  /// Time passes, in which node 6 is heard, or not.
  void pass(milliseconds most, bool is_heard = false) {
    for (milliseconds t{0}; t < most; t += milliseconds{100}) {
      time_.advance(milliseconds{100});
      scheduler_->advance_time(milliseconds{100});
      run();
      if (!is_heard) continue;
      const wire::heartbeat beat{0, false, ++beats_, data_->beats};
      caf::anon_send(pulse_,
                     std::make_shared<const incoming>(
                         incoming{{node_id{6}, pulse_slot}, incarnation{1}, plane::data, beat}));
      run();
    }
  }

  /// What was reported since this was asked last.
  std::vector<wire::path_report> said() { return std::exchange(control_->reports, {}); }

  static void expect_all(const std::vector<wire::path_report>& reports, bool is_lost) {
    for (const auto& r : reports) {
      EXPECT_EQ(r.peer, node_id{6});
      EXPECT_EQ(r.life, incarnation{1});
      EXPECT_EQ(r.is_lost, is_lost);
    }
  }

  virtual_clock time_;
  tensor::inline_device device_;
  std::shared_ptr<kept_line> data_ = std::make_shared<kept_line>();
  std::shared_ptr<kept_line> control_ = std::make_shared<kept_line>();
  caf::actor_system_config config_;
  std::optional<caf::actor_system> system_;
  caf::scheduler::test_coordinator* scheduler_ = nullptr;
  std::optional<mailroom> mail_;
  pulse_actor pulse_;
  std::uint64_t version_ = 0, beats_ = 0;
};

// Ten beats, 200 ms each, from one report to the next.

TEST_F(pulse_test, a_lost_path_is_reported_every_two_seconds_until_it_is_back) {
  lose();
  const auto first = said();
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0].why, "its connection is lost: it is cut");
  pass(milliseconds{10'000});
  const auto again = said();
  EXPECT_GE(again.size(), 4U);
  EXPECT_LE(again.size(), 6U);
  expect_all(again, true);
  for (const auto& r : again) EXPECT_EQ(r.why, "its connection is lost: it is cut");

  pass(milliseconds{100}, true);
  const auto back = said();
  ASSERT_EQ(back.size(), 1U);
  expect_all(back, false);
  pass(milliseconds{10'000}, true);
  EXPECT_TRUE(said().empty());
}

TEST_F(pulse_test, a_report_that_did_not_leave_is_made_good) {
  control_->is_down = true;
  lose();
  pass(milliseconds{5'000});
  EXPECT_TRUE(said().empty());
  control_->is_down = false;
  pass(milliseconds{2'200});
  const auto late = said();
  EXPECT_GE(late.size(), 1U);
  expect_all(late, true);
}

TEST_F(pulse_test, nothing_more_is_said_of_who_is_no_member) {
  lose();
  EXPECT_EQ(said().size(), 1U);
  list(false);
  pass(milliseconds{10'000});
  EXPECT_TRUE(said().empty());
}

}  // namespace
}  // namespace atl::actors
