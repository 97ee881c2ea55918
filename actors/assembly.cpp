#include "actors/assembly.hpp"

#include "attention/kv/page_pool.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>

#include <mutex>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;

schedule::step_limits step_limits_of(const cluster_options& o, const model::model_config& config) {
  schedule::step_limits limits;
  limits.prefill_chunk = o.prefill_chunk;
  limits.sequences_max = o.sequences_max;
  limits.step_tokens_max = std::max<std::int64_t>(o.prefill_chunk, o.sequences_max);
  limits.page_tokens = attention::kv_page_tokens;
  limits.pages_total =
      static_cast<std::int64_t>(o.kv_bytes / static_cast<std::size_t>(o.attention_shards) /
                                attention::shard_compute::page_bytes(config));
  limits.lane_sequences_min = o.lane_sequences_min;
  limits.lanes = static_cast<std::uint32_t>(o.micro_batches);
  return limits;
}

/// When a node serves: it is a member, and its routers, where it has any, have a placement. Told
/// once; an end after that is told once too. Called by actors, so it returns at once.
class fate {
public:
  fate(const node_setup& setup, bool needs_placement)
      : ready_{setup.ready}, ended_{setup.ended}, needs_placement_{needs_placement} {}

  void welcomed() { step(is_member_); }
  void placed() { step(is_placed_); }
  void failed(const error& why) {
    if (tell_ready(why)) return;
    tell_ended(why);
  }
  void dismissed(std::optional<error> why) {
    if (why && tell_ready(*why)) return;
    tell_ended(std::move(why));
  }

private:
  void step(bool& flag) {
    {
      const std::lock_guard lock{mutex_};
      flag = true;
      if (!is_member_ || (needs_placement_ && !is_placed_)) return;
    }
    tell_ready({});
  }
  bool tell_ready(result<void> outcome) {
    std::function<void(result<void>)> tell;
    {
      const std::lock_guard lock{mutex_};
      tell = std::exchange(ready_, nullptr);
    }
    if (tell) tell(std::move(outcome));
    return static_cast<bool>(tell);
  }
  void tell_ended(std::optional<error> why) {
    std::function<void(std::optional<error>)> tell;
    {
      const std::lock_guard lock{mutex_};
      tell = std::exchange(ended_, nullptr);
    }
    if (tell) tell(std::move(why));
  }

  std::mutex mutex_;
  std::function<void(result<void>)> ready_;
  std::function<void(std::optional<error>)> ended_;
  bool needs_placement_;
  bool is_member_ = false;
  bool is_placed_ = false;
};

class builder {
public:
  builder(const environment& on, const node_setup& setup) : on_{on}, s_{setup}, o_{setup.options} {}

  result<assembly> build() {
    auto made = build_all();
    // A shard and its router know each other, so neither would ever end by itself.
    if (made.has_error()) dismiss(all_);
    return made;
  }

private:
  bool has(std::uint32_t role) const { return (s_.roles & role) != 0; }
  bool has_experts() const { return s_.config.routed_experts > 0; }

  result<assembly> build_all() {
    all_.mail = std::make_shared<mailroom>(s_.self, s_.links);
    ATOLL_TRY(all_.mail->open());
    // Enough for the frames of a few steps; beyond that memory goes back to the system.
    all_.buffers = std::make_shared<buffer_pool>(std::size_t{256} << 20);
    fate_ = std::make_shared<fate>(s_, has(wire::role_attention) && has_experts());
    if (has(wire::role_expert)) ATOLL_TRY(add_groups());
    if (has(wire::role_attention)) ATOLL_TRY(add_shards());
    if (has(wire::role_gateway)) add_gateway();
    if (has(wire::role_coordinator)) add_coordinator();
    add_pulse();
    ATOLL_TRY(add_agent());
    return std::move(all_);
  }

