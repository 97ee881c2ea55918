#include "tests/sim/wiring.hpp"

#include <algorithm>
#include <utility>

namespace atl::sim {

using transport::frame;
using transport::node_identity;
using transport::plane;

struct wiring::port {
  node_identity self;
  plane path;
  std::weak_ptr<transport::receiver> to;
  bool is_dead = false;
  struct sender {
    incarnation life;  // the latest heard
    std::set<std::uint64_t> numbers;
    std::uint64_t renumbered = 0;
  };
  std::map<node_id, sender> heard;
  wire_repeats repeats;
};

class wire_receiver final : public transport::receiver {
public:
  wire_receiver(wiring& on, std::shared_ptr<wiring::port> to) : on_{on}, to_{std::move(to)} {}

  void on_frame(frame&& f) noexcept override {
    const node_id from = f.header.source.node;
    const node_identity peer{from, f.header.sender};
    on_.arrive(to_, from, {std::move(f), peer, {}});
  }
  void on_peer_gone(node_identity peer, const error& cause) noexcept override {
    on_.arrive(to_, peer.node, {std::nullopt, peer, cause});
  }

private:
  wiring& on_;
  std::shared_ptr<wiring::port> to_;
};

class wire_endpoint final : public transport::endpoint {
public:
  wire_endpoint(wiring& on,
                std::shared_ptr<wiring::port> from,
                std::shared_ptr<transport::endpoint> inner)
      : on_{on}, from_{std::move(from)}, inner_{std::move(inner)} {}

