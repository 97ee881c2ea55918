#include "actors/node.hpp"

#include "actors/assembly.hpp"
#include "actors/device_scheduler.hpp"
#include "actors/planner.hpp"
#include "attention/shard_compute.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/log.hpp"
#include "runtime/base/sizes.hpp"
#include "runtime/model/logprobs.hpp"
#include "runtime/tensor/cpu_device.hpp"

#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <cmath>
#include <condition_variable>
#include <mutex>
#include <set>
#include <utility>

namespace atl::actors {
namespace {

// An actor answers a question between two messages; only a machine in trouble takes longer.
constexpr auto answer_patience = std::chrono::seconds{30};

// Before a node joins, to find out how fast it is.
constexpr duration_ns speed_trial = std::chrono::milliseconds{40};

constexpr duration_ns timeout_max = std::chrono::hours{24 * 7};
constexpr std::uint32_t tenant_share_max = 1000;

template <class Answer, class Handle, class Question>
Answer ask(caf::actor_system& system, const Handle& whom, Question question) {
  Answer answer{};
  caf::scoped_actor self{system};
  self->request(whom, answer_patience, question)
      .receive([&](const Answer& a) { answer = a; },
               [&](const caf::error&) {
                 log_error("an actor did not answer a question about its state");
               });
  return answer;
}

result<void> check(const generation_request& r, const model::model_config& config) {
  if (r.prompt.empty()) return error{errc::invalid_argument, "the prompt has no tokens"};
  for (std::size_t i = 0; i < r.prompt.size(); ++i) {
    if (r.prompt[i] >= 0 && r.prompt[i] < config.vocab_size) continue;
    return error{errc::invalid_argument,
                 "token " + std::to_string(r.prompt[i]) + " at position " + std::to_string(i) +
                     " of the prompt is out of range: the model has ids 0 to " +
                     std::to_string(config.vocab_size - 1)};
  }
  if (r.tokens_max < 0 || r.tokens_max > config.max_position)
    return error{errc::invalid_argument,
                 "tokens to generate " + std::to_string(r.tokens_max) + ": must be between 0 and " +
                     std::to_string(config.max_position)};
  if (r.timeout && (r.timeout->count() <= 0 || *r.timeout > timeout_max))
    return error{errc::invalid_argument, "timeout: it must be above 0 and at most a week"};
  if (r.tenant_share < 1 || r.tenant_share > tenant_share_max)
    return error{errc::invalid_argument,
                 "share of a tenant " + std::to_string(r.tenant_share) +
                     ": must be between 1 and " + std::to_string(tenant_share_max)};
  if (r.logprobs_top && (*r.logprobs_top < 0 || *r.logprobs_top > model::logprobs_top_max))
    return error{errc::invalid_argument,
                 "log-probabilities of the " + std::to_string(*r.logprobs_top) +
                     " most likely tokens: must be between 0 and " +
                     std::to_string(model::logprobs_top_max)};
  if (r.prompt_logprobs && !r.logprobs_top)
    return error{errc::invalid_argument,
                 "log-probabilities of the prompt are asked for without those of the answer"};
  return model::validate(r.sampling);
}

}  // namespace

class node::impl {
public:
  explicit impl(node_setup setup)
      : setup_{std::move(setup)},
        grammars_{setup_.words == nullptr
                      ? nullptr
                      : std::make_shared<model::constraint_cache>(setup_.words)},
        device_{setup_.options.threads},
        config_{device_} {
    system_.emplace(config_);
  }

  result<void> start() {
    if (setup_.describes_itself) describe();
    if (setup_.coordinates && !setup_.coordinates->plan) {
      planner_.emplace();
      setup_.coordinates->plan = [this](auto input, plan_done done) {
        planner_->plan(std::move(input), std::move(done));
      };
    }
    auto made = assemble({&*system_, &device_, &time_, quota_, grammars_}, setup_);
    if (made.has_error()) return made.error();
    all_ = std::move(*made);
    return {};
  }

  ~impl() {
    if (all_) {
      end_requests();
      dismiss(*all_);
      // Actors use the mailroom to their end, and handles must not outlive the system.
      system_->await_all_actors_done();
      device_.wait_idle();  // completions hold handles until they return
      planner_.reset();     // likewise
      all_->mail->close();
      all_->mail->unbind();
      all_.reset();
    }
    system_.reset();
  }
  impl(const impl&) = delete;
  impl& operator=(const impl&) = delete;

