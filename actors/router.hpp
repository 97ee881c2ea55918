// Router: one per attention shard. Takes the rows of a micro-batch at one layer, chooses their
// experts, sends each row once to every group that holds some of them, and brings the answers
// together in gate-rank order.
//
//   route_rows -> gate job -> exchange (actors/exchange.hpp: frames out, answers in, second copies,
//   lost nodes) -> all answers there: combine job -> rows_routed
// It hears of placements from its agent, of members and of the health of peers on the data path,
// and tells its agent which epochs it uses.
#pragma once

#include "actors/mailroom.hpp"
#include "actors/messages.hpp"
#include "cluster/routing.hpp"
#include "experts/router_compute.hpp"
#include "runtime/base/buffer_pool.hpp"
#include "runtime/kernels/row_codec.hpp"
#include "runtime/tensor/device.hpp"

#include <memory>

namespace atl::actors {

/// What a router borrows: all of it outlives the actor and its jobs.
struct router_parts {
  shard_id shard;
  std::uint32_t slot = 0;  // counts the routers of a node from 0
  mailroom* mail = nullptr;
  tensor::device* device = nullptr;
  const clock* time = nullptr;
  buffer_pool* buffers = nullptr;
  std::shared_ptr<const experts::router_compute> compute;
  model::model_config config;
  std::uint32_t lanes = 0;
  std::uint32_t group_rows_max = 0;
  double capacity_factor = cluster::capacity_factor_default;
  kernels::row_codec codec;  // how rows travel, in both directions
  /// A call that makes no progress for so long fails with errc::deadline.
  duration_ns answer_deadline = std::chrono::seconds{60};
  /// Rows wait so long for a live copy of an expert, then fail with errc::unavailable.
  duration_ns unavailable_after = std::chrono::seconds{3};
};

/// Spawns the actor and binds it to its slot. It learns its shard by (start, shard).
router_actor spawn_router(caf::actor_system& system, const router_parts& parts);

}  // namespace atl::actors
