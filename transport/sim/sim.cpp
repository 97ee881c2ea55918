#include "transport/sim/sim.hpp"

#include "runtime/base/random.hpp"
#include "transport/node_directory.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace atl::transport {

using life = node_directory::life;

struct sim_network::state {
  struct link {
    random_source random;
    time_point_ns last_arrival;
    std::size_t in_flight = 0;
  };

  sim_options options;
  std::shared_ptr<event_queue> events;
  node_directory nodes;
  std::map<std::pair<node_id, node_id>, link> links;
  std::uint64_t trace = 0;

  link& between(node_id from, node_id to) {
    const philox seeds{options.seed};
    return links.try_emplace({from, to}, link{random_source{seeds.at(from.value, to.value)}, {}})
        .first->second;
  }

  /// When what is sent now arrives; never before what was sent earlier.
  time_point_ns arrival(link& on) const {
    const auto spread = static_cast<std::uint64_t>(options.jitter.count()) + 1;
    const duration_ns jitter{static_cast<std::int64_t>(on.random.below(spread))};
    on.last_arrival = std::max(on.last_arrival, events->now() + options.latency + jitter);
    return on.last_arrival;
  }

  void note(const frame_header& header) {
    // Word by word: hashes of a run do not depend on the machine.
    const std::array<std::uint64_t, 4> words{trace,
                                             static_cast<std::uint64_t>(events->now().value),
                                             header.checksum,
                                             header.payload_checksum};
    for (const std::uint64_t word : words) trace = philox{word}.at(trace, word);
  }

  /// Bytes as they were sealed, checked like any medium's.
  void deliver(const header_bytes& bytes, frame f, const life& to) {
    const auto header = parse_header(bytes);
    if (!header || !check_metadata(*header, f.metadata) ||
        !check_payload(*header, f.payload.bytes)) {
      return;
    }
    const auto target = nodes.receiver_of(to);
    if (!target) return;
    f.header = *header;
    note(f.header);
    (*target)->on_frame(std::move(f));
  }
};

class sim_endpoint final : public endpoint {
public:
  sim_endpoint(std::shared_ptr<sim_network::state> network, life from, life to)
      : network_{std::move(network)}, from_{std::move(from)}, to_{std::move(to)} {}

  node_identity peer() const noexcept override { return to_->self; }

  result<void> send(frame f) override {
    if (is_closed_ || !network_->nodes.is_open(from_)) {
      return error{errc::peer_gone, "this endpoint is closed"};
    }
    if (!network_->nodes.is_open(to_)) return error{errc::peer_gone, "the peer has closed"};
    auto& link = network_->between(from_->self.node, to_->self.node);
    if (link.in_flight >= network_->options.in_flight_max) {
      return error{errc::overloaded, "too many frames are under way on this link"};
    }
    f.header.flags |= flag_payload_checksummed;
    ATOLL_TRY(seal_payload(f));
    const node_id peer = to_->self.node;
    stamp(f, from_->self, peer, network_->nodes.next_sequence(from_, peer));
    const header_bytes bytes = seal_header(f);
    ++link.in_flight;
    const std::weak_ptr<sim_network::state> weak = network_;
    network_->events->at(network_->arrival(link), [weak, bytes, f = std::move(f), to = to_] {
      const auto network = weak.lock();
      if (network == nullptr) return;
      --network->between(f.header.source.node, to->self.node).in_flight;
      network->deliver(bytes, f, to);
    });
    return {};
  }

  void close() noexcept override { is_closed_ = true; }

private:
  std::shared_ptr<sim_network::state> network_;
  life from_;
  life to_;
  bool is_closed_ = false;
};

class sim_transport final : public transport {
public:
  explicit sim_transport(std::shared_ptr<sim_network::state> network)
      : network_{std::move(network)} {}
  sim_transport(const sim_transport&) = delete;
  sim_transport& operator=(const sim_transport&) = delete;
  ~sim_transport() override { sim_transport::close(); }

  result<void> listen(node_identity self, std::weak_ptr<receiver> to) override {
    if (self_ != nullptr) return error{errc::invalid_argument, "this transport listens already"};
    ATOLL_ASSIGN(self_, network_->nodes.open(self, std::move(to)));
    return {};
  }

  result<std::shared_ptr<endpoint>> connect(node_id peer) override {
    if (self_ == nullptr) return error{errc::invalid_argument, "connect before listen"};
    ATOLL_ASSIGN(auto to, network_->nodes.watch(self_, peer));
    return std::shared_ptr<endpoint>{
        std::make_shared<sim_endpoint>(network_, self_, std::move(to))};
  }

  result<std::unique_ptr<memory_region>> register_memory(std::span<std::byte> bytes) override {
    return plain_region(bytes);
  }

  /// The news travels like a frame: behind what was sent before.
  void close() noexcept override {
    if (self_ == nullptr) return;
    for (const life& watcher : network_->nodes.close(self_)) {
      auto& link = network_->between(self_->self.node, watcher->self.node);
      const std::weak_ptr<sim_network::state> weak = network_;
      network_->events->at(network_->arrival(link), [weak, watcher, peer = self_->self] {
        const auto network = weak.lock();
        if (network == nullptr) return;
        const auto to = network->nodes.receiver_of(watcher);
        if (to) (*to)->on_peer_gone(peer, {errc::peer_gone, "the peer has closed"});
      });
    }
  }

private:
  std::shared_ptr<sim_network::state> network_;
  life self_;  // null before listen
};

sim_network::sim_network(sim_options options, std::shared_ptr<virtual_clock> time)
    : state_{std::make_shared<state>()} {
  state_->options = options;
  state_->events = std::make_shared<event_queue>(std::move(time));
}

std::unique_ptr<transport> sim_network::join() { return std::make_unique<sim_transport>(state_); }

bool sim_network::step() { return state_->events->step(); }

void sim_network::deliver_until(time_point_ns time) { state_->events->run_until(time); }

std::uint64_t sim_network::trace_hash() const noexcept { return state_->trace; }

std::shared_ptr<event_queue> sim_network::events() const { return state_->events; }

}  // namespace atl::transport