  result<request_id> submit(generation_request request, generation_listener listener) {
    if (!all_->gateway) return error{errc::unsupported, "this node is no gateway"};
    ATOLL_TRY(check(request, setup_.config));
    if (!request.constraint.empty()) ATOLL_TRY(compile(request.constraint));
    const auto prompt = static_cast<std::int64_t>(request.prompt.size());
    ATOLL_TRY(all_->desk->enter(prompt, request.tokens_max));
    request_id id;
    {
      const std::lock_guard lock{mutex_};
      id = request_id{++last_request_};
      open_.insert(id);
    }
    auto submitted = std::make_shared<gateway_submit>();
    submitted->id = id;
    submitted->request = std::move(request);
    submitted->listener = std::move(listener);
    submitted->since = time_.now();
    submitted->gone = [this, id] { forget(id); };
    caf::anon_send(all_->gateway, std::move(submitted));
    return id;
  }

  /// Null on nodes that are no gateway.
  front_desk* desk() const { return all_->desk.get(); }

  void cancel(request_id id) {
    if (all_->gateway) caf::anon_send(all_->gateway, id);
  }

  const cluster_options& options() const noexcept { return setup_.options; }

  cluster_counters counters() {
    cluster_counters c;
    const mailroom::traffic mail = all_->mail->counts();
    c.frames_sent = mail.frames;
    c.frame_bytes_sent = mail.bytes;
    c.frames_refused = mail.refused;
    for (const auto& s : all_->shards) {
      const auto h = ask<held>(*system_, s, held_atom::value);
      c.steps += h.steps;
      c.rows += h.rows;
      for (std::size_t i = 0; i < c.steps_by_rows.size(); ++i)
        c.steps_by_rows[i] += h.steps_by_rows[i];
      c.prefix_queries += h.prefix_queries;
      c.prefix_hits += h.prefix_hits;
      c.page_evictions += h.page_evictions;
    }
    for (const auto& r : all_->routers) {
      const auto h = ask<held>(*system_, r, held_atom::value);
      c.row_bytes_sent += h.row_bytes_sent;
      c.row_bytes_received += h.row_bytes_received;
    }
    if (!all_->coordinator) return c;
    // The report of this node reaches the coordinator's mailbox before this answer comes, so the
    // question after it sees it.
    ask<bool>(*system_, all_->agent, report_atom::value);
    c.expert_rows = ask<expert_counts>(*system_, all_->coordinator, counts_atom::value).rows;
    for (std::size_t layer = 0; layer < c.expert_rows.size(); ++layer)
      if (!setup_.config.is_moe(static_cast<std::int64_t>(layer))) c.expert_rows[layer].clear();
    return c;
  }

  cluster_usage usage() {
    cluster_usage u;
    if (all_->gateway) u.requests = ask<held>(*system_, all_->gateway, held_atom::value).requests;
    for (const auto& s : all_->shards) {
      const auto h = ask<held>(*system_, s, held_atom::value);
      u.sequences += h.sequences;
      u.pages_used += h.pages_used;
      u.pages_total += h.pages_total;
      u.pages_cached += h.pages_cached;
    }
    u.page_bytes = attention::shard_compute::page_bytes(setup_.config);
    for (const auto& r : all_->routers) {
      const auto h = ask<held>(*system_, r, held_atom::value);
      u.rows_in_flight += h.rows_in_flight;
      u.group_rows = std::max(u.group_rows, h.group_rows);
    }
    u.group_rows_limit = static_cast<std::uint64_t>(setup_.options.group_rows_max);
    u.capacity_factor = setup_.options.capacity_factor;
    if (all_->expert_memory != nullptr) {
      u.expert_bytes = all_->expert_memory->used_bytes();
      u.expert_bytes_limit = all_->expert_memory->limit_bytes();
    }
    return u;
  }

  std::string description() const {
    std::string text;
    const auto add = [&text](std::size_t n, const char* what) {
      if (n == 0) return;
      text += (text.empty() ? "" : ", ") + std::to_string(n) + " " + what + (n == 1 ? "" : "s");
    };
    add(all_->gateway ? 1 : 0, "gateway");
    add(all_->shards.size(), "attention shard");
    add(all_->routers.size(), "router");
    add(all_->groups.size(), "expert group");
    add(1, "node agent");
    add(all_->coordinator ? 1 : 0, "coordinator");
    const auto& o = setup_.options;
    return text + "; " + device_.description() + "; " + std::string{to_string(*o.isa)} + "; " +
           (o.numerics == kernels::numerics::fast ? "fast" : "invariant") + " numerics" +
           (o.activations == tensor::dtype::f32
                ? std::string{}
                : ", rows travel as " + std::string{to_string(o.activations)});
  }

  result<void> control(control_call what) {
    if (!all_->coordinator) return error{errc::unsupported, "this node is no coordinator"};
    caf::anon_send(all_->coordinator, std::make_shared<control_call>(std::move(what)));
    return {};
  }

