#include "tests/unit/actors/replay_world.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/base/disk.hpp"
#include "runtime/kernels/isa.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <utility>

namespace atl::actors::replay {
namespace {

namespace wire = transport::wire;

constexpr std::uint64_t turns_max = 3'000'000;
const std::string tiny_path = ATOLL_SOURCE_DIR "/models/tiny";

std::shared_ptr<const model::model_weights> weights() {
  static const auto loaded = model::load_weights(*system_disk(), tiny_path, {}).value();
  return loaded;
}

/// Each job takes a virtual time drawn from the seed.
class timed_device final : public tensor::device {
public:
  timed_device(std::shared_ptr<transport::event_queue> events, random_source random)
      : events_{std::move(events)}, random_{random} {}

  void submit(tensor::job work) override {
    const duration_ns takes{10'000 + static_cast<std::int64_t>(random_.below(100'000))};
    auto shared = std::make_shared<tensor::job>(std::move(work));
    events_->at(events_->now() + takes, [this, shared] { inner_.submit(std::move(*shared)); });
  }
  void post(tensor::task& short_work) override { inner_.post(short_work); }
  void wait_idle() override {}
  tensor::device_activity activity() const noexcept override { return inner_.activity(); }
  int workers() const noexcept override { return 1; }
  std::string description() const override { return "simulated"; }

private:
  std::shared_ptr<transport::event_queue> events_;
  random_source random_;
  tensor::inline_device inner_;
};

/// Stands for a router and its experts: a function of each row alone.
caf::behavior stand_in(caf::event_based_actor* self, world* in, node_id node) {
  auto shard = std::make_shared<shard_actor>();
  self->attach_functor([shard] { *shard = shard_actor{}; });
  return {
      [shard](start_atom, const shard_actor& s) { *shard = s; },
      [=](const route_rows& ask) {
        const std::int64_t hidden = weights()->config.hidden;
        for (std::int64_t i = 0; i < ask.rows * hidden; ++i)
          ask.routed[i] = 0.25F * ask.normed[i] * static_cast<float>(1 + (i % hidden) % 3);
        rows_routed routed{ask.lane, ask.layer, nullptr, std::nullopt};
        if (ask.want_routing) {
          chosen_experts chosen{.k = 1, .experts = {}, .weights = {}};
          for (std::int64_t i = 0; i < ask.rows; ++i) {
            chosen.experts.push_back(ask.normed[i * hidden] > 0 ? 1 : 0);
            chosen.weights.push_back(ask.normed[i * hidden]);
          }
          routed.routing = std::make_shared<const chosen_experts>(std::move(chosen));
        }
        if (const auto fails = in->experts_fail.find(node); fails != in->experts_fail.end())
          routed.failure = fails->second;
        if (*shard) self->send(*shard, std::move(routed));
      },
  };
}

}  // namespace

std::shared_ptr<const model::tokenizer> words() {
  static const auto made = model::tokenizer::load(*system_disk(), tiny_path).value();
  return made;
}

/// A node's way to the network, past the world's `passes`.
class world::filter final : public transport::transport {
public:
  filter(world& in, node_id from, std::unique_ptr<transport> inner)
      : in_{in}, from_{from}, inner_{std::move(inner)} {}

  result<void> listen(atl::transport::node_identity self,
                      std::weak_ptr<atl::transport::receiver> to) override {
    return inner_->listen(self, std::move(to));
  }
  result<std::shared_ptr<atl::transport::endpoint>> connect(node_id peer) override {
    ATOLL_ASSIGN(auto made, inner_->connect(peer));
    return std::shared_ptr<atl::transport::endpoint>{
        std::make_shared<way>(in_, from_, std::move(made))};
  }
  result<std::unique_ptr<atl::transport::memory_region>>
  register_memory(std::span<std::byte> bytes) override {
    return inner_->register_memory(bytes);
  }
  void close() noexcept override { inner_->close(); }

private:
  class way final : public atl::transport::endpoint {
  public:
    way(world& in, node_id from, std::shared_ptr<endpoint> inner)
        : in_{in}, from_{from}, inner_{std::move(inner)} {}
    atl::transport::node_identity peer() const noexcept override { return inner_->peer(); }
    result<void> send(atl::transport::frame f) override {
      if (f.header.kind == atl::transport::frame_kind::submit) {
        in_.last_submit_ = f.header.destination.node;
        ++in_.submits_;
        const auto body = wire::decode(f);
        if (!body.has_error()) in_.last_emitted_ = std::get<wire::submit>(*body).emitted.size();
      }
      if (in_.passes && !in_.passes(from_, f)) return {};
      return inner_->send(std::move(f));
    }
    void close() noexcept override { inner_->close(); }

