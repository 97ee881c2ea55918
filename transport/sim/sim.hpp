// A network in virtual time. send() puts a frame on its link; it arrives after the link's latency
// and a jitter drawn from the seed, in order on each link, and only while step() or deliver_until()
// run. The same seed and the same calls give the same deliveries and the same trace hash. For one
// thread.
#pragma once

#include "transport/sim/event_queue.hpp"
#include "transport/transport.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace atl::transport {

struct sim_options {
  std::uint64_t seed = 0;
  duration_ns latency = std::chrono::microseconds{20};  // of every link
  duration_ns jitter = std::chrono::microseconds{10};   // added, uniform in [0, jitter]
  std::size_t in_flight_max = 1024;                     // frames of one link; more are overloaded
};

class sim_network {
public:
  sim_network(sim_options options, std::shared_ptr<virtual_clock> time);

  std::unique_ptr<transport> join();
  /// Delivers what comes next; false when nothing is under way.
  bool step();
  /// Delivers everything due up to `time` and moves the clock there.
  void deliver_until(time_point_ns time);
  /// Hash over time and checksums (payloads included) of all frames delivered so far, in order.
  std::uint64_t trace_hash() const noexcept;
  /// The events of this network, for others that live in the same virtual time.
  std::shared_ptr<event_queue> events() const;

private:
  struct state;
  std::shared_ptr<state> state_;
  friend class sim_transport;
  friend class sim_endpoint;
};

}  // namespace atl::transport
