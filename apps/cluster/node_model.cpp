#include "apps/cluster/node_model.hpp"

#include "actors/local_cluster.hpp"
#include "apps/cluster/roles.hpp"
#include "runtime/base/sizes.hpp"
#include "runtime/model/checkpoint.hpp"
#include "runtime/model/fingerprint.hpp"
#include "transport/wire/control.hpp"

namespace atl::ops {
namespace {

namespace wire = transport::wire;

constexpr std::size_t config_bytes_max = 1 << 20;

result<void> share_memory(node_model& m, const node_model_options& o) {
  const std::size_t limit = apps::memory_limit(o.engine);
  std::size_t needed = model::memory_overhead_bytes;
  std::string sum = human_size(model::memory_overhead_bytes) + " for the process";
  if ((o.roles & wire::role_attention) != 0) {
    const std::size_t share = m.weights->bytes;
    needed += share + m.options.kv_bytes;
    sum = human_size(share) + " of weights, " + human_size(m.options.kv_bytes) +
          " for latents (--kv-memory), " + sum;
  }
  const auto refuse = [&](const std::string& what) {
    return error{errc::out_of_memory,
                 what + " does not fit: " + sum + "; this process may have " + human_size(limit) +
                     " (--memory)"};
  };
  if (needed > limit) return refuse("this node's share of " + o.engine.model);
  if ((o.roles & wire::role_expert) == 0) return {};
  m.expert_bytes = o.expert_memory != 0 ? o.expert_memory : limit - needed;
  sum += ", " + human_size(m.expert_bytes) + " for experts (--expert-memory)";
  if (m.expert_bytes > limit - needed) return refuse("what this node was asked to hold");
  if (m.expert_bytes < m.placed.expert_bytes)
    return refuse("not even one expert of " + human_size(m.placed.expert_bytes));
  return {};
}

result<node_model> sent_model(disk& files, const node_model_options& o) {
  node_model m;
  const auto config = model::read_config(files, o.sent_config);
  if (config.has_error())
    return error{config.error().code(),
                 "no --model, and what the coordinator sent cannot be used: " +
                     config.error().message()};
  m.config = *config;
  ATOLL_ASSIGN(m.options, actors::resolved(o.engine.cluster, m.config));
  return m;
}

}  // namespace

result<node_model> find_node_model(disk& files, const node_model_options& o) {
  if (o.engine.model.empty()) {
    const std::uint32_t needs = o.roles & ~wire::role_expert;
    if (needs != 0)
      return error{errc::invalid_argument,
                   "--model: a node with the role " + roles_text(needs) +
                       " needs the model's directory"};
    ATOLL_ASSIGN(node_model m, sent_model(files, o));
    ATOLL_TRY(share_memory(m, o));
    return m;
  }
  ATOLL_ASSIGN(const apps::model_files found, apps::find_model(files, o.engine));
  if ((o.roles & wire::role_gateway) != 0 && !found.words)
    return error{errc::invalid_model,
                 found.directory + ": a gateway needs tokenizer.json, which is missing there"};
  node_model m;
  m.config = found.config;
  m.words = found.words;
  m.options = found.cluster;
  m.directory = found.directory;
  const bool attends = (o.roles & wire::role_attention) != 0;
  model::load_options load;
  // Experts are brought into memory, and counted, by who takes them on.
  load.parts = {attends ? model::part_use::resident : model::part_use::mapped,
                model::part_use::mapped};
  load.memory_limit_bytes = attends ? apps::memory_limit(o.engine) : 0;
  load.kv_bytes = attends ? m.options.kv_bytes : 0;
  ATOLL_ASSIGN(m.weights, model::load_weights(files, found.directory, load));
  m.placed = actors::placed_model_of(*m.weights);
  ATOLL_ASSIGN(const auto source, model::checkpoint::open(files, found.directory));
  m.fingerprint = model::fingerprint(source);
  ATOLL_ASSIGN(m.config_text, files.read(found.directory + "/config.json", config_bytes_max));
  const std::string generation = found.directory + "/generation_config.json";
  if (files.is_file(generation)) {
    ATOLL_ASSIGN(m.generation_config, files.read(generation, config_bytes_max));
  }
  ATOLL_TRY(share_memory(m, o));
  return m;
}

std::string numeric_class(const actors::cluster_options& resolved) {
  return resolved.numerics == kernels::numerics::fast
             ? "fast-" + std::string{kernels::to_string(*resolved.isa)}
             : "invariant";
}

}  // namespace atl::ops