  node_identity peer() const noexcept override { return inner_->peer(); }
  result<void> send(frame f) override {
    if (from_->is_dead) return error{errc::peer_gone, "this process is gone"};
    ++on_.counts_.frames;
    if (on_.sees_ && !on_.sees_(from_->path, from_->self, inner_->peer().node, f)) return {};
    return inner_->send(std::move(f));
  }
  void close() noexcept override { inner_->close(); }

private:
  wiring& on_;
  std::shared_ptr<wiring::port> from_;
  std::shared_ptr<transport::endpoint> inner_;
};

wiring::wiring(std::shared_ptr<transport::event_queue> events, random_source random)
    : events_{std::move(events)}, random_{random} {}

wiring::~wiring() = default;

std::shared_ptr<wire_transport> wiring::wrap(std::unique_ptr<transport::transport> inner,
                                             plane path) {
  return std::make_shared<wire_transport>(*this, std::move(inner), path);
}

wiring::wire& wiring::between(node_id from, node_id to, plane path) {
  const wire_key key{from.value, to.value, path};
  const auto found = wires_.find(key);
  if (found != wires_.end()) return found->second;
  return wires_.emplace(key, wire{.random = random_.split(), .faults = {}, .held = {}})
      .first->second;
}

void wiring::cut(node_id from, node_id to, plane path) { between(from, to, path).is_cut = true; }

void wiring::join(node_id from, node_id to, plane path, bool is_reset) {
  wire& w = between(from, to, path);
  if (!std::exchange(w.is_cut, false)) return;
  if (is_reset) return reset(from, to, path);
  for (auto& d : std::exchange(w.held, {})) hand_over(d);
}

void wiring::reset(node_id a, node_id b, plane path) {
  ++counts_.resets;
  for (const auto& [from, to] : {std::pair{a, b}, std::pair{b, a}}) {
    wire& w = between(from, to, path);
    ++w.generation;
    w.held.clear();
    const auto here = ports_.find({to.value, path});
    const auto there = ports_.find({from.value, path});
    if (here == ports_.end() || there == ports_.end()) continue;
    const auto end = here->second.lock();
    const auto peer = there->second.lock();
    if (end == nullptr || peer == nullptr) continue;
    hand_over({end, {std::nullopt, peer->self, {errc::peer_gone, "the connection was reset"}}});
  }
}

void wiring::set_faults(node_id from, node_id to, plane path, const wire_faults& faults) {
  between(from, to, path).faults = faults;
}

void wiring::freeze(node_id node) { frozen_.insert(node); }

void wiring::thaw(node_id node) {
  if (frozen_.erase(node) == 0) return;
  for (const auto& d : std::exchange(waiting_[node], {})) hand_over(d);
}

void wiring::arrive(const std::shared_ptr<port>& to, node_id from, news what) {
  wire& w = between(from, to->self.node, to->path);
  delivery d{to, std::move(what)};
  if (w.is_cut) {
    ++counts_.held;
    w.held.push_back(std::move(d));
    return;
  }
  pass(w, from, std::move(d));
}

void wiring::pass(wire& on, node_id from, delivery d) {
  const wire_faults& f = on.faults;
  if (d.what.frame) {
    if (f.corrupt > 0 && on.random.unit() < f.corrupt &&
        !survives_damage(*d.what.frame, on.random.next())) {
      ++counts_.refused;
      if (d.to->path == plane::control) reset(from, d.to->self.node, plane::control);
      return;
    }
    if (f.loss > 0 && on.random.unit() < f.loss) {
      ++counts_.lost;
      if (d.to->path == plane::control) reset(from, d.to->self.node, plane::control);
      return;
    }
    if (f.duplicate > 0 && on.random.unit() < f.duplicate) {
      ++counts_.duplicated;
      later(on, from, d, false);
    }
    if (f.reorder > 0 && on.random.unit() < f.reorder) {
      ++counts_.reordered;
      return later(on, from, std::move(d), true);
    }
  }
  if (f.delay_max.count() > 0 || on.release > events_->now())
    return later(on, from, std::move(d), false);
  hand_over(d);
}

/// Delivers after a delay; in order, unless it may be overtaken.
void wiring::later(wire& on, node_id from, delivery d, bool may_be_overtaken) {
  const auto most = static_cast<std::uint64_t>(
      std::max<std::int64_t>(on.faults.delay_max.count(), may_be_overtaken ? 2'000'000 : 0));
  const time_point_ns drawn =
      events_->now() + duration_ns{static_cast<std::int64_t>(on.random.below(most + 1))};
  const time_point_ns when = may_be_overtaken ? drawn : std::max(on.release, drawn);
  if (!may_be_overtaken) on.release = when;
  events_->at(when, [this, from, d = std::move(d), generation = on.generation] {
    wire& w = between(from, d.to->self.node, d.to->path);
    if (w.generation != generation) return;
    if (w.is_cut) {
      w.held.push_back(d);
    } else {
      hand_over(d);
    }
  });
}

void wiring::hand_over(const delivery& d) {
  if (d.to->is_dead) return;
  if (frozen_.count(d.to->self.node) > 0) {
    waiting_[d.to->self.node].push_back(d);
    return;
  }
  const auto to = d.to->to.lock();
  if (to == nullptr) return;
  if (d.what.frame) {
    frame f{*d.what.frame};
    note_arrival(*d.to, f.header);
    disguise(*d.to, f.header);
    to->on_frame(std::move(f));
  } else {
    to->on_peer_gone(d.what.peer, d.what.cause);
  }
}

void wiring::note_arrival(port& to, const transport::frame_header& h) {
  auto& from = to.heard[h.source.node];
  if (h.sender < from.life) {
    ++to.repeats.stale;
    return;
  }
  if (h.sender > from.life) {
    from.life = h.sender;
    from.numbers.clear();
  }
  if (!from.numbers.insert(h.sequence).second) ++to.repeats.repeated;
}

void wiring::disguise(port& to, transport::frame_header& h) {
  if (renumbers_) h.sequence = ++to.heard[h.source.node].renumbered;
  const auto present = ports_.find({h.source.node.value, to.path});
  if (!rejuvenates_ || present == ports_.end()) return;
  if (const auto p = present->second.lock()) h.sender = p->self.life;
}

/// Whether the checks of a medium accept the frame with that bit flipped.
bool wiring::survives_damage(const frame& f, std::uint64_t bit) {
  auto header = transport::encode_header(f.header);
  auto metadata = f.metadata;
  std::vector<std::byte> payload{f.payload.bytes.begin(), f.payload.bytes.end()};
  std::size_t at = bit / 8 % (header.size() + metadata.size() + payload.size());
  const auto mask = static_cast<std::byte>(1U << (bit % 8));
  if (at < header.size()) {
    header[at] ^= mask;
  } else if (at -= header.size(); at < metadata.size()) {
    metadata[at] ^= mask;
  } else {
    payload[at - metadata.size()] ^= mask;
  }
  const auto parsed = transport::parse_header(header);
  return parsed.has_value() && transport::check_metadata(*parsed, metadata).has_value() &&
         transport::check_payload(*parsed, payload).has_value();
}

wire_transport::wire_transport(wiring& on,
                               std::unique_ptr<atl::transport::transport> inner,
                               plane path)
    : on_{on}, inner_{std::move(inner)}, path_{path} {}

wire_transport::~wire_transport() = default;

result<void> wire_transport::listen(node_identity self,
                                    std::weak_ptr<atl::transport::receiver> to) {
  port_ = std::make_shared<wiring::port>(
      wiring::port{.self = self, .path = path_, .to = std::move(to), .heard = {}, .repeats = {}});
  receiver_ = std::make_shared<wire_receiver>(on_, port_);
  ATOLL_TRY(inner_->listen(self, receiver_));
  on_.ports_[{self.node.value, path_}] = port_;
  return {};
}

result<std::shared_ptr<atl::transport::endpoint>> wire_transport::connect(node_id peer) {
  if (port_ == nullptr || port_->is_dead) return error{errc::peer_gone, "this process is gone"};
  if (path_ == plane::control && on_.allows_) ATOLL_TRY(on_.allows_(port_->self.node, peer));
  ATOLL_ASSIGN(auto inner, inner_->connect(peer));
  return std::shared_ptr<atl::transport::endpoint>{
      std::make_shared<wire_endpoint>(on_, port_, std::move(inner))};
}

result<std::unique_ptr<atl::transport::memory_region>>
wire_transport::register_memory(std::span<std::byte> bytes) {
  return inner_->register_memory(bytes);
}

void wire_transport::close() noexcept {
  if (port_ != nullptr && port_->is_dead) return;
  inner_->close();
}

void wire_transport::kill(bool is_told) {
  if (port_ == nullptr || std::exchange(port_->is_dead, true)) return;
  if (is_told) inner_->close();
}

wire_repeats wire_transport::repeats() const {
  return port_ == nullptr ? wire_repeats{} : port_->repeats;
}

void wire_transport::free_address() { inner_->close(); }

}  // namespace atl::sim
