#include "tests/sim/cluster_world.hpp"

#include "actors/local_cluster.hpp"
#include "attention/shard_compute.hpp"
#include "runtime/base/assert.hpp"
#include "tests/sim/scarce_memory.hpp"

#include <caf/actor_registry.hpp>
#include <caf/local_actor.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <algorithm>
#include <utility>

namespace atl::sim {
namespace {

namespace wire = transport::wire;

constexpr const char* cluster_id = "sim";
// So long may an actor that could take its turn wait for it.
constexpr duration_ns turn_delay_max = std::chrono::microseconds{300};
constexpr std::int64_t context_max = 128;
constexpr std::size_t kv_pages = 4;

template <class Handles>
void add_ids(std::vector<std::uint64_t>& to, const Handles& of) {
  for (const auto& h : of) to.push_back(h->id());
}

std::vector<std::uint64_t> ids_of(const actors::assembly& all) {
  std::vector<std::uint64_t> ids;
  add_ids(ids, all.shards);
  add_ids(ids, all.routers);
  add_ids(ids, all.groups);
  if (all.gateway) ids.push_back(all.gateway->id());
  if (all.coordinator) ids.push_back(all.coordinator->id());
  if (all.pulse) ids.push_back(all.pulse->id());
  if (all.agent) ids.push_back(all.agent->id());
  return ids;
}

}  // namespace

cluster_world::cluster_world(world_plan plan, std::shared_ptr<const model::model_weights> weights)
    : plan_{std::move(plan)},
      weights_{std::move(weights)},
      random_{plan_.seed},
      time_{std::make_shared<virtual_clock>()},
      data_net_{{.seed = random_.next()}, time_},
      control_net_{{.seed = random_.next()}, time_},
      wires_{data_net_.events(), random_.split()},
      disk_{std::make_shared<test::memory_disk>()} {
  time_->advance(std::chrono::seconds{100});
  set_process_end([this](std::uint64_t actor, const std::string& what) {
    const auto owner = owners_.find(actor);
    if (owner == owners_.end() || owner->second->is_dead || !hooks_.crashed) return;
    hooks_.crashed(*owner->second, what);
  });
  wires_.check_connections([this](node_id a, node_id b) { return check_connection(a, b); });
  config_.set("scheduler.policy", caf::atom("testing"));
  config_.set("logger.verbosity", caf::atom("quiet"));
  system_.emplace(config_);
  scheduler_ = dynamic_cast<caf::scheduler::test_coordinator*>(&system_->scheduler());
  scheduler_->clock().current_time =
      caf::actor_clock::time_point{std::chrono::nanoseconds{now().value}};
}

cluster_world::~cluster_world() { shut_down(); }

void cluster_world::shut_down() {
  if (!system_) return;
  set_process_end({});
  hooks_ = {};
  wires_.observe({});
  for (auto& l : lives_) {
    l->is_frozen = false;
    l->device->kill();
    end_actors(*l);
  }
  // The testing scheduler hangs if it is destroyed with turns outstanding.
  while (scheduler_->has_job()) scheduler_->run_once();
  for (auto& l : lives_) {
    if (l->all) l->all->mail->unbind();
    l->all.reset();
  }
  scheduler_ = nullptr;
  system_.reset();
}

life* cluster_world::at(node_id node) {
  const auto found = present_.find(node);
  return found == present_.end() ? nullptr : found->second;
}

bool cluster_world::is_up(node_id node) {
  const life* l = at(node);
  return l != nullptr && !l->is_dead;
}

std::size_t cluster_world::pages_total() const { return kv_pages; }

std::uint64_t cluster_world::trace_hash() const {
  return data_net_.trace_hash() ^ philox { turns_ }.at(control_net_.trace_hash(), turns_);
}

// ---- lives ----

actors::node_setup cluster_world::setup_of(life& of) {
  actors::cluster_options o;
  o.threads = 1;
  o.sequences_max = 4;
  o.context_max = context_max;
  o.prefill_chunk = plan_.prefill_chunk;
  o.lane_sequences_min = plan_.lane_sequences_min;
  o.group_rows_max = plan_.group_rows_max;
  o.kv_bytes =
      (kv_pages + plan_.extra_pages) * attention::shard_compute::page_bytes(weights_->config);
  o.queued_max = 64;
  actors::node_setup s;
  s.self = of.who;
  s.roles = of.plan->roles;
  s.coordinator = plan_.nodes.front().id;
  s.links.data = of.data;
  s.links.control = of.control;
  s.config = weights_->config;
  const bool has_weights =
      of.plan->has_checkpoint && (s.roles & (wire::role_attention | wire::role_expert)) != 0;
  if (has_weights) s.weights = weights_;
  s.options = actors::resolved(o, weights_->config).value();
  s.expert_bytes = plan_.experts_max * actors::placed_model_of(*weights_).expert_bytes;
  s.presence.name = "node " + std::to_string(of.who.node.value);
  const auto version = versions_.find(of.who.node);
  s.presence.version = version == versions_.end() ? "1" : version->second;
  s.presence.numeric_class = "sim";
  s.presence.model = has_weights ? "small" : "";
  s.watch = plan_.watch;
  life* l = &of;
  s.ready = [this, l](result<void> outcome) {
    if (outcome.has_value()) l->is_ready = true;
    if (hooks_.ready) hooks_.ready(*l, std::move(outcome));
  };
  s.ended = [this, l](std::optional<error> why) {
    if (hooks_.ended && !l->is_dead) hooks_.ended(*l, std::move(why));
  };
  return s;
}

result<void> cluster_world::start(node_id node) {
  const auto plan = std::find_if(
      plan_.nodes.begin(), plan_.nodes.end(), [&](const node_plan& n) { return n.id == node; });
  life* before = at(node);
  auto made = std::make_unique<life>();
  made->plan = &*plan;
  // As begin_life() of the program does: by the calendar, and never back.
  const auto calendar_us = static_cast<std::uint64_t>(unix_ms(node)) * 1000;
  const std::uint64_t last = before == nullptr ? 0 : before->who.life.value;
  made->who = {node, incarnation{std::max(calendar_us, last + 1)}};
  std::optional<actors::coordination> coordinates;
  if ((plan->roles & wire::role_coordinator) != 0) {
    coordinates.emplace();
    ATOLL_TRY(open_journal(*made, coordinates->restored));
  }
  if (before != nullptr) {
    before->data->free_address();
    before->control->free_address();
  }
  made->device = std::make_unique<sim_device>(
      events(), random_.split(), std::chrono::microseconds{300}, std::chrono::microseconds{2500});
  made->data = wires_.wrap(data_net_.join(), transport::plane::data);
  made->control = wires_.wrap(control_net_.join(), transport::plane::control);
  auto setup = setup_of(*made);
  if (coordinates) {
    auto& s = coordinates->settings;
    s.cluster = cluster_id;
    s.model = actors::placed_model_of(*weights_);
    s.fingerprint = "small";
    s.numeric_class = "sim";
    s.copies = plan_.copies;
    s.expert_nodes_min = static_cast<std::uint32_t>(
        std::count_if(plan_.nodes.begin(), plan_.nodes.end(), [](const node_plan& n) {
          return (n.roles & wire::role_expert) != 0;
        }));
    s.settle = std::chrono::seconds{3};
    s.policy = plan_.policy;
    s.moves_max = plan_.moves_max;
    s.admits_unknown = true;
    s.unix_ms = [this, node] { return unix_ms(node); };
    coordinates->journal = [this, l = made.get()](std::vector<std::string> records,
                                                  std::function<void(result<void>)> done) {
      use_disk(*l, [this, l, records = std::move(records), done = std::move(done)] {
        write(*l, records, done);
      });
    };
    coordinates->plan = [this, l = made.get()](auto input, const actors::plan_done& done) {
      use_planner(*l, std::move(input), done);
    };
    setup.coordinates = std::move(coordinates);
  }
  life* l = made.get();
  lives_.push_back(std::move(made));
  present_[node] = l;
  ATOLL_ASSIGN(l->all, actors::assemble({&*system_, l->device.get(), time_.get()}, setup));
  for (const auto id : ids_of(*l->all)) owners_[id] = l;
  return {};
}

/// In a moment, or after long enough for anything to happen meanwhile.
void cluster_world::use_planner(life& by,
                                std::shared_ptr<const cluster::elastic_input> input,
                                const actors::plan_done& done) {
  const std::int64_t most_us = random_.below(2) == 0 ? 5'000 : 1'500'000;
  const duration_ns takes =
      std::chrono::microseconds{100 + random_.below(static_cast<std::uint64_t>(most_us))};
  events()->at(now() + takes, [&by, input = std::move(input), done] {
    if (by.is_dead) return;
    const auto work = [input, done] { done(cluster::plan_elastic(*input)); };
    if (by.is_frozen)
      by.waiting.emplace_back(work);
    else
      work();
  });
}

void cluster_world::end_actors(life& of) {
  if (of.all) actors::dismiss(*of.all);
}

void cluster_world::kill(node_id node, bool is_told) {
  life& l = *at(node);
  if (l.is_dead) return;
  l.waiting.clear();
  thaw(node);
  l.is_dead = true;
  l.data->kill(is_told);
  l.control->kill(is_told);
  l.device->kill();
  if (!plan_.leaves_actors) end_actors(l);
}

void cluster_world::freeze(node_id node) {
  life& l = *at(node);
  if (l.is_dead || std::exchange(l.is_frozen, true)) return;
  ++frozen_;
  l.device->freeze();
  wires_.freeze(node);
}

void cluster_world::thaw(node_id node) {
  life& l = *at(node);
  if (!std::exchange(l.is_frozen, false)) return;
  --frozen_;
  wires_.thaw(node);
  l.device->thaw();
  for (const auto& run : std::exchange(l.waiting, {})) run();
}

void cluster_world::slow_down(node_id node, double factor) { at(node)->device->slow_down(factor); }

// ---- time ----

const life* cluster_world::owner_of(std::size_t job) const {
  const auto* actor = dynamic_cast<caf::local_actor*>(scheduler_->jobs[job]);
  if (actor == nullptr) return nullptr;
  const auto owner = owners_.find(actor->id());
  return owner == owners_.end() ? nullptr : owner->second;
}

/// The first one.
void cluster_world::run_job() {
  const life* of = starved_.empty() ? nullptr : owner_of(0);
  const auto starved = of == nullptr ? starved_.end() : starved_.find(of->who.node);
  if (starved == starved_.end() || starved->second <= 0) {
    scheduler_->run_once();
  } else {
    const scarce_memory is_scarce{starved->second, random_};
    scheduler_->run_once();
  }
  ++turns_;
}

bool cluster_world::turn() {
  auto& jobs = scheduler_->jobs;
  if (jobs.empty()) return false;
  const std::size_t first = random_.below(jobs.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const std::size_t job = (first + i) % jobs.size();
    if (const life* of = frozen_ == 0 ? nullptr : owner_of(job); of != nullptr && of->is_frozen)
      continue;
    const auto at = jobs.begin() + static_cast<std::ptrdiff_t>(job);
    std::rotate(jobs.begin(), at, at + 1);
    run_job();
    return true;
  }
  return false;
}

std::optional<time_point_ns> cluster_world::next_event() const {
  std::optional<time_point_ns> next = data_net_.events()->next_time();
  const auto no_later = [&](std::optional<time_point_ns> t) {
    if (t && (!next || *t < *next)) next = t;
  };
  no_later(control_net_.events()->next_time());
  const auto& timers = scheduler_->clock().schedule();
  if (!timers.empty()) no_later(time_point_ns{timers.begin()->first.time_since_epoch().count()});
  return next;
}

/// The actors' clock follows the world's.
void cluster_world::catch_up() {
  const std::int64_t behind = now().value - scheduler_->clock().now().time_since_epoch().count();
  if (behind > 0) scheduler_->advance_time(caf::timespan{behind});
}

void cluster_world::advance() {
  const time_point_ns next = *next_event();
  const auto& timers = scheduler_->clock().schedule();
  if (!timers.empty() && timers.begin()->first.time_since_epoch().count() <= next.value) {
    if (next > now()) time_->advance(next - now());
    // Those that were due already fire with no time passing.
    const auto behind = now().value - scheduler_->clock().now().time_since_epoch().count();
    scheduler_->advance_time(caf::timespan{std::max<std::int64_t>(behind, 0)});
    return;
  }
  const auto data = data_net_.events()->next_time();
  const auto control = control_net_.events()->next_time();
  if (data && (!control || *data <= *control)) {
    data_net_.events()->step();
  } else {
    control_net_.events()->step();
  }
  catch_up();
}

bool cluster_world::step() {
  const auto next = next_event();
  const bool is_near = next && *next <= now() + turn_delay_max;
  if (is_near && random_.below(4) == 0) {
    advance();
    return true;
  }
  if (turn()) return true;
  if (!next) return false;
  advance();
  return true;
}

// ---- what is held ----

template <class Handle>
actors::held cluster_world::held_by(const Handle& whom) {
  caf::scoped_actor self{*system_};
  auto asked = self->request(whom, caf::infinite, actors::held_atom::value);
  while (scheduler_->has_job()) scheduler_->run_once();
  actors::held answer;
  asked.receive([&](const actors::held& h) { answer = h; }, [](const caf::error&) {});
  return answer;
}

actors::held cluster_world::held_by_all() {
  actors::held sum;
  for (const auto& [id, l] : present_) {
    if (l->is_dead) continue;
    if (l->all->gateway) {
      const auto h = held_by(l->all->gateway);
      sum.requests += h.requests;
      sum.replays += h.replays;
    }
    for (const auto& s : l->all->shards) {
      const auto h = held_by(s);
      sum.sequences += h.sequences;
      sum.pages_used += h.pages_used;
    }
    for (const auto& r : l->all->routers) {
      const auto h = held_by(r);
      sum.rows_in_flight += h.rows_in_flight;
      sum.rows_moved += h.rows_moved;
      sum.rows_hedged += h.rows_hedged;
    }
  }
  return sum;
}

std::size_t cluster_world::actors_running() { return system_->registry().running(); }

std::size_t cluster_world::actors_of_living() const {
  std::size_t all = 0;
  for (const auto& [id, l] : present_)
    if (!l->is_dead) all += ids_of(*l->all).size();
  return all;
}

}  // namespace atl::sim
