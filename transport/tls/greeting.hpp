// What both ends say before the first frame: who they are, whom they mean, and what time it is. The
// connecting end speaks first; the other answers with its own greeting, which tells whether it will
// take frames. 64 little-endian bytes; layout: transport/PROTOCOL.md.
#pragma once

#include "transport/transport.hpp"

namespace atl::transport::tls {

/// Numbers are the wire format: append only.
enum class greeting_answer : std::uint16_t {
  welcome = 0,
  wrong_version = 1,  // the header's protocol version differs
  wrong_node = 2,     // the greeting names another node than the certificate, or than is here
  other_life = 3,     // the node is here, but in another life than was meant
  stale_life = 4,     // a later life of the sender is known
  wrong_clock = 5,    // the clocks differ by more than five minutes
  full = 6,           // no more connections are taken
};

struct greeting {
  std::uint16_t version = protocol_version;
  greeting_answer answer = greeting_answer::welcome;
  node_identity from;
  node_identity to;
  std::int64_t unix_s = 0;
  friend bool operator==(const greeting&, const greeting&) = default;
};

inline constexpr std::size_t greeting_size = 64;
using greeting_bytes = std::array<std::byte, greeting_size>;

greeting_bytes encode(const greeting& g) noexcept;
/// errc::malformed_frame: not a greeting. Bytes that this version does not know are not looked at.
result<greeting> parse_greeting(const greeting_bytes& bytes);

/// What a connecting end tells people about an answer that is no welcome.
std::string describe(const greeting& answer);

}  // namespace atl::transport::tls