  private:
    world& in_;
    node_id from_;
    std::shared_ptr<endpoint> inner_;
  };

  world& in_;
  node_id from_;
  std::unique_ptr<transport> inner_;
};

world::world(const options& chosen)
    : options_{chosen},
      random_{chosen.seed},
      time_{std::make_shared<virtual_clock>()},
      network_{{.seed = random_.next()}, time_},
      device_{std::make_unique<timed_device>(network_.events(), random_.split())},
      grammars_{std::make_shared<model::constraint_cache>(words())} {
  config_.set("scheduler.policy", caf::atom("testing"));
  config_.set("logger.verbosity", caf::atom("quiet"));
  system_.emplace(config_);
  scheduler_ = dynamic_cast<caf::scheduler::test_coordinator*>(&system_->scheduler());
  time_->advance(std::chrono::seconds{1000});
  for (int i = 0; i < options_.gateways; ++i) start(gateway_node(i));
  for (int i = 0; i < options_.shard_nodes; ++i) start(shard_node(i));
  tell_members();
  run_for(std::chrono::milliseconds{1});
}

world::~world() {
  for (auto& [id, n] : nodes_)
    if (n.is_up) end(n);
  while (scheduler_->has_job() || network_.step())
    if (scheduler_->has_job()) scheduler_->run_once();
  for (auto& n : graveyard_) n.mail->unbind();
  graveyard_.clear();
  nodes_.clear();
  system_.reset();
}

void world::start(node_id id) {
  node& n = nodes_[id];
  ATOLL_ASSERT(!n.is_up);
  n.is_up = true;
  n.life = incarnation{n.life.value + 1};
  n.state = member_state::alive;
  node_links links;
  links.data = std::make_shared<filter>(*this, id, network_.join());
  n.mail = std::make_shared<mailroom>(transport::node_identity{id, n.life}, links);
  if (id < shard_node(0)) {
    add_gateway(n);
  } else {
    add_shard(id, n);
  }
  const auto opened = n.mail->open();
  ATOLL_ASSERT(!opened.has_error());
}

void world::add_gateway(node& n) {
  schedule::admission_limits limits;
  limits.queued_max = 64;
  limits.context_max = 1024;
  n.desk = std::make_shared<front_desk>(limits, *time_);
  gateway_parts parts;
  parts.mail = n.mail.get();
  parts.time = time_.get();
  parts.desk = n.desk;
  parts.queued_tokens = 100'000;
  parts.patience = options_.patience;
  n.gateway = spawn_gateway(*system_, parts);
}

void world::add_shard(node_id id, node& n) {
  n.router = system_->spawn(stand_in, this, id);
  shard_parts parts;
  parts.id = shard_id{0};
  parts.mail = n.mail.get();
  parts.device = device_.get();
  parts.compute = attention::shard_compute::make(weights(),
                                                 {kernels::best_isa().value(),
                                                  kernels::numerics::invariant,
                                                  static_cast<std::size_t>(options_.pages)})
                      .value();
  parts.limits.prefill_chunk = options_.prefill_chunk;
  parts.limits.sequences_max = options_.sequences_max;
  parts.limits.step_tokens_max = std::max(options_.prefill_chunk, options_.sequences_max);
  parts.limits.pages_total = options_.pages;
  parts.limits_prompts = false;
  parts.time = time_.get();
  parts.grammars = grammars_;
  n.shard = spawn_shard(*system_, parts, caf::actor_cast<router_actor>(n.router));
}

void world::end(node& n) {
  n.is_up = false;
  if (n.gateway) caf::anon_send_exit(n.gateway, caf::exit_reason::user_shutdown);
  if (n.shard) caf::anon_send_exit(n.shard, caf::exit_reason::user_shutdown);
  if (n.router) caf::anon_send_exit(n.router, caf::exit_reason::user_shutdown);
  graveyard_.push_back(std::exchange(n, {n.life, n.state, false, nullptr, nullptr, {}, {}, {}}));
}

void world::kill(node_id id) {
  node& n = nodes_.at(id);
  n.mail->close();
  end(n);
}

void world::tell_members() {
  auto all = std::make_shared<wire::members>();
  all->version = ++version_;
  for (const auto& [id, n] : nodes_) {
    if (n.state == member_state::dead) continue;
    wire::member_info m;
    m.node = id;
    m.life = n.life;
    m.state = n.state;
    m.roles = id < shard_node(0) ? wire::role_gateway : wire::role_attention;
    m.shards = id < shard_node(0) ? 0 : 1;
    m.sequences_max = static_cast<std::uint32_t>(options_.sequences_max);
    m.pages_total = static_cast<std::uint64_t>(options_.pages);
    all->list.push_back(std::move(m));
  }
  for (const auto& [id, n] : nodes_) {
    if (!n.is_up) continue;
    n.mail->set_members(*all);
    if (n.gateway) caf::anon_send(n.gateway, members_ptr{all});
    if (n.shard) caf::anon_send(n.shard, members_ptr{all});
  }
}

