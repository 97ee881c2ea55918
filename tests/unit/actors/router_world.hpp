// One router alone, in virtual time: it sends to a medium that keeps what it takes, and tests
// answer for the expert groups. Expert e answers to a row x: x * (e + 1) + layer, of x as it came.
#pragma once

#include "actors/mailroom.hpp"
#include "actors/router.hpp"
#include "tests/unit/actors/scripted_parts.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace atl::actors {

namespace wire = transport::wire;

/// A dispatch that arrived somewhere.
struct asked {
  transport::address to;
  wire::dispatch rows;
};

using group_list = std::vector<std::uint32_t>;

/// Every expert in two groups of three, or in one.
inline group_list in_two(std::uint32_t expert) { return {expert % 3, (expert + 1) % 3}; }
inline group_list in_one(std::uint32_t expert) { return {expert % 3}; }

/// Of each frame.
inline std::set<std::uint64_t> numbers(const std::vector<asked>& all) {
  std::set<std::uint64_t> set;
  for (const auto& a : all) set.insert(a.rows.call.step);
  return set;
}

inline std::size_t assignments(const std::vector<asked>& all) {
  std::size_t count = 0;
  for (const auto& a : all) count += a.rows.assignments.size();
  return count;
}

class router_world {
public:
  static constexpr std::uint32_t lanes = 2;
  static constexpr std::int64_t layer = 1;  // the model's first with experts

  explicit router_world(std::uint32_t group_rows_max = 64, tensor::dtype type = tensor::dtype::f32);
  ~router_world();
  router_world(const router_world&) = delete;
  router_world& operator=(const router_world&) = delete;

  void run() {
    while (scheduler_->has_job()) scheduler_->run_once();
  }

  /// In steps of 5 ms.
  void pass(duration_ns d) {
    for (duration_ns left = d; left.count() > 0;) {
      const duration_ns step = std::min<duration_ns>(left, std::chrono::milliseconds{5});
      time_.advance(step);
      scheduler_->advance_time(caf::timespan{step.count()});
      run();
      left -= step;
    }
  }

  /// Group g is on node g + 2. holders(expert): the groups that hold it.
  using holders_function = std::function<std::vector<std::uint32_t>(std::uint32_t expert)>;
  /// Experts without one are `coming` or not.
  bool coming = false;
  bool is_by_agent = true;  // or straight from the wire
  void place(std::uint64_t version, const holders_function& holders, std::uint32_t groups = 3);

  static node_id node_of(std::uint32_t group) { return node_id{group + 2}; }

  void health(std::uint32_t group, peer_state state, std::uint64_t life = 1) {
    caf::anon_send(
        router,
        peer_changed{{node_of(group), incarnation{life}}, transport::plane::data, state, "test"});
    run();
  }

  /// Members: the nodes of these groups, with their lives.
  void list(std::uint64_t version, const std::map<std::uint32_t, std::uint64_t>& lives);

  /// Rows of a lane, drawn from its number of rows.
  void ask(std::uint32_t lane, std::int64_t rows);

  /// What was sent since the last call.
  std::vector<asked> sent();

  wire::results answer_to(const asked& a) const;

  void answer(const asked& a) { say(a, answer_to(a)); }
  void answer(const std::vector<asked>& all) {
    for (const auto& a : all) answer(a);
  }
  void refuse(const asked& a, errc code) {
    say(a, wire::refused{a.rows.call, a.rows.epoch, {code, "refused by the test"}});
  }
  template <class Message>
  void say(const asked& a, Message m) {
    auto message = std::make_shared<incoming>();
    message->source = a.to;
    message->sender = incarnation{1};
    message->body = std::move(m);
    caf::anon_send(router, incoming_ptr{message});
    run();
  }

  /// Whether the latest answer to the shard is for this lane, whole, and right in every bit.
  void expect_routed(std::uint32_t lane);

  held counts();

  /// The epochs the router told its agent since the last call, oldest first.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> told();

  std::uint32_t experts() const {
    return static_cast<std::uint32_t>(weights_->config.routed_experts);
  }
  std::int64_t width() const { return weights_->config.hidden; }
  std::size_t pairs(std::int64_t rows) const {
    return static_cast<std::size_t>(rows * weights_->config.experts_per_token);
  }

  std::shared_ptr<kept_link> link;
  stopping_device device;
  router_actor router;
  std::vector<rows_routed> routed;

private:
  /// Rows of the model's width as they are after they have travelled.
  std::vector<float> travelled(const std::vector<float>& rows) const;

  static float output(float x, std::uint32_t expert) {
    return x * static_cast<float>(expert + 1) + static_cast<float>(layer);
  }

  struct lane_rows {
    std::int64_t rows = 0;
    std::shared_ptr<std::vector<float>> normed;
    std::vector<float> routed;
  };

  kernels::row_codec codec_;
  caf::actor_system_config config_;
  std::optional<caf::actor_system> system_;
  caf::scheduler::test_coordinator* scheduler_ = nullptr;
  virtual_clock time_;
  buffer_pool buffers_{std::size_t{16} << 20};
  std::shared_ptr<const model::model_weights> weights_;
  std::unique_ptr<mailroom> mail_;
  shard_actor shard_;
  std::optional<caf::scoped_actor> agent_;
  std::array<lane_rows, lanes> lane_;
};

}  // namespace atl::actors
