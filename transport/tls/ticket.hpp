// Tickets for data paths that have no certificates of their own: a node makes a key and tells the
// coordinator over TLS; the coordinator issues, for each peer, a ticket that names both lives; the
// peer shows it where it connects. Plain functions, any thread.
#pragma once

#include "transport/tls/secrets.hpp"
#include "transport/transport.hpp"

#include <vector>

namespace atl::transport::tls {

/// Known to the acceptor and to who issues tickets for it; new in each of its lives.
using ticket_key = std::array<std::byte, 32>;
ticket_key make_ticket_key(const random_bytes& random = secure_random);

/// HMAC-SHA256 under the acceptor's key of who connects and to whom; 32 bytes.
std::vector<std::byte>
issue_ticket(const ticket_key& acceptors, node_identity from, node_identity to);

/// In constant time. False for a ticket of another life, direction or key.
bool accepts_ticket(const ticket_key& mine,
                    node_identity from,
                    node_identity to,
                    std::span<const std::byte> ticket) noexcept;

}  // namespace atl::transport::tls
