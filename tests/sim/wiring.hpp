// The wires between simulated nodes, and all that can befall them: cuts in either direction, delay,
// frames out of order, twice or damaged, peers that stand still or are gone. It wraps the
// transports of sim networks and strikes where frames arrive, so a sender learns nothing of a loss
// and a duplicate carries the same sequence number.
//
// A cut wire holds frames back, as TCP does, until it is joined or the connection is reset. A
// damaged frame is lost on the data path and resets the connection on the control path, as TLS
// does. What reaches a node that stands still waits for it in order. One thread.
#pragma once

#include "runtime/base/random.hpp"
#include "transport/plane.hpp"
#include "transport/sim/event_queue.hpp"
#include "transport/transport.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <tuple>

namespace atl::sim {

/// What a wire in one direction does to frames, beyond the network's own latency.
struct wire_faults {
  duration_ns delay_max{0};  // each frame, uniform from 0; in order
  double reorder = 0;        // chances that a frame may be overtaken by later ones,
  double duplicate = 0;      // comes twice,
  double corrupt = 0;        // has a bit flipped,
  double loss = 0;           // or is lost: on the control path with its connection
};

struct wire_counts {
  std::uint64_t frames = 0;
  std::uint64_t held = 0;
  std::uint64_t duplicated = 0;
  std::uint64_t reordered = 0;
  std::uint64_t refused = 0;  // damaged, and found out
  std::uint64_t lost = 0;
  std::uint64_t resets = 0;
};

/// Frames handed to one life of a node that it has to drop: those that it was handed before, and
/// those of a life after one of whose successors it has heard on the same path.
struct wire_repeats {
  std::uint64_t repeated = 0;
  std::uint64_t stale = 0;
};

class wire_transport;

class wiring {
public:
  wiring(std::shared_ptr<transport::event_queue> events, random_source random);
  ~wiring();
  wiring(const wiring&) = delete;
  wiring& operator=(const wiring&) = delete;

  std::shared_ptr<wire_transport> wrap(std::unique_ptr<transport::transport> inner,
                                       transport::plane path);

  void cut(node_id from, node_id to, transport::plane path);
  /// What was held back arrives now; or, with `is_reset`, it is lost and both ends are told.
  void join(node_id from, node_id to, transport::plane path, bool is_reset);
  /// The connection between two nodes breaks; both are told, and what was under way is lost.
  void reset(node_id a, node_id b, transport::plane path);
  void set_faults(node_id from, node_id to, transport::plane path, const wire_faults& faults);
  void freeze(node_id node);
  void thaw(node_id node);
  /// For mutations: what arrives looks new, or as if its sender's present life had sent it.
  void renumber() { renumbers_ = true; }
  void rejuvenate() { rejuvenates_ = true; }
  const wire_counts& counts() const noexcept { return counts_; }

  /// Sees every frame before it is sent and may change it; false: it is lost.
  using observer = std::function<bool(
      transport::plane, transport::node_identity from, node_id to, transport::frame&)>;
  void observe(observer sees) { sees_ = std::move(sees); }

  /// Asked before a connection of the control path is made; its error is what connect() says.
  using connection_check = std::function<result<void>(node_id from, node_id to)>;
  void check_connections(connection_check allows) { allows_ = std::move(allows); }

private:
  friend class wire_transport;
  friend class wire_endpoint;
  friend class wire_receiver;

  struct port;  // one life of a node on one path
  struct news {
    std::optional<transport::frame> frame;  // or the peer is gone
    transport::node_identity peer;
    error cause;
  };
  struct delivery {
    std::shared_ptr<port> to;
    news what;
  };
  struct wire {
    random_source random;
    wire_faults faults;
    bool is_cut = false;
    std::uint64_t generation = 0;  // of the connection
    time_point_ns release{};       // of the last frame under way
    std::deque<delivery> held;
  };
  using wire_key = std::tuple<std::uint32_t, std::uint32_t, transport::plane>;

  wire& between(node_id from, node_id to, transport::plane path);
  void arrive(const std::shared_ptr<port>& to, node_id from, news what);
  void pass(wire& on, node_id from, delivery d);
  void later(wire& on, node_id from, delivery d, bool may_be_overtaken);
  void hand_over(const delivery& d);
  void note_arrival(port& to, const transport::frame_header& h);
  void disguise(port& to, transport::frame_header& h);
  static bool survives_damage(const transport::frame& f, std::uint64_t bit);

  std::shared_ptr<transport::event_queue> events_;
  random_source random_;
  std::map<wire_key, wire> wires_;
  std::map<std::pair<std::uint32_t, transport::plane>, std::weak_ptr<port>> ports_;
  std::set<node_id> frozen_;
  std::map<node_id, std::deque<delivery>> waiting_;  // for the frozen
  observer sees_;
  bool renumbers_ = false;
  bool rejuvenates_ = false;
  connection_check allows_;
  wire_counts counts_;
};

/// A node's way onto its wires. It outlives no wiring.
class wire_transport final : public transport::transport {
public:
  wire_transport(wiring& on,
                 std::unique_ptr<atl::transport::transport> inner,
                 atl::transport::plane path);
  ~wire_transport() override;
  wire_transport(const wire_transport&) = delete;
  wire_transport& operator=(const wire_transport&) = delete;

  result<void> listen(atl::transport::node_identity self,
                      std::weak_ptr<atl::transport::receiver> to) override;
  result<std::shared_ptr<atl::transport::endpoint>> connect(node_id peer) override;
  result<std::unique_ptr<atl::transport::memory_region>>
  register_memory(std::span<std::byte> bytes) override;
  void close() noexcept override;

  /// The process is gone: nothing leaves it or reaches it. Peers are told now, or when the next
  /// life begins to listen.
  void kill(bool is_told);
  /// The node's addresses are free for its next life.
  void free_address();
  wire_repeats repeats() const;

private:
  wiring& on_;
  std::unique_ptr<atl::transport::transport> inner_;
  atl::transport::plane path_;
  std::shared_ptr<wiring::port> port_;
  std::shared_ptr<atl::transport::receiver> receiver_;
};

}  // namespace atl::sim
