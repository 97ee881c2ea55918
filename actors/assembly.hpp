// Puts the actors of a single-process cluster together: who exists, who knows whom, and the order
// of starting. The same for a laptop and for the simulation, which differ in scheduler, device,
// clock and transport alone.
#pragma once

#include "actors/agent.hpp"
#include "actors/cluster_options.hpp"
#include "actors/coordinator.hpp"
#include "actors/gateway.hpp"
#include "actors/group.hpp"
#include "actors/router.hpp"
#include "actors/shard.hpp"

#include <functional>
#include <memory>
#include <vector>

namespace atl::actors {

/// What the actors stand on. All of it outlives them.
struct environment {
  caf::actor_system* system = nullptr;
  tensor::device* device = nullptr;
  const clock* time = nullptr;
  node_links links = {};
  /// For constrained answers; null: they are refused.
  std::shared_ptr<model::constraint_cache> grammars = {};
};

struct assembly {
  std::shared_ptr<mailroom> mail;
  std::shared_ptr<buffer_pool> buffers;
  std::shared_ptr<front_desk> desk;
  gateway_actor gateway;
  std::vector<shard_actor> shards;
  std::vector<router_actor> routers;
  std::vector<group_actor> groups;
  agent_actor agent;
  coordinator_actor coordinator;
};

/// Spawns everything and starts the coordinator; `ready` is told when the first placement is in
/// force. `options` are resolved.
result<assembly> assemble(const environment& on,
                          std::shared_ptr<const model::model_weights> weights,
                          const cluster_options& options,
                          std::function<void(result<void>)> ready);

/// Tells every actor to end. Requests should have ended before.
void dismiss(const assembly& all);

}  // namespace atl::actors
