#include "cluster/peer_watch.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace atl::cluster {

namespace {

std::string in_seconds(duration_ns d) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", seconds(d));
  return text;
}

result<void>
at_least(const char* name, duration_ns value, duration_ns least, const char* least_name) {
  if (value >= least) return {};
  return error{errc::invalid_argument,
               std::string{name} + ": " + in_seconds(value) + " is too short; at least " +
                   in_seconds(least) + " (" + least_name + ")"};
}

}  // namespace

result<void> check(const watch_limits& limits) {
  const duration_ns beat = limits.heartbeat_every;
  ATOLL_TRY(at_least("heartbeat_every", beat, std::chrono::milliseconds{1}, "1 ms"));
  ATOLL_TRY(at_least("suspect_after", limits.suspect_after, 2 * beat, "two heartbeats"));
  ATOLL_TRY(at_least("dead_after",
                     limits.dead_after,
                     limits.suspect_after + 2 * beat,
                     "suspect_after and two heartbeats"));
  ATOLL_TRY(at_least("stuck_after", limits.stuck_after, limits.suspect_after, "suspect_after"));
  return at_least("echo_extra", limits.echo_extra, beat, "one heartbeat");
}

peer_watch::peer_watch(const watch_limits& limits, time_point_ns now)
    : limits_{limits}, last_tick_{now} {
  ATOLL_ASSERT(check(limits).has_value());
}

const peer_watch::watched* peer_watch::find(node_id node) const {
  const auto at =
      std::lower_bound(peers_.begin(), peers_.end(), node, [](const watched& w, node_id n) {
        return w.who.node < n;
      });
  return at != peers_.end() && at->who.node == node ? &*at : nullptr;
}

peer_watch::watched* peer_watch::find(node_id node) {
  return const_cast<watched*>(std::as_const(*this).find(node));
}

result<void> peer_watch::add(transport::node_identity peer, time_point_ns now) {
  watched fresh{.who = peer, .cause = {}, .heard_at = now, .echoed_at = now, .moved_at = now};
  if (watched* known = find(peer.node)) {
    if (peer.life <= known->who.life) {
      return error{errc::stale_epoch,
                   "node " + std::to_string(peer.node.value) +
                       ": this life of it is watched already, or is over; it has to join again"};
    }
    *known = std::move(fresh);
    return {};
  }
  const auto at = std::find_if(
      peers_.begin(), peers_.end(), [&](const watched& w) { return w.who.node > peer.node; });
  peers_.insert(at, std::move(fresh));
  return {};
}

void peer_watch::remove(node_id node) {
  std::erase_if(peers_, [&](const watched& w) { return w.who.node == node; });
}

bool peer_watch::heard(transport::node_identity peer,
                       const heartbeat_info& info,
                       time_point_ns now) {
  watched* known = find(peer.node);
  if (known == nullptr || known->who != peer || known->is_lost ||
      known->state == member_state::dead)
    return false;
  if (info.your_heartbeat_seen > known->seen) {
    known->seen = info.your_heartbeat_seen;
    known->echoed_at = now;
  }
  if (info.number <= known->number) return true;
  known->number = info.number;
  known->heard_at = now;
  if (!info.busy || !known->busy || info.progress != known->progress) known->moved_at = now;
  known->busy = info.busy;
  known->progress = info.progress;
  return true;
}

void peer_watch::connection_lost(transport::node_identity peer, const std::string& cause) {
  watched* known = find(peer.node);
  if (known == nullptr || known->who != peer || known->is_lost) return;
  known->is_lost = true;
  known->cause = cause;
}

peer_watch::opinion peer_watch::judge(const watched& peer, time_point_ns now) const {
  using enum member_state;
  if (peer.is_lost) return {dead, "its connection is lost: " + peer.cause};
  const duration_ns silent = now - peer.heard_at;
  const duration_ns unheard = now - peer.echoed_at;
  const duration_ns standing = peer.busy ? now - peer.moved_at : duration_ns{0};
  const auto grade = [](duration_ns time, duration_ns suspect_at, duration_ns dead_at) {
    return time >= dead_at ? dead : time >= suspect_at ? suspect : alive;
  };
  const duration_ns extra = limits_.echo_extra;
  const member_state by_silence = grade(silent, limits_.suspect_after, limits_.dead_after);
  const member_state by_echo =
      grade(unheard, limits_.suspect_after + extra, limits_.dead_after + extra);
  const member_state by_progress =
      grade(standing, limits_.stuck_after, limits_.stuck_after + limits_.dead_after);
  const member_state worst = std::max({by_silence, by_echo, by_progress});
  if (worst == alive) return {alive, "heard again"};
  if (by_silence == worst) return {worst, "no heartbeat for " + in_seconds(silent)};
  if (by_echo == worst)
    return {worst, "heartbeats to it have not arrived for " + in_seconds(unheard)};
  return {worst, "stuck: busy without progress for " + in_seconds(standing)};
}

/// Ticks are asked for at most heartbeat_every apart. The part of a gap beyond that, if it is more
/// than what a loaded machine brings, was no time of watching.
void peer_watch::forgive_own_absence(time_point_ns now) {
  const duration_ns absent = now - last_tick_ - limits_.heartbeat_every;
  if (absent <= limits_.heartbeat_every) return;
  for (watched& peer : peers_) {
    for (time_point_ns* at : {&peer.heard_at, &peer.echoed_at, &peer.moved_at})
      *at = std::min(now, *at + absent);
  }
}

std::vector<peer_change> peer_watch::tick(time_point_ns now) {
  forgive_own_absence(now);
  last_tick_ = now;
  std::vector<peer_change> changes;
  for (watched& peer : peers_) {
    if (peer.state == member_state::dead) continue;
    opinion next = judge(peer, now);
    if (next.state == peer.state) continue;
    peer.state = next.state;
    changes.push_back({.peer = peer.who, .state = next.state, .why = std::move(next.why)});
  }
  return changes;
}

/// When judge() may answer otherwise than it did, if nothing is heard.
time_point_ns peer_watch::deadline(const watched& peer) const {
  const bool is_alive = peer.state == member_state::alive;
  const duration_ns silence = is_alive ? limits_.suspect_after : limits_.dead_after;
  time_point_ns due =
      std::min(peer.heard_at + silence, peer.echoed_at + silence + limits_.echo_extra);
  if (peer.busy) {
    const duration_ns more = is_alive ? duration_ns{0} : limits_.dead_after;
    due = std::min(due, peer.moved_at + limits_.stuck_after + more);
  }
  return due;
}

time_point_ns peer_watch::next_due(time_point_ns now) const {
  time_point_ns due = last_tick_ + limits_.heartbeat_every;
  for (const watched& peer : peers_) {
    if (peer.state == member_state::dead) continue;
    if (judge(peer, now).state != peer.state) return now;
    due = std::min(due, deadline(peer));
  }
  return std::max(due, now);
}

std::uint64_t peer_watch::received(node_id node) const {
  const watched* known = find(node);
  return known == nullptr ? 0 : known->number;
}

const member_state* peer_watch::state(node_id node) const {
  const watched* known = find(node);
  return known == nullptr ? nullptr : &known->state;
}

}  // namespace atl::cluster
