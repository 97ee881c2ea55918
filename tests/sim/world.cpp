#include "tests/sim/world.hpp"

#include "actors/assembly.hpp"
#include "actors/local_cluster.hpp"
#include "runtime/base/random.hpp"
#include "tests/sim/sim_device.hpp"
#include "transport/sim/sim.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <optional>
#include <utility>

namespace atl::sim {
namespace {

// A run of the small model takes some 10,000 turns; far beyond that something runs in circles.
constexpr std::uint64_t turns_max = 20'000'000;

/// Loses frames between routers and expert groups, as the seed says.
class lossy_endpoint final : public transport::endpoint {
public:
  lossy_endpoint(std::shared_ptr<transport::endpoint> inner,
                 double loss,
                 random_source& random,
                 std::uint64_t& lost)
      : inner_{std::move(inner)}, loss_{loss}, random_{random}, lost_{lost} {}

  transport::node_identity peer() const noexcept override { return inner_->peer(); }
  result<void> send(transport::frame f) override {
    const bool is_expert_path = f.header.kind == transport::frame_kind::dispatch ||
                                f.header.kind == transport::frame_kind::results;
    if (is_expert_path && random_.unit() < loss_) {
      ++lost_;
      return {};
    }
    return inner_->send(std::move(f));
  }
  void close() noexcept override { inner_->close(); }

private:
  std::shared_ptr<transport::endpoint> inner_;
  double loss_;
  random_source& random_;
  std::uint64_t& lost_;
};

class lossy_transport final : public transport::transport {
public:
  lossy_transport(std::unique_ptr<transport> inner, double loss, random_source random)
      : inner_{std::move(inner)}, loss_{loss}, random_{random} {}

  result<void> listen(atl::transport::node_identity self,
                      std::weak_ptr<atl::transport::receiver> to) override {
    return inner_->listen(self, std::move(to));
  }
  result<std::shared_ptr<atl::transport::endpoint>> connect(node_id peer) override {
    ATOLL_ASSIGN(auto inner, inner_->connect(peer));
    return std::shared_ptr<atl::transport::endpoint>{
        std::make_shared<lossy_endpoint>(std::move(inner), loss_, random_, lost_)};
  }
  result<std::unique_ptr<atl::transport::memory_region>>
  register_memory(std::span<std::byte> bytes) override {
    return inner_->register_memory(bytes);
  }
  void close() noexcept override { inner_->close(); }
  std::uint64_t lost() const noexcept { return lost_; }

private:
  std::unique_ptr<transport> inner_;
  double loss_;
  random_source random_;
  std::uint64_t lost_ = 0;
};

class world {
public:
  world(std::shared_ptr<const model::model_weights> weights, const scenario& what)
      : what_{what},
        weights_{std::move(weights)},
        random_{what.seed},
        time_{std::make_shared<virtual_clock>()},
        network_{{.seed = random_.next()}, time_},
        device_{network_.events(),
                random_.split(),
                std::chrono::microseconds{10},
                std::chrono::microseconds{200}} {
    config_.set("scheduler.policy", caf::atom("testing"));
    config_.set("logger.verbosity", caf::atom("quiet"));
    system_.emplace(config_);
    scheduler_ = dynamic_cast<caf::scheduler::test_coordinator*>(&system_->scheduler());
    link_ = std::make_shared<lossy_transport>(network_.join(), what.expert_loss, random_.split());
    ended_.resize(what.requests.size());
    outcome_.tokens.resize(what.requests.size());
    outcome_.last.resize(what.requests.size());
    outcome_.began_ns.resize(what.requests.size());
    outcome_.ended_ns.resize(what.requests.size());
  }

  ~world() {
    if (all_) actors::dismiss(*all_);
    // The testing scheduler hangs if it is destroyed with turns outstanding.
    while (scheduler_->has_job()) scheduler_->run_once();
    if (all_) all_->mail->unbind();
    all_.reset();
    system_.reset();
  }
  world(const world&) = delete;
  world& operator=(const world&) = delete;

