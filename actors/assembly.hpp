// Puts the actors of a node together: who exists by its roles, who knows whom, and the order of
// starting. The same for a laptop, for a node among others and for the simulation, which differ in
// scheduler, device, clock and transports alone.
#pragma once

#include "actors/agent.hpp"
#include "actors/coordinator.hpp"
#include "actors/gateway.hpp"
#include "actors/group.hpp"
#include "actors/node_setup.hpp"
#include "actors/pulse.hpp"
#include "actors/router.hpp"
#include "actors/shard.hpp"

#include <memory>
#include <vector>

namespace atl::actors {

/// What the actors stand on. All of it outlives them.
struct environment {
  caf::actor_system* system = nullptr;
  tensor::device* device = nullptr;
  const clock* time = nullptr;
  double quota = 0;  // of processors, where it grants fewer than the device has workers; 0: none
  /// For constrained answers; null: they are refused.
  std::shared_ptr<model::constraint_cache> grammars = {};
};

/// Those of a node's roles; the others are empty.
struct assembly {
  std::shared_ptr<mailroom> mail;
  std::shared_ptr<buffer_pool> buffers;
  std::shared_ptr<front_desk> desk;
  gateway_actor gateway;
  std::vector<shard_actor> shards;
  std::vector<router_actor> routers;
  std::vector<group_actor> groups;
  std::shared_ptr<memory_budget> expert_memory;  // of a node with experts
  coordinator_actor coordinator;
  pulse_actor pulse;
  agent_actor agent;
};

/// Begins to listen, spawns everything and lets the agent join.
result<assembly> assemble(const environment& on, const node_setup& setup);

/// Tells every actor to end. Requests should have ended before.
void dismiss(const assembly& all);

}  // namespace atl::actors
