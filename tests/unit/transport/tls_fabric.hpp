// Nodes of this process that reach each other over real TLS connections.
#pragma once

#include "tests/unit/transport/inbox.hpp"
#include "transport/tls/authority.hpp"
#include "transport/tls/tls.hpp"

#include <memory>
#include <mutex>
#include <set>

namespace atl::transport {

/// One cluster: its authority, the address book of all its nodes, and what became of their frames.
class tls_world {
public:
  explicit tls_world(const std::string& cluster = "test");

  tls::credentials credentials(node_id node) const;
  tls_options options(node_id node) const;

  /// A transport that gets a certificate when it listens, enters its address into the book, and
  /// waits when it closes until the others have seen it.
  std::unique_ptr<transport> join();

  /// Whether no frame is under way, and both ends of every connection know of it.
  bool is_quiet() const;

  const tls::authority root;
  const std::shared_ptr<address_book> book = std::make_shared<address_book>();

private:
  friend class tls_member;
  tls_counters sum() const;
  mutable std::mutex mutex_;
  std::set<const tls_transport*> members_;
  tls_counters past_;               // of those that are gone
  mutable std::uint64_t lost_ = 0;  // frames under way when a node closed
};

}  // namespace atl::transport