  result<outcome> run() {
    ATOLL_ASSIGN(auto setup, actors::single_node(weights_, what_.options, nullptr));
    setup.links.own = link_;
    setup.ready = [this](result<void> r) { ready_.emplace(std::move(r)); };
    ATOLL_ASSIGN(all_, actors::assemble({&*system_, &device_, time_.get()}, setup));
    ATOLL_TRY(run_until([&] { return ready_.has_value(); }, "the first placement"));
    ATOLL_TRY(*ready_);
    for (std::size_t i = 0; i < what_.requests.size(); ++i) submit(i);
    for (const std::size_t i : what_.cancelled) {
      const std::uint64_t until = outcome_.turns + random_.below(2000);
      ATOLL_TRY(
          run_until([&] { return outcome_.turns >= until || ended_[i]; }, "a moment to cancel"));
      caf::anon_send(all_->gateway, request_id{i + 1});
    }
    ATOLL_TRY(run_until([&] { return ended_count_ == what_.requests.size(); },
                        "the end of all requests"));
    drain();
    outcome_.frames_lost = link_->lost();
    outcome_.trace_hash = network_.trace_hash();
    outcome_.last_draw = random_.next();
    outcome_.virtual_ns = time_->now().value;
    return outcome_;
  }

private:
  void submit(std::size_t i) {
    const auto& request = what_.requests[i];
    const auto prompt = static_cast<std::int64_t>(request.prompt.size());
    auto entered = all_->desk->enter(prompt, request.tokens_max);
    if (entered.has_error()) {
      outcome_.last[i].finish = actors::finish_reason::error;
      outcome_.last[i].cause = entered.error();
      end(i);
      return;
    }
    auto s = std::make_shared<actors::gateway_submit>();
    s->id = request_id{i + 1};
    s->request = request;
    s->since = time_->now();
    outcome_.began_ns[i] = s->since.value;
    s->listener = [this, i](actors::generation_event&& event) {
      auto& tokens = outcome_.tokens[i];
      tokens.insert(tokens.end(), event.tokens.begin(), event.tokens.end());
      if (event.finish == actors::finish_reason::none) return;
      outcome_.last[i] = std::move(event);
      outcome_.ended_ns[i] = time_->now().value;
      end(i);
    };
    caf::anon_send(all_->gateway, std::move(s));
  }

  void end(std::size_t i) {
    ended_[i] = true;
    ++ended_count_;
    outcome_.order.push_back(i);
  }

  bool turn() {
    auto& jobs = scheduler_->jobs;
    if (jobs.empty()) return false;
    const auto next = static_cast<std::ptrdiff_t>(random_.below(jobs.size()));
    std::rotate(jobs.begin(), jobs.begin() + next, jobs.begin() + next + 1);
    scheduler_->run_once();
    ++outcome_.turns;
    return true;
  }

  /// One event of the network or a device.
  bool event() {
    const time_point_ns before = time_->now();
    if (!network_.step()) return false;
    scheduler_->advance_time(caf::timespan{(time_->now() - before).count()});
    return true;
  }

  /// Nothing moves any more by itself: time goes on until some actor's patience ends.
  bool wait() {
    if (!scheduler_->has_pending_timeout()) return false;
    time_->advance(std::chrono::seconds{1});
    scheduler_->advance_time(std::chrono::seconds{1});
    return true;
  }

  template <class Condition>
  result<void> run_until(Condition is_met, const std::string& what) {
    while (!is_met()) {
      // Actors and the outside world move on in an order that the seed draws.
      const bool moved = random_.below(4) == 0 ? (event() || turn()) : (turn() || event());
      if (!moved && !wait())
        return error{errc::internal, "the cluster stands still, waiting for " + what};
      if (outcome_.turns > turns_max)
        return error{errc::internal, "too many turns, waiting for " + what};
    }
    return {};
  }

  void run_for(duration_ns time) {
    const time_point_ns until = time_->now() + time;
    while (time_->now() < until && (turn() || event() || wait())) {
    }
    while (turn()) {
    }
  }

  /// Until nothing is held any more, or so long that it never will be; heartbeats and reports go on
  /// for ever.
  void drain() {
    for (int i = 0; i < 60; ++i) {
      run_for(std::chrono::seconds{2});
      count_held();
      if (outcome_.requests + outcome_.sequences + outcome_.pages_used + outcome_.rows_in_flight ==
          0)
        return;
    }
  }

  template <class Handle>
  actors::held held_by(const Handle& whom) {
    caf::scoped_actor self{*system_};
    auto asked = self->request(whom, caf::infinite, actors::held_atom::value);
    while (scheduler_->has_job()) scheduler_->run_once();
    actors::held answer;
    asked.receive([&](const actors::held& h) { answer = h; }, [](const caf::error&) {});
    return answer;
  }

  void count_held() {
    outcome_.requests = held_by(all_->gateway).requests;
    outcome_.pages_used = outcome_.sequences = outcome_.rows_in_flight = 0;
    outcome_.prefix_hits = outcome_.page_evictions = 0;
    for (const auto& s : all_->shards) {
      const auto h = held_by(s);
      outcome_.pages_used += h.pages_used;
      outcome_.sequences += h.sequences;
      outcome_.prefix_hits += h.prefix_hits;
      outcome_.page_evictions += h.page_evictions;
    }
    for (const auto& r : all_->routers) outcome_.rows_in_flight += held_by(r).rows_in_flight;
  }

  const scenario& what_;
  std::shared_ptr<const model::model_weights> weights_;
  random_source random_;
  std::shared_ptr<virtual_clock> time_;
  transport::sim_network network_;
  sim_device device_;
  caf::actor_system_config config_;
  std::optional<caf::actor_system> system_;
  caf::scheduler::test_coordinator* scheduler_ = nullptr;
  std::shared_ptr<lossy_transport> link_;
  std::optional<actors::assembly> all_;
  std::optional<result<void>> ready_;
  std::vector<bool> ended_;
  std::size_t ended_count_ = 0;
  outcome outcome_;
};

}  // namespace

result<outcome> run(const std::shared_ptr<const model::model_weights>& weights,
                    const scenario& what) {
  return world{weights, what}.run();
}

}  // namespace atl::sim