  result<void> add_groups() {
    for (int g = 0; g < o_.expert_groups; ++g) {
      ATOLL_ASSIGN(auto compute, experts::group_compute::make(s_.config, {*o_.isa, o_.numerics}));
      group_parts parts;
      parts.id = group_id{static_cast<std::uint32_t>(g)};
      parts.slot = static_cast<std::uint32_t>(g);
      parts.mail = all_.mail.get();
      parts.device = on_.device;
      parts.time = on_.time;
      parts.quota = on_.quota;
      parts.buffers = all_.buffers.get();
      parts.compute = std::move(compute);
      parts.config = s_.config;
      parts.isa = *o_.isa;
      parts.cost = s_.cost;
      all_.groups.push_back(spawn_group(*on_.system, parts));
    }
    return {};
  }

  result<void> add_shards() {
    limits_ = step_limits_of(o_, s_.config);
    ATOLL_TRY(schedule::validate(limits_));
    ATOLL_ASSIGN(std::shared_ptr<const experts::router_compute> gate,
                 experts::router_compute::make(s_.weights, {*o_.isa}));
    for (int s = 0; s < o_.attention_shards; ++s) {
      const shard_id id{static_cast<std::uint32_t>(s)};
      router_parts router;
      router.shard = id;
      router.slot = static_cast<std::uint32_t>(s);
      router.mail = all_.mail.get();
      router.device = on_.device;
      router.time = on_.time;
      router.buffers = all_.buffers.get();
      router.compute = gate;
      router.config = s_.config;
      router.lanes = limits_.lanes;
      router.codec = kernels::row_codec::make(*o_.isa, o_.activations);
      router.group_rows_max = static_cast<std::uint32_t>(o_.group_rows_max);
      router.capacity_factor = o_.capacity_factor;
      all_.routers.push_back(spawn_router(*on_.system, router));

      shard_parts shard;
      shard.id = id;
      shard.mail = all_.mail.get();
      shard.device = on_.device;
      ATOLL_ASSIGN(
          shard.compute,
          attention::shard_compute::make(
              s_.weights, {*o_.isa, o_.numerics, static_cast<std::size_t>(limits_.pages_total)}));
      shard.limits = limits_;
      shard.limits_prompts = o_.stream_slowdown != 0;
      shard.budget.slowdown = o_.stream_slowdown / 100.0;
      shard.budget.tokens_min = std::min(o_.prefill_floor, limits_.prefill_chunk);
      shard.budget.tokens_max = limits_.step_tokens_max;
      shard.time = on_.time;
      shard.shares_prefixes = o_.prefix_cache;
      shard.grammars = on_.grammars;
      all_.shards.push_back(spawn_shard(*on_.system, shard, all_.routers.back()));
    }
    return {};
  }

  void add_gateway() {
    // Of one attention node; the gateway takes what members say once they are there.
    const auto steps = step_limits_of(o_, s_.config);
    schedule::admission_limits limits;
    limits.sequences_max = std::int64_t{o_.sequences_max} * o_.attention_shards;
    limits.queued_max = o_.queued_max;
    limits.tokens_max =
        steps.pages_total * steps.page_tokens * o_.attention_shards + o_.queued_tokens;
    limits.context_max = o_.context_max;
    all_.desk = std::make_shared<front_desk>(limits, *on_.time);
    gateway_parts parts;
    parts.mail = all_.mail.get();
    parts.time = on_.time;
    parts.desk = all_.desk;
    parts.queued_tokens = o_.queued_tokens;
    parts.shares_prefixes = o_.prefix_cache;
    all_.gateway = spawn_gateway(*on_.system, parts);
  }

  void add_coordinator() {
    coordinator_parts parts;
    parts.mail = all_.mail.get();
    parts.time = on_.time;
    parts.settings = s_.coordinates->settings;
    parts.settings.self = s_.self.node;
    parts.restored = s_.coordinates->restored;
    parts.journal = s_.coordinates->journal;
    parts.plan = s_.coordinates->plan;
    parts.fails_fast = s_.coordinates->fails_fast;
    parts.layers = s_.config.layers;
    parts.ready = [fate = fate_](const result<void>& outcome) {
      if (outcome.has_error()) fate->failed(outcome.error());
    };
    all_.coordinator = spawn_coordinator(*on_.system, parts);
    caf::anon_send(all_.coordinator, start_atom::value);
  }

