#include "actors/pulse.hpp"

#include "actors/uncaught.hpp"
#include "runtime/base/log.hpp"

#include <caf/actor_system.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <array>
#include <map>
#include <utility>

namespace atl::actors {
namespace {

namespace wire = transport::wire;
using transport::plane;

constexpr std::uint64_t beats_a_report = 10;  // what is lost is said again as often

peer_state local(cluster::member_state s) {
  switch (s) {
  case cluster::member_state::alive: return peer_state::alive;
  case cluster::member_state::suspect: return peer_state::suspect;
  case cluster::member_state::dead: return peer_state::dead;
  }
  return peer_state::dead;
}

class pulse final : public pulse_actor::base {
public:
  pulse(caf::actor_config& config, pulse_parts parts)
      : pulse_actor::base{config},
        parts_{std::move(parts)},
        paths_{path{plane::data, {parts_.limits, parts_.time->now()}, {}},
               path{plane::control, {parts_.limits, parts_.time->now()}, {}}} {
    end_process_on_exception(*this);
  }

  behavior_type make_behavior() override {
    return {
        [this](const incoming_ptr& message) {
          if (const auto* h = std::get_if<wire::heartbeat>(&message->body)) hear(*message, *h);
        },
        [this](const members_ptr& all) { follow(*all); },
        [this](const connection_lost& lost) {
          path& p = paths_[static_cast<std::size_t>(lost.path)];
          p.watch.connection_lost(lost.peer, lost.why);
          judge(p);
        },
        [this](tick_atom) { tick(); },
    };
  }

  const char* name() const override { return "pulse"; }

  /// It names the agent, which names it.
  void on_exit() override { parts_.tell = nullptr; }

private:
  struct beats {
    incarnation life;
    std::uint64_t number = 0;  // of the last one sent
  };
  struct path {
    plane where;
    cluster::peer_watch watch;
    std::map<node_id, beats> peers;
    std::map<node_id, std::string> lost = {};  // of these; why
  };

  void follow(const wire::members& all) {
    for (path& p : paths_) {
      std::map<node_id, beats> next;
      for (const auto& m : all.list) {
        if (!is_watched(p.where, m)) continue;
        const auto known = p.peers.find(m.node);
        const bool is_same = known != p.peers.end() && known->second.life == m.life;
        // Numbers go on over the peer's lives: what is still on its way to its next life must not
        // overtake what is sent to that on purpose.
        next[m.node] = {m.life, known == p.peers.end() ? 0 : known->second.number};
        if (is_same) continue;
        p.lost.erase(m.node);
        add(p, {m.node, m.life});
      }
      for (const auto& [node, b] : p.peers) {
        if (next.count(node) != 0) continue;
        p.lost.erase(node);
        p.watch.remove(node);
      }
      p.peers = std::move(next);
    }
    tick();
  }

  bool is_watched(plane where, const wire::member_info& m) const {
    if (m.node == parts_.mail->node() || m.state == wire::member_state::dead) return false;
    if (where == plane::control)
      return m.node == parts_.coordinator || parts_.mail->node() == parts_.coordinator;
    return share_work(parts_.roles, m.roles);
  }

  void add(path& p, transport::node_identity who) {
    p.watch.remove(who.node);
    const auto added = p.watch.add(who, parts_.time->now());
    if (added.has_error()) log_warning(added.error().message());
    parts_.tell({who, p.where, peer_state::alive, "it is a member"});
  }

  void hear(const incoming& from, const wire::heartbeat& h) {
    path& p = paths_[static_cast<std::size_t>(from.path)];
    const transport::node_identity who{from.source.node, from.sender};
    const auto known = p.peers.find(who.node);
    if (known == p.peers.end() || known->second.life != who.life) return;
    // It has seen what this life never sent, so it speaks to the one before.
    if (h.seen > known->second.number) return;
    const cluster::heartbeat_info info{h.number, h.progress, h.busy, h.seen};
    if (!p.watch.heard(who, info, parts_.time->now())) {
      // Still a member, so the path was lost and not the node.
      add(p, who);
      p.watch.heard(who, info, parts_.time->now());
      report(p, who, false, "heartbeats come again");
    }
    judge(p);
  }

