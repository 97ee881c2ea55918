// What one node believes of its peers on one path (data or control), from the heartbeats that come
// over that path. Pure: time comes in, changes come out of tick(), nothing else happens. Not
// thread-safe: one owner.
//
//   alive    no heartbeat for suspect_after, or ours not received for that long   -> suspect
//   alive    busy, and the progress counter stands still for stuck_after          -> suspect
//   suspect  heard again, both ways, and moving                                   -> alive
//   suspect  silent for dead_after in all, or stuck for dead_after more           -> dead
//   any      the medium says that the peer is gone                                -> dead
//   dead     final for that life; a later life is added anew
//
// Heartbeats say which of ours have been received, so a path that works one way only is seen from
// both of its ends. Where this node itself did not run (frozen, starved), it learnt nothing about
// anybody meanwhile: time between ticks beyond what was asked for counts against no peer.
#pragma once

#include "cluster/membership.hpp"
#include "runtime/base/clock.hpp"
#include "transport/transport.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace atl::cluster {

struct watch_limits {
  /// How often each node sends. Ticks are asked for at least as often.
  duration_ns heartbeat_every = std::chrono::milliseconds{200};
  duration_ns suspect_after = std::chrono::milliseconds{900};
  duration_ns dead_after = std::chrono::milliseconds{1900};
  /// A running job moves the progress counter with every chunk of a kernel.
  duration_ns stuck_after = std::chrono::seconds{10};
  /// That a heartbeat of ours arrived shows later than an arriving one: it waits for the peer's
  /// next heartbeat and travels back. With delays of 0 to d these signs come at most
  /// 2 (heartbeat_every + d) apart: 1.2 s at d = 400 ms, which must stay below suspect_after +
  /// echo_extra.
  duration_ns echo_extra = std::chrono::milliseconds{400};
};

/// errc::invalid_argument naming the limit, its value and what it must be.
result<void> check(const watch_limits& limits);

/// What a heartbeat says about its sender.
struct heartbeat_info {
  std::uint64_t number = 0;    // counts the sender's heartbeats to this node from 1
  std::uint64_t progress = 0;  // moves while a job runs
  bool busy = false;           // a job is queued or running
  /// The highest number of this node's heartbeats that the sender has received, 0 for none.
  std::uint64_t your_heartbeat_seen = 0;
};

struct peer_change {
  transport::node_identity peer;
  member_state state = member_state::alive;
  std::string why;
};

class peer_watch {
public:
  /// `limits` have passed check().
  peer_watch(const watch_limits& limits, time_point_ns now);

  /// Begins to watch, as if heard now. errc::stale_epoch unless it is a later life of the node than
  /// the one watched, which it replaces.
  result<void> add(transport::node_identity peer, time_point_ns now);
  /// Forgets the node. That a dead life is not added again afterwards is for membership to see to.
  void remove(node_id node);

  /// False if that life is not watched or is dead: its sender has to join again. A heartbeat that a
  /// later one has overtaken proves nothing and is passed over.
  bool heard(transport::node_identity peer, const heartbeat_info& info, time_point_ns now);
  /// `cause` is what the medium said.
  void connection_lost(transport::node_identity peer, const std::string& cause);

  /// What has changed since the last tick, by ascending node.
  std::vector<peer_change> tick(time_point_ns now);
  /// When to tick next: not before `now`.
  time_point_ns next_due(time_point_ns now) const;

  /// The highest number heard of that node: what a heartbeat to it says was seen.
  std::uint64_t received(node_id node) const;
  /// As of the last tick. Null for a node that is not watched.
  const member_state* state(node_id node) const;

private:
  struct watched {
    transport::node_identity who;
    member_state state = member_state::alive;
    std::uint64_t number = 0;
    std::uint64_t seen = 0;
    std::uint64_t progress = 0;
    bool busy = false;
    bool is_lost = false;
    std::string cause;        // of the loss
    time_point_ns heard_at;   // a newer heartbeat arrived
    time_point_ns echoed_at;  // a newer one of ours turned out to have arrived
    time_point_ns moved_at;   // was idle, or its progress had moved
  };
  struct opinion {
    member_state state = member_state::alive;
    std::string why;
  };

  const watched* find(node_id node) const;
  watched* find(node_id node);
  opinion judge(const watched& peer, time_point_ns now) const;
  time_point_ns deadline(const watched& peer) const;
  void forgive_own_absence(time_point_ns now);

  watch_limits limits_;
  time_point_ns last_tick_;
  std::vector<watched> peers_;  // by ascending node
};

}  // namespace atl::cluster
