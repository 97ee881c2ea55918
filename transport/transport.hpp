// How nodes reach each other. One transport object per node: it listens for that node, connects to
// peers, and hands every checked frame to one receiver. Backends: loopback (in process, no copy),
// sim (virtual time), faulty (a seeded decorator); others come behind the same interface.
//
// Promises of every backend:
//  - send() never blocks. A backend that queues has a bound and answers errc::overloaded beyond it;
//    the frame was then not taken and may be sent again.
//  - Frames sent through one endpoint by one thread arrive in that order, or not at all. Delivery
//  is
//    not promised: who needs an answer keeps a deadline. Nothing is repeated, except under `faulty`
//    and after a caller's own repeat, so every message names what it belongs to.
//  - Only frames whose header and metadata passed their checks reach the receiver. What the
//  metadata
//    means is checked by wire/codec.hpp.
//  - The completion of a send is the release of the payload's owner.
// Thread-safe, except that listen() and close() of one transport are not called at the same time.
#pragma once

#include "runtime/base/result.hpp"
#include "transport/frame.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace atl::transport {

/// A node and which of its lives this is. A restarted node takes a larger incarnation; a transport
/// refuses one that is not larger than the last it knew.
struct node_identity {
  node_id node;
  incarnation life;
  friend constexpr auto operator<=>(const node_identity&, const node_identity&) = default;
};

/// What a node does with what arrives. Calls may come from several threads at once and from inside
/// send(): loopback calls on the sender's thread. So a receiver only puts the frame where it
/// belongs (a mailbox) and returns within microseconds; it holds no lock across the call that a
/// sender may hold.
class receiver {
public:
  virtual ~receiver() = default;
  virtual void on_frame(frame&& f) noexcept = 0;
  /// A peer that this node had an endpoint to is known to be gone (closed, reset). Comes once per
  /// life of the peer; a peer that falls silent is not noticed here but by its missing heartbeats.
  virtual void on_peer_gone(node_identity peer, const error& cause) noexcept = 0;
};

/// A one-way connection to a peer's present life. It does not survive that life: connect again.
class endpoint {
public:
  virtual ~endpoint() = default;
  virtual node_identity peer() const noexcept = 0;
  /// Sends a frame whose kind, flags, epoch and slots are set (wire/codec.hpp makes such frames).
  /// Source and destination node, incarnation, sequence, sizes and checksums are stamped here.
  /// errc::overloaded: the bound is reached; errc::peer_gone: the peer or this endpoint is closed.
  virtual result<void> send(frame f) = 0;
  /// Later sends answer errc::peer_gone.
  virtual void close() noexcept = 0;
};

/// Memory that the backend's device may read and write directly, for as long as this object lives.
class memory_region {
public:
  virtual ~memory_region() = default;
  virtual std::span<std::byte> bytes() const noexcept = 0;
};

class transport {
public:
  virtual ~transport() = default;
  /// Begins to take frames for `self`. The receiver is held weakly: the caller keeps it alive, and
  /// frames for an expired one are refused as errc::peer_gone. errc::invalid_argument: the node is
  /// listening already, or `self.life` is not larger than the last.
  virtual result<void> listen(node_identity self, std::weak_ptr<receiver> to) = 0;
  /// errc::peer_gone: nobody listens as `peer`. Listen first: frames carry this node's identity.
  virtual result<std::shared_ptr<endpoint>> connect(node_id peer) = 0;
  /// Backends without such a device answer with a plain region.
  virtual result<std::unique_ptr<memory_region>> register_memory(std::span<std::byte> bytes) = 0;
  /// Ends this life of the node; peers with an endpoint to it are told. A call of the receiver that
  /// is under way on another thread may still finish after this returns.
  virtual void close() noexcept = 0;
};

/// For backends: writes who sends, to whom, and the place in the sequence.
void stamp(frame& f, node_identity from, node_id to, std::uint64_t sequence) noexcept;

/// The region of backends that need no registration.
std::unique_ptr<memory_region> plain_region(std::span<std::byte> bytes);

}  // namespace atl::transport
