#include "transport/tls/ticket.hpp"

namespace atl::transport::tls {

namespace {

/// "atoll ticket 1", then node (4 bytes) and life (8) of both ends, little-endian.
digest seal_of(const ticket_key& key, node_identity from, node_identity to) {
  static constexpr std::string_view purpose = "atoll ticket 1";
  std::vector<std::byte> text;
  for (const char c : purpose) text.push_back(static_cast<std::byte>(c));
  const auto put = [&](std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) text.push_back(static_cast<std::byte>(value >> (8 * i)));
  };
  for (const node_identity& end : {from, to}) {
    put(end.node.value, 4);
    put(end.life.value, 8);
  }
  return hmac_sha256(key, text);
}

}  // namespace

ticket_key make_ticket_key(const random_bytes& random) {
  ticket_key key{};
  random(key);
  return key;
}

std::vector<std::byte>
issue_ticket(const ticket_key& acceptors, node_identity from, node_identity to) {
  const digest made = seal_of(acceptors, from, to);
  return {made.begin(), made.end()};
}

bool accepts_ticket(const ticket_key& mine,
                    node_identity from,
                    node_identity to,
                    std::span<const std::byte> ticket) noexcept {
  return equal_in_constant_time(seal_of(mine, from, to), ticket);
}

}  // namespace atl::transport::tls
