// The transport of nodes that share a process. A frame is sealed, its header parsed and its
// checksum checked as on any medium, then it is handed to the receiver inside send(), on the
// sender's thread. The payload is neither copied nor hashed. Nothing is queued, so send() never
// answers overloaded: the bound is the receiver's own mailbox, kept by credits.
#pragma once

#include "transport/transport.hpp"

#include <memory>

namespace atl::transport {

class node_directory;

/// The nodes that reach each other; transports share it and may outlive it.
class loopback_network {
public:
  loopback_network();
  std::unique_ptr<transport> join();

private:
  std::shared_ptr<node_directory> nodes_;
};

}  // namespace atl::transport
