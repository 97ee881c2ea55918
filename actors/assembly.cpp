#include "actors/assembly.hpp"

#include "attention/kv/page_pool.hpp"
#include "runtime/base/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>

#include <utility>

namespace atl::actors {
namespace {

constexpr node_id this_node{1};
constexpr incarnation first_life{1};

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

cluster::placed_model placed_model_of(const model::model_weights& weights) {
  cluster::placed_model m;
  for (std::size_t l = 0; l < weights.layers.size(); ++l) {
    if (!weights.layers[l].moe) continue;
    m.shape.layers.emplace_back(static_cast<std::uint32_t>(l));
    const auto& e = weights.layers[l].experts.front();
    m.expert_bytes = e.gate.bytes() + e.up.bytes() + e.down.bytes();
  }
  m.shape.experts = static_cast<std::uint32_t>(weights.config.routed_experts);
  return m;
}

class builder {
public:
  builder(const environment& on,
          std::shared_ptr<const model::model_weights> weights,
          const cluster_options& options)
      : on_{on}, weights_{std::move(weights)}, options_{options} {}

  result<assembly> build(std::function<void(result<void>)> ready) {
    auto made = build_all(std::move(ready));
    // A shard and its router know each other, so neither would ever end by itself.
    if (made.has_error()) dismiss(all_);
    return made;
  }

private:
  result<assembly> build_all(std::function<void(result<void>)> ready) {
    all_.mail =
        std::make_shared<mailroom>(transport::node_identity{this_node, first_life}, on_.links);
    ATOLL_TRY(all_.mail->open());
    // Enough for the frames of a few steps; beyond that memory goes back to the system.
    all_.buffers = std::make_shared<buffer_pool>(std::size_t{256} << 20);
    ATOLL_TRY(add_groups());
    ATOLL_TRY(add_shards());
    add_gateway();
    ATOLL_TRY(add_agent());
    add_coordinator(std::move(ready));
    return std::move(all_);
  }

  result<void> add_groups() {
    for (int g = 0; g < options_.expert_groups; ++g) {
      ATOLL_ASSIGN(
          auto compute,
          experts::group_compute::make(weights_->config, {*options_.isa, options_.numerics}));
      group_parts parts;
      parts.id = group_id{static_cast<std::uint32_t>(g)};
      parts.slot = static_cast<std::uint32_t>(g);
      parts.mail = all_.mail.get();
      parts.device = on_.device;
      parts.time = on_.time;
      parts.buffers = all_.buffers.get();
      parts.compute = std::move(compute);
      parts.config = weights_->config;
      all_.groups.push_back(spawn_group(*on_.system, parts));
    }
    return {};
  }

  result<void> add_shards() {
    const auto limits = step_limits_of(options_, weights_->config);
    ATOLL_TRY(schedule::validate(limits));
    ATOLL_ASSIGN(std::shared_ptr<const experts::router_compute> gate,
                 experts::router_compute::make(weights_, {*options_.isa}));
    for (int s = 0; s < options_.attention_shards; ++s) {
      const shard_id id{static_cast<std::uint32_t>(s)};
      router_parts router;
      router.shard = id;
      router.slot = static_cast<std::uint32_t>(s);
      router.mail = all_.mail.get();
      router.device = on_.device;
      router.time = on_.time;
      router.buffers = all_.buffers.get();
      router.compute = gate;
      router.config = weights_->config;
      router.lanes = limits.lanes;
      router.group_rows_max = static_cast<std::uint32_t>(options_.group_rows_max);
      all_.routers.push_back(spawn_router(*on_.system, router));

      shard_parts shard;
      shard.id = id;
      shard.mail = all_.mail.get();
      shard.device = on_.device;
      ATOLL_ASSIGN(
          shard.compute,
          attention::shard_compute::make(
              weights_,
              {*options_.isa, options_.numerics, static_cast<std::size_t>(limits.pages_total)}));
      shard.limits = limits;
      shard.limits_prompts = options_.stream_slowdown != 0;
      shard.budget.slowdown = options_.stream_slowdown / 100.0;
      shard.budget.tokens_min = std::min(options_.prefill_floor, limits.prefill_chunk);
      shard.budget.tokens_max = limits.step_tokens_max;
      shard.time = on_.time;
      shard.shares_prefixes = options_.prefix_cache;
      shard.grammars = on_.grammars;
      all_.shards.push_back(spawn_shard(*on_.system, shard, all_.routers.back()));
    }
    return {};
  }

