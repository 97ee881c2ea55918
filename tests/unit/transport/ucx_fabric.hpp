// Nodes of this process that reach each other over real UCX.
#pragma once

#include "tests/unit/transport/inbox.hpp"
#include "transport/ucx/ucx.hpp"

#include <memory>
#include <mutex>
#include <set>

namespace atl::transport {

inline const std::vector<std::byte> good_ticket{std::byte{7}, std::byte{8}, std::byte{9}};

/// The address book of all of them, and what became of their frames.
class ucx_world {
public:
  /// Options that take whoever shows good_ticket. "lo" named: payloads carry a checksum.
  static ucx_options options() {
    ucx_options o;
    o.interface = "lo";
    o.secret = 1;
    o.accepts = [](node_identity, node_identity, std::span<const std::byte> ticket) {
      return std::equal(ticket.begin(), ticket.end(), good_ticket.begin(), good_ticket.end());
    };
    return o;
  }

  /// A transport that enters its address into the book when it listens, and takes it out when it
  /// closes, as the control plane does.
  std::unique_ptr<transport> join(ucx_options with = options());

  /// Whether no taken frame is under way any more.
  bool is_quiet() const;

  const std::shared_ptr<address_book> book = std::make_shared<address_book>();

private:
  friend class published;
  mutable std::mutex mutex_;
  std::set<const ucx_transport*> members_;
  ucx_counts past_;  // of those that are gone
};

/// The counts of a transport that ucx_world::join() made.
ucx_counts counts_of(const transport& joined);

}  // namespace atl::transport
