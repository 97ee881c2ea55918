// Node agent: makes its node a member, carries out the coordinator's orders, and reports what the
// node does.
//
//   join until welcome, again when the control path was lost; members, dismissed -> to who asked
//   place -> the routers of the node; when all use an epoch -> adopted
//   load, release, fetch, chunk -> agent_experts
//   each second, and sooner when rows were computed -> load_report
//
// Without a coordinator nothing here fails: what is asked waits, what would be told is told later.
#pragma once

#include "actors/mailroom.hpp"
#include "actors/messages.hpp"
#include "experts/group_compute.hpp"
#include "runtime/base/buffer_pool.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/memory.hpp"
#include "runtime/tensor/device.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace atl::actors {

/// What an agent borrows outlives the actor and its jobs.
struct agent_parts {
  mailroom* mail = nullptr;
  const clock* time = nullptr;
  node_id coordinator_node;
  /// What it says to become a member, but for `epoch` and `held`. Without: it is one.
  std::optional<transport::wire::join> join = {};

  // Of a node that holds experts; the others leave them empty.
  model::model_config config = {};
  std::shared_ptr<const model::model_weights> weights = {};  // null: all is fetched
  std::shared_ptr<memory_budget> memory = {};                // for experts
  tensor::device* device = nullptr;
  buffer_pool* buffers = nullptr;
  std::shared_ptr<experts::group_compute> compute = {};  // for check rows; of no group
  std::vector<group_actor> groups = {};                  // by slot

  std::vector<router_actor> routers = {};
  std::vector<shard_actor> shards = {};
  gateway_actor gateway = {};

  // Called by the actor, so they return at once. May be empty.
  std::function<void(const transport::wire::welcome&)> welcomed = {};
  std::function<void(const error&)> refused = {};  // for good: it does not try again
  std::function<void(members_ptr)> members = {};
  std::function<void(std::optional<error>)> dismissed = {};
  std::function<void(epoch)> adopted = {};  // all routers of the node use it
};

/// Spawns the actor and binds it to its slot. It begins with start_atom and tick_atom.
agent_actor spawn_agent(caf::actor_system& system, const agent_parts& parts);

}  // namespace atl::actors