void world::tell_state(node_id id, peer_state state) {
  const peer_changed change{{id, nodes_.at(id).life}, transport::plane::data, state, "test"};
  for (const auto& [other, n] : nodes_) {
    if (other == id || !n.is_up) continue;
    if (n.gateway) caf::anon_send(n.gateway, change);
    if (n.shard) caf::anon_send(n.shard, change);
  }
}

std::shared_ptr<answer> world::ask(const generation_request& request, int gateway) {
  node& n = nodes_.at(gateway_node(gateway));
  refusal = n.desk->enter(static_cast<std::int64_t>(request.prompt.size()), request.tokens_max);
  if (refusal.has_error()) return nullptr;
  auto a = std::make_shared<answer>();
  auto s = std::make_shared<gateway_submit>();
  s->id = request_id{++last_request_[gateway_node(gateway)]};
  s->request = request;
  s->since = time_->now();
  s->gone = [a] { a->is_gone = true; };
  s->listener = [this, a](generation_event&& e) {
    if (a->is_ended) a->disorder.emplace_back("an event after the last");
    a->tokens.insert(a->tokens.end(), e.tokens.begin(), e.tokens.end());
    a->logprobs.insert(a->logprobs.end(), e.logprobs.begin(), e.logprobs.end());
    a->prompt_logprobs.insert(
        a->prompt_logprobs.end(), e.prompt_logprobs.begin(), e.prompt_logprobs.end());
    for (const auto& o : e.observations) {
      auto& rows =
          a->rows[std::to_string(static_cast<int>(o.what)) + "/" + std::to_string(o.layer)];
      // Positions follow from what came: all rows of a series have one width.
      const auto known =
          static_cast<std::int64_t>(rows.size()) / std::max<std::int64_t>(o.width, 1);
      if (known != 0 && o.first_position < known) a->disorder.emplace_back("a row twice");
      rows.insert(rows.end(), o.values.begin(), o.values.end());
    }
    if (e.finish == finish_reason::none) return;
    a->last = std::move(e);
    a->is_ended = true;
    a->ended = time_->now();
  };
  ids_[a.get()] = s->id;
  caf::anon_send(n.gateway, gateway_submit_ptr{std::move(s)});
  return a;
}

void world::cancel(const std::shared_ptr<answer>& whose, int gateway) {
  caf::anon_send(nodes_.at(gateway_node(gateway)).gateway, ids_.at(whose.get()));
}

bool world::turn() {
  auto& jobs = scheduler_->jobs;
  if (jobs.empty()) return false;
  const auto next = static_cast<std::ptrdiff_t>(random_.below(jobs.size()));
  std::rotate(jobs.begin(), jobs.begin() + next, jobs.begin() + next + 1);
  scheduler_->run_once();
  return true;
}

bool world::event() {
  const time_point_ns before = time_->now();
  if (!network_.step()) return false;
  scheduler_->advance_time(caf::timespan{(time_->now() - before).count()});
  return true;
}

void world::wait() {
  constexpr auto step = std::chrono::milliseconds{10};
  time_->advance(step);
  scheduler_->advance_time(step);
}

bool world::run_until(const std::function<bool()>& is_met, duration_ns patience) {
  const time_point_ns until = time_->now() + patience;
  for (std::uint64_t turns = 0; !is_met(); ++turns) {
    if (turns > turns_max || time_->now() > until) return false;
    const bool moved = random_.below(4) == 0 ? (event() || turn()) : (turn() || event());
    if (!moved) wait();
  }
  return true;
}

void world::run_for(duration_ns time) {
  const time_point_ns until = time_->now() + time;
  run_until([&] { return time_->now() >= until; }, time + time);
}

namespace {

template <class Handle>
held ask_held(caf::actor_system& system,
              caf::scheduler::test_coordinator& scheduler,
              const Handle& whom) {
  caf::scoped_actor self{system};
  auto asked = self->request(whom, caf::infinite, held_atom::value);
  while (scheduler.has_job()) scheduler.run_once();
  held answer;
  asked.receive([&](const held& h) { answer = h; }, [](const caf::error&) {});
  return answer;
}

}  // namespace

held world::held_by_shard(node_id id) {
  return ask_held(*system_, *scheduler_, nodes_.at(id).shard);
}

held world::held_by_gateway(int gateway) {
  return ask_held(*system_, *scheduler_, nodes_.at(gateway_node(gateway)).gateway);
}

}  // namespace atl::actors::replay
