// Node agents with their groups under CAF's testing scheduler, in virtual time: a scripted
// coordinator (node 1) over a loopback as control path, a simulated network with faults as data
// path, and devices whose jobs take as long as a test says.
#pragma once

#include "actors/agent.hpp"
#include "actors/group.hpp"
#include "experts/store/check_row.hpp"
#include "experts/store/expert_blob.hpp"
#include "runtime/tensor/inline_device.hpp"
#include "tests/unit/experts/store/weights_of.hpp"
#include "transport/faulty/faulty.hpp"
#include "transport/loopback/loopback.hpp"
#include "transport/sim/sim.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/send.hpp>
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace atl::actors {

namespace wire = transport::wire;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// Runs each job `takes` after it was handed in.
class timed_device final : public tensor::device {
public:
  explicit timed_device(std::shared_ptr<transport::event_queue> events)
      : events_{std::move(events)} {}
  void submit(tensor::job work) override {
    auto shared = std::make_shared<tensor::job>(std::move(work));
    events_->at(events_->now() + takes, [this, shared] { inner_.submit(std::move(*shared)); });
  }
  void post(tensor::task& short_work) override { inner_.post(short_work); }
  void wait_idle() override {}
  tensor::device_activity activity() const noexcept override { return inner_.activity(); }
  int workers() const noexcept override { return 1; }
  std::string description() const override { return "timed"; }

  duration_ns takes = std::chrono::microseconds{100};

private:
  std::shared_ptr<transport::event_queue> events_;
  tensor::inline_device inner_;
};

/// One node with an agent and groups.
struct agent_node {
  std::shared_ptr<timed_device> device;
  std::shared_ptr<buffer_pool> buffers = std::make_shared<buffer_pool>(std::size_t{1} << 26);
  std::shared_ptr<mailroom> mail;
  std::shared_ptr<memory_budget> memory;
  agent_actor agent;
  std::vector<group_actor> groups;
  std::vector<wire::welcome> welcomes;
  std::vector<error> refusals;
  std::vector<std::optional<error>> dismissals;
  std::vector<members_ptr> members;
};

struct agent_setup {
  std::shared_ptr<const model::model_weights> weights;  // of its own
  model::model_config config;
  std::size_t memory = std::size_t{1} << 30;
  std::uint32_t groups = 1;
  bool joins = false;
  std::vector<router_actor> routers = {};
  experts::kernel_cost cost = {};
};

class agent_world : public testing::Test {
protected:
  static constexpr node_id coordinator{1};
  static constexpr std::uint32_t asker_slot = 0x2000;

  agent_world();

  ~agent_world() override;

  node_links links() { return {faults_.wrap(network_.join()), control_.join(), nullptr, nullptr}; }

  void open_coordinator(std::uint64_t life = 1);
  void close_coordinator();

  agent_node& add_node(std::uint32_t id, const agent_setup& setup);

  static std::shared_ptr<experts::group_compute> compute_for(const model::model_config& c) {
    return *experts::group_compute::make(c, {*kernels::best_isa(), {}});
  }

  // ---- time ----

  void turns() {
    while (scheduler_->has_job()) scheduler_->run_once();
  }
  /// To the next event, or ten milliseconds on.
  void step(time_point_ns end);
  void run_for(duration_ns d) {
    const time_point_ns end = time_->now() + d;
    while (time_->now() < end) step(end);
    turns();
  }
  template <class Condition>
  bool run_until(Condition is_met, duration_ns limit = seconds{30}) {
    const time_point_ns end = time_->now() + limit;
    while (!is_met() && time_->now() < end) step(end);
    return is_met();
  }

  // ---- the coordinator's script ----

  template <class Message>
  void say(std::uint32_t node, const Message& m) {
    const auto sent = coordinator_->send(coordinator_slot, {node_id{node}, agent_slot}, m);
    ASSERT_TRUE(sent.has_value()) << sent.error().message();
  }
  template <class Message>
  std::vector<Message> heard(std::optional<std::uint32_t> from = std::nullopt) const {
    return all_of<Message>(heard_, from);
  }
  template <class Message>
  static std::vector<Message> all_of(const std::vector<incoming_ptr>& messages,
                                     std::optional<std::uint32_t> from = std::nullopt) {
    std::vector<Message> out;
    for (const auto& m : messages)
      if (const auto* body = std::get_if<Message>(&m->body))
        if (!from || m->source.node == node_id{*from}) out.push_back(*body);
    return out;
  }
  static wire::load order(std::uint64_t in,
                          std::uint32_t layer,
                          std::vector<std::uint32_t> which,
                          std::vector<node_id> sources = {},
                          std::uint32_t group = 0) {
    return {epoch{in}, group_id{group}, layer_index{layer}, std::move(which), std::move(sources)};
  }
  static wire::release drop(std::uint64_t in,
                            std::uint32_t layer,
                            std::vector<std::uint32_t> which,
                            std::uint32_t group = 0) {
    return {epoch{in}, group_id{group}, layer_index{layer}, std::move(which)};
  }
  /// Gives the order and waits for its answer.
  wire::placed load(std::uint32_t node, const wire::load& what, duration_ns limit = seconds{30});

  /// Sends one row for an expert to a group, as a router does.
  void ask_row(std::uint32_t node, std::uint32_t layer, std::uint32_t expert, std::uint32_t width);
  /// The hash of the group's answer to the check row; nothing where it refuses.
  std::optional<std::uint64_t>
  row_check(std::uint32_t node, std::uint32_t layer, std::uint32_t expert, std::uint32_t width);
  static std::optional<std::uint64_t> hash_of(const incoming_ptr& m);

  /// The check of an expert, without any agent.
  static std::uint64_t
  right_check(const model::model_weights& from, std::uint32_t layer, std::uint32_t expert);

  std::shared_ptr<virtual_clock> time_ = std::make_shared<virtual_clock>();
  transport::sim_network network_{{.seed = 11, .latency = milliseconds{1}}, time_};
  std::shared_ptr<transport::event_queue> events_ = network_.events();
  transport::fault_plan plan_;
  transport::faulty_network faults_{5, plan_, events_};
  transport::loopback_network control_;
  caf::actor_system_config config_;
  std::optional<caf::actor_system> system_;
  caf::scheduler::test_coordinator* scheduler_ = nullptr;
  std::shared_ptr<mailroom> coordinator_;
  std::vector<incoming_ptr> heard_, answers_;
  std::vector<time_point_ns> heard_at_;
  std::vector<caf::actor> others_;
  std::uint64_t asked_ = 0;
  std::vector<std::pair<std::uint32_t, std::unique_ptr<agent_node>>> nodes_;
};

}  // namespace atl::actors
