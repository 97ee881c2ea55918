// Where peers take frames, as the control plane tells it: a backend that crosses processes looks a
// peer up here when it connects. One book a node, shared by its transports. Thread-safe.
#pragma once

#include "transport/transport.hpp"

#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace atl::transport {

/// One life of a peer. A backend uses its own field; empty: the peer does not listen there.
struct peer_address {
  node_identity self;
  std::string tls;                // "192.0.2.7:7400"
  std::vector<std::byte> ucx;     // the address of a UCX worker
  std::vector<std::byte> ticket;  // shows the peer that the control plane let this node connect
  friend bool operator==(const peer_address&, const peer_address&) = default;
};

class address_book {
public:
  /// Replaces what was known of the node, unless that was of a later life.
  void put(peer_address address);
  /// Forgets a node.
  void erase(node_id node);
  /// errc::peer_gone: nothing is known of the node.
  result<peer_address> find(node_id node) const;

private:
  mutable std::mutex mutex_;
  std::map<node_id, peer_address> known_;
};

}  // namespace atl::transport
