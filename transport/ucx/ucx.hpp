// Frames over UCX: active messages between workers, eager where they are small, rendezvous straight
// into a registered buffer where they are large. Which wires carry them (tcp, RDMA; shared memory
// where UCX_TLS names it) is the choice of UCX and of the user's UCX_TLS; the network devices are
// always named here.
// Layout of what is sent: PROTOCOL.md, "Over UCX".
//
// One progress thread a transport makes all calls of UCX, and those of the receiver. It spins for a
// short while after it had work and sleeps otherwise. send() hashes the payload on the caller's
// thread and queues the frame; a receiver may call send() and connect(), but not close().
//
// A peer that ends, or whose connection breaks, is told to the receiver at once over tcp; over
// shared memory, when it is killed, within two keepalive intervals (of 500 ms here,
// UCX_KEEPALIVE_INTERVAL overrides; the default of UCX is 20 s). A peer that only falls silent is
// not noticed. A node may connect again to a life whose connection broke; should that break too, it
// is told again.
//
// UCX trusts who can reach its port: over tcp a stranger can end or overwrite the process. The
// ticket of a hello keeps out strays and old lives, not attackers: use it between hosts only on a
// network that is trusted.
#pragma once

#include "runtime/base/clock.hpp"
#include "transport/address_book.hpp"
#include "transport/transport.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace atl::transport {

struct ucx_options {
  /// Network devices, separated by commas ("eth0", "mlx5_0:1"). Empty: `lo`, so peers of this
  /// machine only. Payloads are checksummed where a device is named.
  std::string interface;
  /// Payloads from this size on go by rendezvous.
  std::size_t rendezvous_bytes = 128U << 10;
  /// What may be queued for one peer and not yet taken by UCX; more is errc::overloaded. A single
  /// frame may be larger.
  std::size_t queued_frames_max = 4096;
  std::size_t queued_bytes_max = 256U << 20;
  /// Registered receive buffers: at most so many bytes in all, and so many kept while unused. A
  /// frame that finds none is lost.
  std::size_t receive_bytes_max = std::size_t{4} << 30;
  std::size_t idle_bytes_max = 256U << 20;
  /// How long the progress thread looks for more work before it sleeps, where that proves useful.
  duration_ns spin = std::chrono::microseconds{50};
  /// Makes the numbers of sessions unguessable: take it from system_entropy().
  std::uint64_t secret = 0;
  /// Whether the ticket lets this peer send to this node. Called on the progress thread.
  std::function<bool(node_identity from, node_identity to, std::span<const std::byte> ticket)>
      accepts;
};

struct ucx_counts {
  std::uint64_t frames_taken = 0;      // by send()
  std::uint64_t frames_lost = 0;       // taken, then dropped because the peer was gone
  std::uint64_t frames_delivered = 0;  // to this node's receiver
  std::uint64_t bytes_delivered = 0;   // of their metadata and payloads
  std::uint64_t frames_refused = 0;    // arrived, and failed a check or found no room
  std::uint64_t hellos_refused = 0;
  std::uint64_t registered_bytes = 0;  // of receive buffers, used or idle
};

class ucx_transport : public transport {
public:
  /// What peers put into their address book to reach this node; empty before listen().
  virtual std::vector<std::byte> local_address() const = 0;
  virtual ucx_counts counts() const = 0;
};

/// Peers' addresses and tickets are looked up in `book` on each connect(). errc::invalid_argument:
/// no such interface, or no `accepts`.
result<std::unique_ptr<ucx_transport>> make_ucx_transport(ucx_options options,
                                                          std::shared_ptr<address_book> book);

}  // namespace atl::transport
