#include "transport/faulty/faulty.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/base/random.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

namespace atl::transport {

namespace {

/// Flips one bit of the sealed frame, as a medium would, and answers what a receiving end makes of
/// it.
result<frame> through_damage(frame f, std::uint64_t bit) {
  f.header.flags |= flag_payload_checksummed;
  ATOLL_ASSIGN(header_bytes bytes, seal(f));
  std::vector<std::byte> payload{f.payload.bytes.begin(), f.payload.bytes.end()};
  const std::size_t total = bytes.size() + f.metadata.size() + payload.size();
  std::size_t at = bit / 8 % total;
  const auto mask = static_cast<std::byte>(1U << (bit % 8));
  if (at < bytes.size()) {
    bytes[at] ^= mask;
  } else if (at -= bytes.size(); at < f.metadata.size()) {
    f.metadata[at] ^= mask;
  } else {
    payload[at - f.metadata.size()] ^= mask;
  }
  ATOLL_ASSIGN(f.header, parse_header(bytes));
  ATOLL_TRY(check_metadata(f.header, f.metadata));
  ATOLL_TRY(check_payload(f.header, payload));
  f.payload = own_payload(std::move(payload));
  return f;
}

}  // namespace

struct faulty_network::state {
  struct link {
    random_source random;
    time_point_ns release;  // of the last frame held
    std::size_t held = 0;   // frames waiting for their release
  };

  /// What happens to one frame. All numbers are drawn for every frame, so that one chance does not
  /// shift the others.
  struct fate {
    bool is_dropped = false;
    bool is_duplicated = false;
    bool is_corrupted = false;
    std::uint64_t damaged_bit = 0;
    duration_ns delay{0};
  };

  std::uint64_t seed = 0;
  fault_plan plan;
  std::shared_ptr<event_queue> events;
  mutable std::mutex mutex;
  std::map<std::pair<node_id, node_id>, link> links;
  std::set<node_id> cut;
  fault_counts counts;

  link& between(node_id from, node_id to) {
    const philox seeds{seed};
    return links.try_emplace({from, to}, link{random_source{seeds.at(from.value, to.value)}, {}})
        .first->second;
  }

  bool is_cut(node_id a, node_id b) const { return cut.count(a) != 0 || cut.count(b) != 0; }

  fate draw(link& on) const {
    fate f;
    f.is_dropped = on.random.unit() < plan.drop;
    f.is_duplicated = on.random.unit() < plan.duplicate;
    f.is_corrupted = on.random.unit() < plan.corrupt;
    f.damaged_bit = on.random.next();
    const bool is_delayed = on.random.unit() < plan.delay;
    const auto spread = static_cast<std::uint64_t>(plan.delay_max.count()) + 1;
    const duration_ns delay{static_cast<std::int64_t>(on.random.below(spread))};
    if (is_delayed) f.delay = delay;
    return f;
  }
};

class faulty_receiver final : public receiver,
                              public std::enable_shared_from_this<faulty_receiver> {
public:
  faulty_receiver(std::shared_ptr<faulty_network::state> network,
                  node_id self,
                  std::weak_ptr<receiver> to)
      : network_{std::move(network)}, self_{self}, to_{std::move(to)} {}

  void on_frame(frame&& f) noexcept override {
    const node_id source = f.header.source.node;
    std::unique_lock lock{network_->mutex};
    auto& counts = network_->counts;
    if (network_->is_cut(source, self_)) {
      ++counts.cut_off;
      return;
    }
    auto& link = network_->between(source, self_);
    const auto fate = network_->draw(link);
    if (fate.is_dropped) {
      ++counts.dropped;
      return;
    }
    if (fate.is_corrupted) {
      ++counts.corrupted;
      auto damaged = through_damage(std::move(f), fate.damaged_bit);
      if (!damaged) {
        ++counts.refused;
        return;
      }
      f = std::move(*damaged);
    }
    if (fate.is_duplicated) ++counts.duplicated;
    if (fate.delay.count() > 0) ++counts.delayed;
    const int copies = fate.is_duplicated ? 2 : 1;
    if (fate.delay.count() > 0 || link.held > 0) {
      for (int i = 0; i < copies; ++i) hold(link, f, fate.delay);
      return;
    }
    counts.delivered += static_cast<std::uint64_t>(copies);
    lock.unlock();
    if (fate.is_duplicated) hand_on(frame{f});
    hand_on(std::move(f));
  }

  void on_peer_gone(node_identity peer, const error& cause) noexcept override {
    {
      const std::lock_guard lock{network_->mutex};
      if (network_->is_cut(peer.node, self_)) return;
    }
    if (const auto to = to_.lock()) to->on_peer_gone(peer, cause);
  }

private:
  void hand_on(frame&& f) {
    if (const auto to = to_.lock()) to->on_frame(std::move(f));
  }

  /// Delivers later, behind whatever is held already. The network's mutex is held.
  void hold(faulty_network::state::link& link, const frame& f, duration_ns delay) {
    link.release = std::max(link.release, network_->events->now() + delay);
    ++link.held;
    network_->events->at(link.release, [weak = weak_from_this(), f] {
      if (const auto self = weak.lock()) self->release(f);
    });
  }

  void release(const frame& f) {
    {
      const std::lock_guard lock{network_->mutex};
      --network_->between(f.header.source.node, self_).held;
      if (network_->is_cut(f.header.source.node, self_)) {
        ++network_->counts.cut_off;
        return;
      }
      ++network_->counts.delivered;
    }
    hand_on(frame{f});
  }

  std::shared_ptr<faulty_network::state> network_;
  node_id self_;
  std::weak_ptr<receiver> to_;
};

class faulty_transport final : public transport {
public:
  faulty_transport(std::shared_ptr<faulty_network::state> network, std::unique_ptr<transport> inner)
      : network_{std::move(network)}, inner_{std::move(inner)} {}

  result<void> listen(node_identity self, std::weak_ptr<receiver> to) override {
    auto faults = std::make_shared<faulty_receiver>(network_, self.node, std::move(to));
    ATOLL_TRY(inner_->listen(self, faults));
    faults_ = std::move(faults);
    return {};
  }

  result<std::shared_ptr<endpoint>> connect(node_id peer) override { return inner_->connect(peer); }

  result<std::unique_ptr<memory_region>> register_memory(std::span<std::byte> bytes) override {
    return inner_->register_memory(bytes);
  }

  void close() noexcept override { inner_->close(); }

private:
  std::shared_ptr<faulty_network::state> network_;
  std::shared_ptr<faulty_receiver> faults_;
  std::unique_ptr<transport> inner_;  // last: it closes while the receiver still lives
};

faulty_network::faulty_network(std::uint64_t seed,
                               fault_plan plan,
                               std::shared_ptr<event_queue> events)
    : state_{std::make_shared<state>()} {
  ATOLL_ASSERT(events != nullptr || plan.delay == 0);
  state_->seed = seed;
  state_->plan = plan;
  state_->events = std::move(events);
}

std::unique_ptr<transport> faulty_network::wrap(std::unique_ptr<transport> inner) {
  return std::make_unique<faulty_transport>(state_, std::move(inner));
}

void faulty_network::cut(node_id node) {
  const std::lock_guard lock{state_->mutex};
  state_->cut.insert(node);
}

void faulty_network::heal(node_id node) {
  const std::lock_guard lock{state_->mutex};
  state_->cut.erase(node);
}

fault_counts faulty_network::counts() const {
  const std::lock_guard lock{state_->mutex};
  return state_->counts;
}

}  // namespace atl::transport
