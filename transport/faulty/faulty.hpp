// Faults from a seed, over any transport. They strike where frames arrive: after the inner
// transport delivered a frame, before its receiver sees it. So a duplicate carries the same
// sequence number, a sender learns nothing of a loss, and a damaged frame goes through the checks
// of any medium (which refuse it). Every link (source, destination) draws from its own stream: what
// one link suffers does not depend on the others, nor on threads. Thread-safe where no event queue
// is given.
#pragma once

#include "transport/sim/event_queue.hpp"
#include "transport/transport.hpp"

#include <cstdint>
#include <memory>

namespace atl::transport {

/// Chances in [0, 1], each drawn on its own for every frame.
struct fault_plan {
  double drop = 0;
  double duplicate = 0;
  double corrupt = 0;  // one bit of header, metadata or payload
  double delay = 0;    // holds the frame, and those behind it on its link
  duration_ns delay_max{0};
};

struct fault_counts {
  std::uint64_t delivered = 0;  // copies handed to receivers
  std::uint64_t dropped = 0;
  std::uint64_t duplicated = 0;
  std::uint64_t corrupted = 0;
  std::uint64_t refused = 0;  // corrupted frames that the checks caught
  std::uint64_t delayed = 0;
  std::uint64_t cut_off = 0;  // lost to a cut node
};

class faulty_network {
public:
  /// `events` may be null where the plan delays nothing.
  faulty_network(std::uint64_t seed, fault_plan plan, std::shared_ptr<event_queue> events);

  /// A node's transport, through which it hears what the faults leave.
  std::unique_ptr<transport> wrap(std::unique_ptr<transport> inner);

  /// From now on nothing reaches or leaves the node, frames that are held back and the news of a
  /// closed peer included; nobody is told.
  void cut(node_id node);
  void heal(node_id node);
  fault_counts counts() const;

private:
  struct state;
  std::shared_ptr<state> state_;
  friend class faulty_receiver;
  friend class faulty_transport;
};

}  // namespace atl::transport