  void add_gateway() {
    const auto steps = step_limits_of(options_, weights_->config);
    schedule::admission_limits limits;
    limits.sequences_max = std::int64_t{options_.sequences_max} * options_.attention_shards;
    limits.queued_max = options_.queued_max;
    limits.tokens_max =
        steps.pages_total * steps.page_tokens * options_.attention_shards + options_.queued_tokens;
    limits.context_max = options_.context_max;
    all_.desk = std::make_shared<front_desk>(limits, *on_.time);
    gateway_parts parts;
    parts.mail = all_.mail.get();
    parts.time = on_.time;
    parts.desk = all_.desk;
    parts.queued_tokens = options_.queued_tokens;
    parts.shares_prefixes = options_.prefix_cache;
    all_.gateway = spawn_gateway(*on_.system, parts);
    caf::anon_send(all_.gateway, members_of(steps));
  }

  /// This node alone.
  members_ptr members_of(const schedule::step_limits& steps) const {
    transport::wire::member_info self;
    self.node = this_node;
    self.life = first_life;
    self.roles = transport::wire::roles_known;
    self.shards = static_cast<std::uint32_t>(options_.attention_shards);
    self.sequences_max = static_cast<std::uint32_t>(steps.sequences_max);
    self.pages_total = static_cast<std::uint64_t>(steps.pages_total);
    auto all = std::make_shared<transport::wire::members>();
    all->version = 1;
    all->list.push_back(std::move(self));
    return all;
  }

  result<void> add_agent() {
    agent_parts parts;
    parts.mail = all_.mail.get();
    parts.time = on_.time;
    parts.coordinator_node = this_node;
    parts.config = weights_->config;
    parts.weights = weights_;
    // The checkpoint was found to fit; pieces are rounded up to 64 bytes.
    parts.memory = std::make_shared<memory_budget>("experts", 2 * weights_->bytes);
    parts.device = on_.device;
    parts.buffers = all_.buffers.get();
    ATOLL_ASSIGN(
        parts.compute,
        experts::group_compute::make(weights_->config, {*options_.isa, options_.numerics}));
    parts.groups = all_.groups;
    parts.routers = all_.routers;
    parts.shards = all_.shards;
    parts.gateway = all_.gateway;
    all_.agent = spawn_agent(*on_.system, parts);
    return {};
  }

  void add_coordinator(std::function<void(result<void>)> ready) {
    coordinator_parts parts;
    parts.mail = all_.mail.get();
    parts.time = on_.time;
    parts.settings.model = placed_model_of(*weights_);
    parts.settings.copies = static_cast<std::uint32_t>(options_.replicas);
    parts.settings.group_slot_first = group_slot_base;
    parts.settings.self = this_node;
    parts.settings.admits_unknown = true;
    parts.settings.unix_ms = unix_time_ms;
    parts.fails_fast = true;
    parts.layers = weights_->config.layers;
    transport::wire::join own;
    own.roles = transport::wire::roles_known;
    // The mapped checkpoint holds every expert already.
    own.expert_bytes = weights_->bytes;
    own.groups = static_cast<std::uint32_t>(options_.expert_groups);
    own.shards = static_cast<std::uint32_t>(options_.attention_shards);
    parts.own_join = std::move(own);
    for (std::uint32_t s = 0; s < all_.routers.size(); ++s)
      parts.routers.push_back({this_node, router_slot_base + s});
    parts.ready = std::move(ready);
    all_.coordinator = spawn_coordinator(*on_.system, parts);
    caf::anon_send(all_.coordinator, start_atom::value);
  }

  const environment& on_;
  std::shared_ptr<const model::model_weights> weights_;
  const cluster_options& options_;
  assembly all_;
};

}  // namespace

result<assembly> assemble(const environment& on,
                          std::shared_ptr<const model::model_weights> weights,
                          const cluster_options& options,
                          std::function<void(result<void>)> ready) {
  return builder{on, std::move(weights), options}.build(std::move(ready));
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
  end(all.coordinator);
}

}  // namespace atl::actors
