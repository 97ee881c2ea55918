#include "transport/tls/greeting.hpp"

#include "runtime/base/log.hpp"

namespace atl::transport::tls {

namespace {

/// "ATLG" read as a little-endian word.
constexpr std::uint32_t magic = 0x474C'5441;

struct writer {
  greeting_bytes& bytes;
  std::size_t at = 0;
  void put(std::uint64_t value, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
      bytes[at++] = static_cast<std::byte>(value >> (8 * i));
    }
  }
};

struct reader {
  const greeting_bytes& bytes;
  std::size_t at = 0;
  std::uint64_t take(std::size_t size) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      value |= std::to_integer<std::uint64_t>(bytes[at++]) << (8 * i);
    }
    return value;
  }
};

}  // namespace

greeting_bytes encode(const greeting& g) noexcept {
  greeting_bytes bytes{};
  writer out{bytes};
  out.put(magic, 4);
  out.put(g.version, 2);
  out.put(static_cast<std::uint64_t>(g.answer), 2);
  out.put(g.from.node.value, 4);
  out.put(g.to.node.value, 4);
  out.put(g.from.life.value, 8);
  out.put(g.to.life.value, 8);
  out.put(static_cast<std::uint64_t>(g.unix_s), 8);
  return bytes;
}

result<greeting> parse_greeting(const greeting_bytes& bytes) {
  reader in{bytes};
  if (in.take(4) != magic) return error{errc::malformed_frame, "this is no greeting of a node"};
  greeting g;
  g.version = static_cast<std::uint16_t>(in.take(2));
  g.answer = static_cast<greeting_answer>(in.take(2));
  g.from.node = node_id{static_cast<std::uint32_t>(in.take(4))};
  g.to.node = node_id{static_cast<std::uint32_t>(in.take(4))};
  g.from.life = incarnation{in.take(8)};
  g.to.life = incarnation{in.take(8)};
  g.unix_s = static_cast<std::int64_t>(in.take(8));
  return g;
}

std::string describe(const greeting& answer) {
  const std::string node = "node " + std::to_string(answer.from.node.value);
  switch (answer.answer) {
  case greeting_answer::welcome: return node + " takes frames";
  case greeting_answer::wrong_version:
    return node + " speaks version " + std::to_string(answer.version) +
           " of the protocol, this node " + std::to_string(protocol_version);
  case greeting_answer::wrong_node: return node + " answers, which is not who was meant";
  case greeting_answer::other_life:
    return node + " is in its life " + std::to_string(answer.from.life.value) +
           ", not in the one that was meant";
  case greeting_answer::stale_life:
    return node + " knows a later life of this node: it must join again; if it stays so, another "
                  "process is this node: two must not share one state directory or copies of it";
  case greeting_answer::wrong_clock:
    return node +
           " refuses this node because their clocks differ by more than five minutes; there "
           "it is " +
           rfc3339(answer.unix_s * 1000) + ": set the clocks";
  case greeting_answer::full: return node + " takes no more connections";
  }
  return node + " refuses with reason " + std::to_string(static_cast<int>(answer.answer));
}

}  // namespace atl::transport::tls