  void add_pulse() {
    pulse_parts parts;
    parts.mail = all_.mail.get();
    parts.time = on_.time;
    parts.device = on_.device;
    parts.roles = s_.roles;
    parts.coordinator = s_.coordinator;
    parts.limits = s_.watch;
    parts.tell = [shards = all_.shards,
                  routers = all_.routers,
                  gateway = all_.gateway,
                  coordinator = all_.coordinator,
                  agent = agent_](const peer_changed& change) {
      for (const auto& r : routers) caf::anon_send(r, change);
      for (const auto& s : shards) caf::anon_send(s, change);
      if (gateway) caf::anon_send(gateway, change);
      if (coordinator) caf::anon_send(coordinator, change);
      caf::anon_send(*agent, change);
    };
    all_.pulse = spawn_pulse(*on_.system, parts);
  }

  result<void> add_agent() {
    agent_parts parts;
    parts.mail = all_.mail.get();
    parts.time = on_.time;
    parts.coordinator_node = s_.coordinator;
    parts.join = presence();
    parts.config = s_.config;
    parts.device = on_.device;
    parts.buffers = all_.buffers.get();
    if (has(wire::role_expert)) {
      parts.weights = s_.weights;
      parts.memory = std::make_shared<memory_budget>("experts", s_.expert_bytes);
      all_.expert_memory = parts.memory;
      ATOLL_ASSIGN(parts.compute, experts::group_compute::make(s_.config, {*o_.isa, o_.numerics}));
    }
    parts.groups = all_.groups;
    parts.routers = all_.routers;
    parts.shards = all_.shards;
    parts.gateway = all_.gateway;
    parts.welcomed = [fate = fate_](const wire::welcome&) { fate->welcomed(); };
    parts.refused = [fate = fate_](const error& why) { fate->failed(why); };
    parts.dismissed = [fate = fate_](std::optional<error> why) { fate->dismissed(std::move(why)); };
    parts.adopted = [fate = fate_](epoch) { fate->placed(); };
    parts.members = [mail = all_.mail,
                     pulse = all_.pulse,
                     shards = all_.shards,
                     routers = all_.routers,
                     gateway = all_.gateway](const members_ptr& all) {
      mail->set_members(*all);
      caf::anon_send(pulse, all);
      for (const auto& r : routers) caf::anon_send(r, all);
      for (const auto& s : shards) caf::anon_send(s, all);
      if (gateway) caf::anon_send(gateway, all);
    };
    all_.agent = spawn_agent(*on_.system, parts);
    // The pulse hears of peers only after the agent has joined, so it finds the handle.
    *agent_ = all_.agent;
    caf::anon_send(all_.agent, start_atom::value);
    caf::anon_send(all_.agent, tick_atom::value);
    return {};
  }

  wire::join presence() const {
    wire::join j = s_.presence;
    j.roles = s_.roles;
    j.expert_bytes = has(wire::role_expert) ? s_.expert_bytes : 0;
    j.activations = o_.activations;
    j.groups = static_cast<std::uint32_t>(all_.groups.size());
    j.shards = static_cast<std::uint32_t>(all_.shards.size());
    if (has(wire::role_attention)) {
      j.sequences_max = static_cast<std::uint32_t>(limits_.sequences_max);
      j.pages_total = static_cast<std::uint64_t>(limits_.pages_total);
    }
    if (s_.addresses) s_.addresses(j);
    return j;
  }

  const environment& on_;
  const node_setup& s_;
  const cluster_options& o_;
  schedule::step_limits limits_;
  std::shared_ptr<fate> fate_;
  std::shared_ptr<agent_actor> agent_ = std::make_shared<agent_actor>();
  assembly all_;
};

}  // namespace

result<assembly> assemble(const environment& on, const node_setup& setup) {
  return builder{on, setup}.build();
}

void dismiss(const assembly& all) {
  const auto end = [](const auto& handle) {
    if (handle) caf::anon_send_exit(handle, caf::exit_reason::user_shutdown);
  };
  end(all.gateway);
  for (const auto& s : all.shards) end(s);
  for (const auto& r : all.routers) end(r);
  for (const auto& g : all.groups) end(g);
  end(all.agent);
  end(all.pulse);
  end(all.coordinator);
}

}  // namespace atl::actors
