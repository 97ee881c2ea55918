// Frames over TLS streams: the control plane, and data where the network is not trusted. Between
// two nodes there is one connection for each direction in use, opened by the sender. Both ends show
// certificates of the cluster's authority; the node id in a certificate must be that of the node
// that was meant, and of the source of every frame. After the handshake the ends greet each other
// with their lives and clocks, so no frame reaches another life than it was sent to.
//
// Beyond the promises of transport.hpp:
//  - connect() looks the peer up in the address book and returns before the connection stands;
//    frames wait in the bounded queue. Whatever then fails is told by on_peer_gone, with the cause.
//  - Where the book knows no life of the peer (0), whoever answers as that node is meant; the
//    endpoint tells which life it is once that is known.
//  - Where the peer knows a later life of this node, on_peer_gone and later sends say
//    errc::stale_epoch instead of errc::peer_gone.
//  - on_peer_gone comes again for a life that was connected anew in between, and was lost again.
//  - Endpoints to one life of a peer share a connection. Frames of this life to one node are
//    counted through all of its connections: `sequence` never starts again.
//  - What a stranger may cost is bounded: connections, time to prove who it is, and no memory for
//    frames before that. A malformed frame ends its connection.
//  - A peer that the network has swallowed is noticed when something was sent and not acknowledged
//    for two seconds; one that only stopped working is the matter of heartbeats.
// One I/O thread; the receiver is called on it. Idle connections cost no time.
#pragma once

#include "transport/address_book.hpp"
#include "transport/tls/certificate.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace atl::transport {

struct tls_limits {
  std::size_t queued_bytes_max = std::size_t{256} << 20;  // to one peer; one frame always fits
  std::size_t queued_frames_max = 65'536;                 // to one peer
  std::size_t connections_max = 4'096;                    // from peers that have proved themselves
  std::size_t unproved_max = 64;  // from others; beyond it the oldest of these gives way
  std::uint32_t metadata_bytes_max = atl::transport::metadata_bytes_max;  // of a frame from a peer
  std::uint64_t payload_bytes_max = atl::transport::payload_bytes_max;
  std::chrono::milliseconds greeting_time{5'000};       // from the first byte to the first frame
  std::chrono::milliseconds unacknowledged_max{2'000};  // then a connection is lost
  std::chrono::milliseconds flush_time{500};            // that close() gives to what is queued
};

struct tls_options {
  std::string listen;  // "IP:PORT", "INTERFACE:PORT"; without a port, any free one is taken
  tls::credentials own;
  tls_limits limits;
  /// Asked for every peer's certificate, on the I/O thread. Empty: none is revoked.
  std::function<bool(const std::string& serial, node_id node)> is_revoked;
  /// A peer refuses this node's certificate as revoked; on the I/O thread. May be empty.
  std::function<void()> refused_as_revoked;
  std::function<std::int64_t()> now_unix_s;  // empty: the machine's calendar clock
};

struct tls_counters {
  std::uint64_t frames_sent = 0;
  std::uint64_t frames_received = 0;
  std::uint64_t bytes_sent = 0;      // of frames, before encryption
  std::uint64_t bytes_received = 0;  // likewise
  std::uint64_t accepted = 0;        // connections from anybody
  std::uint64_t refused = 0;         // of these: no proof, wrong greeting, too many
  std::uint64_t timed_out = 0;       // of these: silent for greeting_time
  std::uint64_t malformed = 0;       // frames that failed a check
  std::uint64_t overloaded = 0;      // sends that found the queue full
  std::uint64_t queued = 0;          // frames that wait to be written, now
  std::uint64_t open_incoming = 0;   // now
  std::uint64_t open_outgoing = 0;   // now, those that do not stand yet included
};

class tls_transport : public transport {
public:
  /// Where peers reach this node: "192.0.2.7:7400". Empty before listen().
  virtual std::string local_address() const = 0;
  /// Later connections show these; present ones stay. errc::unauthorised: of another node or
  /// cluster, or not valid (tls/certificate.hpp).
  virtual result<void> set_credentials(tls::credentials fresh) = 0;
  /// Ends connections whose peer is revoked by now.
  virtual void drop_revoked() = 0;
  virtual tls_counters counters() const = 0;
};

/// errc::unauthorised: the credentials are not valid. close() ends with the I/O thread joined, so
/// neither it nor the destructor is called from a receiver.
result<std::unique_ptr<tls_transport>> make_tls_transport(tls_options options,
                                                          std::shared_ptr<address_book> book);

}  // namespace atl::transport
