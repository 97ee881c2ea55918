// Expert group: a pure function on token rows, behind a mailbox. It merges whatever waits for one
// layer into one batch, computes it on its device, and answers each caller with one row per (row,
// expert) of its dispatch. It knows nothing of requests, and an answer depends on the row and the
// expert alone.
//
//   incoming dispatch -> waiting -> (with all others of its layer) computing -> results to its
//   sender
// Answers travel in the type in which the rows came (f32, bf16 or f8_e4m3).
// A router repeats a call that stays unanswered. A repeat of one that waits or is computed is
// dropped, one answered lately is answered again without computing (actors/answered_calls.hpp).
// A dispatch that cannot be computed (an expert not held, rows of another width, a scale that is no
// positive number) is refused at once.
#pragma once

#include "actors/mailroom.hpp"
#include "actors/messages.hpp"
#include "experts/group_compute.hpp"
#include "experts/kernel_cost.hpp"
#include "runtime/base/buffer_pool.hpp"
#include "runtime/kernels/isa.hpp"
#include "runtime/tensor/device.hpp"

#include <memory>

namespace atl::actors {

/// What a group borrows: all of it outlives the actor and its jobs.
struct group_parts {
  group_id id;
  std::uint32_t slot = 0;  // counts the groups of a node from 0
  mailroom* mail = nullptr;
  tensor::device* device = nullptr;
  const clock* time = nullptr;
  double quota = 0;  // of processors; 0: none
  buffer_pool* buffers = nullptr;
  std::shared_ptr<experts::group_compute> compute;
  model::model_config config;
  kernels::isa isa{};
  experts::kernel_cost cost;  // of its device; not known: nothing is expected
};

/// Spawns the actor and binds it to its slot.
group_actor spawn_group(caf::actor_system& system, const group_parts& parts);

}  // namespace atl::actors
