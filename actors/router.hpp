// Router: one per attention shard. Takes the rows of a micro-batch at one layer, chooses their
// experts, sends each row once to every group that holds some of them, and brings the answers
// together in gate-rank order.
//
//   route_rows -> gate job -> plan (under the placement's current epoch) -> frames, as far as
//   credits go results -> answers noted, credits back, waiting rows sent -> all there: combine job
//   -> rows_routed
// A frame unanswered at its deadline, or refused for a passing reason, is sent again, tries_max
// times; the first answer counts and later ones are dropped, so repeats do no harm. After that the
// shard is told that it failed.
#pragma once

#include "actors/mailroom.hpp"
#include "actors/messages.hpp"
#include "experts/router_compute.hpp"
#include "runtime/base/buffer_pool.hpp"
#include "runtime/tensor/device.hpp"

#include <memory>

namespace atl::actors {

/// What a router borrows: all of it outlives the actor and its jobs.
struct router_parts {
  shard_id shard;
  mailroom* mail = nullptr;
  tensor::device* device = nullptr;
  const clock* time = nullptr;
  buffer_pool* buffers = nullptr;
  std::shared_ptr<const experts::router_compute> compute;
  model::model_config config;
  std::uint32_t lanes = 0;
  std::uint32_t group_rows_max = 0;
  node_id groups_node;  // where the groups live
  duration_ns answer_deadline = std::chrono::seconds{60};
};

/// Spawns the actor and binds it to its slot. It learns its shard by (start, shard).
router_actor spawn_router(caf::actor_system& system, const router_parts& parts);

}  // namespace atl::actors