  void judge(path& p) {
    for (const auto& change : p.watch.tick(parts_.time->now())) {
      parts_.tell({change.peer, p.where, local(change.state), change.why});
      if (change.state == cluster::member_state::dead) report(p, change.peer, true, change.why);
    }
  }

  void report(path& p, transport::node_identity who, bool is_lost, const std::string& why) {
    p.lost.erase(who.node);
    if (is_lost) p.lost.emplace(who.node, why);
    log_warning("node " + std::to_string(who.node.value) + (is_lost ? " lost" : " found again") +
                " on the " + (p.where == plane::data ? "data" : "control") + " path: " + why);
    if (p.where == plane::data) tell_coordinator(who, is_lost, why);
  }

  void tell_coordinator(transport::node_identity who, bool is_lost, const std::string& why) {
    // Where the coordinator is not reached either, its own pulse finds out about this node.
    const auto sent = parts_.mail->send(pulse_slot,
                                        {parts_.coordinator, coordinator_slot},
                                        wire::path_report{who.node, who.life, is_lost, why});
    if (sent.has_error()) log_warning("coordinator not reached: " + sent.error().message());
  }

  void tick() {
    const time_point_ns now = parts_.time->now();
    for (path& p : paths_) {
      judge(p);
      if (now >= next_beat_) send_beats(p);
    }
    if (now >= next_beat_) {
      next_beat_ = now + parts_.limits.heartbeat_every;
      if (++beats_ % beats_a_report == 0) repeat_reports();
    }
    time_point_ns due = next_beat_;
    for (const path& p : paths_) due = std::min(due, p.watch.next_due(now));
    if (ticking_until_ && *ticking_until_ <= due && *ticking_until_ > now) return;
    ticking_until_ = due;
    this->delayed_send(this, std::max(due - now, duration_ns{0}), tick_atom::value);
  }

  /// A report may get lost with its frame, or with the coordinator that took it.
  void repeat_reports() {
    for (const path& p : paths_) {
      if (p.where != plane::data) continue;
      for (const auto& [node, why] : p.lost)
        tell_coordinator({node, p.peers.at(node).life}, true, why);
    }
  }

  void send_beats(path& p) {
    const auto active = parts_.device->activity();
    for (auto& [node, b] : p.peers) {
      const wire::heartbeat beat{
          active.progress, active.is_busy, ++b.number, p.watch.received(node)};
      // What cannot be sent is not heard, which is what the other side must learn.
      (void)parts_.mail->send_heartbeat(p.where, node, beat);
    }
  }

  pulse_parts parts_;
  std::array<path, 2> paths_;
  time_point_ns next_beat_{};
  std::uint64_t beats_ = 0;
  std::optional<time_point_ns> ticking_until_;
};

}  // namespace

bool share_work(std::uint32_t roles, std::uint32_t others) noexcept {
  const auto between = [&](std::uint32_t a, std::uint32_t b) {
    return ((roles & a) != 0 && (others & b) != 0) || ((roles & b) != 0 && (others & a) != 0);
  };
  // Expert nodes fetch weights from each other.
  return between(wire::role_attention, wire::role_expert) ||
         between(wire::role_gateway, wire::role_attention) ||
         between(wire::role_expert, wire::role_expert);
}

pulse_actor spawn_pulse(caf::actor_system& system, const pulse_parts& parts) {
  auto self = system.spawn<pulse>(parts);
  parts.mail->bind(pulse_slot,
                   [self](incoming_ptr message) { caf::anon_send(self, std::move(message)); });
  parts.mail->watch_connections(
      [self](connection_lost lost) { caf::anon_send(self, std::move(lost)); });
  return self;
}

}  // namespace atl::actors