  void leave(duration_ns deadline) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(deadline).count();
    const auto sent = all_->mail->send(
        agent_slot,
        {setup_.coordinator, coordinator_slot},
        transport::wire::leave{static_cast<std::uint64_t>(std::max<std::int64_t>(ms, 0))});
    if (sent.has_error()) log_warning("coordinator not reached: " + sent.error().message());
  }

private:
  void describe() {
    transport::wire::join& j = setup_.presence;
    j.device = device_.description();
    j.memory_bytes = usable_memory_bytes();
    j.instruction_set = std::string{to_string(*setup_.options.isa)};
    const bool computes = (setup_.roles & transport::wire::role_expert) != 0;
    if (computes && setup_.config.routed_experts > 0) measure();
  }

  void measure() {
    const auto& o = setup_.options;
    const double processors = usable_cpus();
    if (processors < device_.workers()) quota_ = processors;
    const auto cost = experts::measure_kernel_cost(
        setup_.config, {*o.isa, o.numerics}, device_, time_, speed_trial, quota_);
    if (cost.has_error()) return log_warning("speed not measured: " + cost.error().message());
    setup_.cost = *cost;
    setup_.presence.speed =
        static_cast<float>(std::min<double>(setup_.cost.speed(), transport::wire::speed_max));
    log_info("this node computes " + std::to_string(std::llround(setup_.cost.speed())) +
             " rows of an expert a second");
  }

  /// On the caller's thread, so that a shard of this process finds it compiled.
  result<void> compile(const std::string& constraint) {
    if (grammars_ == nullptr)
      return error{errc::unsupported,
                   "constrained answers need the model's tokenizer.json, which is not there"};
    const auto compiled = grammars_->get(constraint);
    if (compiled.has_error()) return compiled.error();
    return {};
  }

  void forget(request_id id) {
    const std::lock_guard lock{mutex_};
    open_.erase(id);
    if (open_.empty()) none_open_.notify_all();
  }

  void end_requests() {
    std::unique_lock lock{mutex_};
    for (const request_id id : open_) cancel(id);
    none_open_.wait(lock, [this] { return open_.empty(); });
  }

  // In this order: what stands below outlives what stands on it.
  node_setup setup_;
  std::shared_ptr<model::constraint_cache> grammars_;
  steady_clock time_;
  double quota_ = 0;  // of processors, where it grants fewer than there are workers; 0: none
  tensor::cpu_device device_;
  device_system_config config_;
  std::optional<caf::actor_system> system_;
  std::optional<planner> planner_;  // of a node that coordinates
  std::optional<assembly> all_;
  std::mutex mutex_;
  std::condition_variable none_open_;
  std::set<request_id> open_;
  std::uint64_t last_request_ = 0;
};

void node::impl_deleter::operator()(impl* of) const noexcept { std::default_delete<impl>{}(of); }

node::node(impl_ptr made) noexcept : impl_{std::move(made)} {}
node::~node() = default;

result<node::impl_ptr> node::make(node_setup setup) {
  impl_ptr made{std::make_unique<impl>(std::move(setup)).release()};
  ATOLL_TRY(made->start());
  return made;
}

result<std::unique_ptr<node>> node::start(node_setup setup) {
  ATOLL_ASSIGN(auto made, make(std::move(setup)));
  return std::make_unique<node>(std::move(made));
}

result<request_id> node::submit(generation_request request, generation_listener listener) {
  return impl_->submit(std::move(request), std::move(listener));
}

namespace {

error no_gateway() { return {errc::unsupported, "this node is no gateway"}; }

}  // namespace

result<void> node::admits() const {
  const auto* desk = impl_->desk();
  return desk != nullptr ? desk->ask() : no_gateway();
}

duration_ns node::retry_after() const {
  const auto* desk = impl_->desk();
  return desk != nullptr ? desk->retry_after() : std::chrono::seconds{1};
}

result<void> node::set_queue_limit(int queued_max) {
  if (queued_max < 0 || queued_max > queue_size_max)
    return error{errc::invalid_argument,
                 "--queue-size " + std::to_string(queued_max) + ": it must be between 0 and " +
                     std::to_string(queue_size_max)};
  if (impl_->desk() == nullptr) return no_gateway();
  impl_->desk()->set_queue_limit(queued_max);
  return {};
}

cluster_gauges node::gauges() const {
  if (impl_->desk() == nullptr) return {};
  const auto f = impl_->desk()->now();
  return {f.running, f.waiting, f.queue_limit, f.tokens_reserved, f.tokens_limit, f.out_of_use};
}

void node::cancel(request_id id) { impl_->cancel(id); }
const cluster_options& node::options() const noexcept { return impl_->options(); }
cluster_counters node::counters() const { return impl_->counters(); }
cluster_usage node::usage() const { return impl_->usage(); }
std::string node::description() const { return impl_->description(); }
result<void> node::control(control_call what) { return impl_->control(std::move(what)); }
void node::leave(duration_ns deadline) { impl_->leave(deadline); }

}  // namespace atl::actors
