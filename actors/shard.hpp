// Attention shard: the step loop. Plans micro-batches (runtime/schedule), runs embeddings,
// attention, dense layers, shared experts and head on its device, hands rows to its router at every
// MoE layer, samples, and reports tokens to the gateway that sent the request. Several lanes
// (micro-batches) are in flight, so that it computes one while experts work on another.
//
//   lane: idle -> attend(layer) -> [MoE: routed experts || shared experts] -> attend(layer + 1) ->
//   ... -> head and
//         sampling -> idle
// A submit of what is under way is answered with the tokens that its sender lacks, or begins it
// anew where they cannot be told again; a cancel of what is not there is answered as if it had
// been. What a lost gateway had is let go within a step.
//
// A request that is cancelled leaves at the end of the step it is in; one whose rows could not be
// routed ends with an error, alone or with the others of its lane.
#pragma once

#include "actors/mailroom.hpp"
#include "actors/messages.hpp"
#include "attention/shard_compute.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/model/constraint.hpp"
#include "runtime/schedule/batch_planner.hpp"
#include "runtime/schedule/step_budget.hpp"
#include "runtime/tensor/device.hpp"

#include <memory>

namespace atl::actors {

/// What a shard borrows: all of it outlives the actor and its jobs.
struct shard_parts {
  shard_id id;
  mailroom* mail = nullptr;
  tensor::device* device = nullptr;
  std::shared_ptr<attention::shard_compute> compute;
  schedule::step_limits limits;
  bool limits_prompts = true;  // by this budget
  schedule::budget_limits budget;
  const clock* time = nullptr;
  bool shares_prefixes = true;  // requests of one scope read each other's cached pages
  /// For constrained answers; null where there is no tokenizer.
  std::shared_ptr<model::constraint_cache> grammars;
};

/// Spawns the actor and binds it to its slot.
shard_actor spawn_shard(caf::actor_system& system, const shard_parts& parts, router_actor router);

}  // namespace atl::actors
