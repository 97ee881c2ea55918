#include "actors/local_cluster.hpp"

#include "runtime/base/log.hpp"

#include <future>
#include <utility>

namespace atl::actors {

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

result<node_setup> single_node(std::shared_ptr<const model::model_weights> weights,
                               const cluster_options& options,
                               std::shared_ptr<const model::tokenizer> words) {
  node_setup s;
  ATOLL_ASSIGN(s.options, resolved(options, weights->config));
  s.config = weights->config;
  s.words = std::move(words);
  // The checkpoint was found to fit, mapped; pieces are rounded up to 64 bytes.
  s.expert_bytes = 2 * weights->bytes;
  coordination c;
  c.settings.model = placed_model_of(*weights);
  c.settings.copies = static_cast<std::uint32_t>(s.options.replicas);
  c.settings.admits_unknown = true;
  c.settings.unix_ms = unix_time_ms;
  c.fails_fast = true;
  s.coordinates = std::move(c);
  s.weights = std::move(weights);
  return s;
}

result<std::unique_ptr<local_cluster>>
local_cluster::start(std::shared_ptr<const model::model_weights> weights,
                     const cluster_options& options,
                     std::shared_ptr<const model::tokenizer> words) {
  ATOLL_ASSIGN(auto s, single_node(std::move(weights), options, std::move(words)));
  // Shared: the worker may still be leaving set_value() when the outcome is known here.
  const auto ready = std::make_shared<std::promise<result<void>>>();
  auto outcome = ready->get_future();
  s.ready = [ready](result<void> r) { ready->set_value(std::move(r)); };
  ATOLL_ASSIGN(auto made, make(std::move(s)));
  auto cluster = std::make_unique<local_cluster>(std::move(made));
  ATOLL_TRY(outcome.get());
  return cluster;
}

}  // namespace atl::actors
