// Pulse: the failure detector of a node. Sends heartbeats to every node that this one shares a path
// with, judges theirs (cluster/peer_watch.hpp), and tells the actors of its node what it thinks.
//
//   members -> whom to watch: on the data path, nodes that work with this one; on the control path
//   the coordinator, and at the coordinator everybody
//   heartbeat, connection lost, tick -> peer_changed to `tell`; data paths lost or found again also
//   as path_report to the coordinator
// A peer that is dead on the data path and still a member goes on getting heartbeats; when one of
// its own comes again, the path is there again.
#pragma once

#include "actors/mailroom.hpp"
#include "actors/messages.hpp"
#include "cluster/peer_watch.hpp"
#include "runtime/tensor/device.hpp"

#include <functional>

namespace atl::actors {

/// What a pulse borrows: all of it outlives the actor.
struct pulse_parts {
  mailroom* mail = nullptr;
  const clock* time = nullptr;
  const tensor::device* device = nullptr;
  std::uint32_t roles = 0;  // of this node
  node_id coordinator;
  cluster::watch_limits limits;
  std::function<void(const peer_changed&)> tell;  // puts it into mailboxes
};

/// Spawns the actor and binds it to its slot.
pulse_actor spawn_pulse(caf::actor_system& system, const pulse_parts& parts);

/// Whether nodes with these roles send each other frames on the data path.
bool share_work(std::uint32_t roles, std::uint32_t others) noexcept;

}  // namespace atl::actors
