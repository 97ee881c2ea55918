#include "transport/ucx/hello.hpp"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

namespace atl::transport::ucx {

namespace {

constexpr std::uint32_t hello_magic = 0x4849'5441;  // "ATIH", read as a little-endian word
constexpr std::size_t hello_bytes = 64;             // before ticket and address
constexpr std::size_t refusal_bytes = 12;           // before the reason

// Byte offsets of the hello's fields; the table of PROTOCOL.md.
constexpr std::size_t at_magic = 0;
constexpr std::size_t at_version = 4;
constexpr std::size_t at_ticket_bytes = 6;
constexpr std::size_t at_address_bytes = 8;
constexpr std::size_t at_reserved = 10;
constexpr std::size_t at_from = 12;
constexpr std::size_t at_to = 16;
constexpr std::size_t at_reserved_too = 20;
constexpr std::size_t at_from_life = 24;
constexpr std::size_t at_to_life = 32;
constexpr std::size_t at_session = 40;
constexpr std::size_t at_checksum = 48;
constexpr std::size_t at_reserved_last = 56;

template <class T>
void put(std::span<std::byte> out, std::size_t at, T value) noexcept {
  std::memcpy(out.data() + at, &value, sizeof value);
}

template <class T>
T get(std::span<const std::byte> in, std::size_t at) noexcept {
  T value;
  std::memcpy(&value, in.data() + at, sizeof value);
  return value;
}

/// XXH3-64 of all bytes, those of the checksum as zero.
std::uint64_t checksum_of(std::vector<std::byte> bytes) noexcept {
  put(std::span{bytes}, at_checksum, std::uint64_t{0});
  return XXH3_64bits(bytes.data(), bytes.size());
}

error malformed(const std::string& what) { return {errc::malformed_frame, "hello: " + what}; }

}  // namespace

result<std::vector<std::byte>> encode(const hello& h) {
  if (h.ticket.size() > ticket_bytes_max || h.address.size() > address_bytes_max) {
    return error{errc::invalid_argument,
                 "a ticket of " + std::to_string(h.ticket.size()) + " bytes, an address of " +
                     std::to_string(h.address.size()) + ": more than a hello may hold"};
  }
  std::vector<std::byte> out(hello_bytes);
  put(std::span{out}, at_magic, hello_magic);
  put(std::span{out}, at_version, protocol_version);
  put(std::span{out}, at_ticket_bytes, static_cast<std::uint16_t>(h.ticket.size()));
  put(std::span{out}, at_address_bytes, static_cast<std::uint16_t>(h.address.size()));
  put(std::span{out}, at_from, h.from.node.value);
  put(std::span{out}, at_to, h.to.node.value);
  put(std::span{out}, at_from_life, h.from.life.value);
  put(std::span{out}, at_to_life, h.to.life.value);
  put(std::span{out}, at_session, h.session);
  out.insert(out.end(), h.ticket.begin(), h.ticket.end());
  out.insert(out.end(), h.address.begin(), h.address.end());
  put(std::span{out}, at_checksum, checksum_of(out));
  return out;
}

result<hello> parse_hello(std::span<const std::byte> bytes) {
  if (bytes.size() < hello_bytes) return malformed("too short");
  if (get<std::uint32_t>(bytes, at_magic) != hello_magic) return malformed("wrong magic");
  const auto version = get<std::uint16_t>(bytes, at_version);
  if (version != protocol_version) {
    return malformed("protocol version " + std::to_string(version) + ", this build speaks " +
                     std::to_string(protocol_version));
  }
  const std::size_t ticket = get<std::uint16_t>(bytes, at_ticket_bytes);
  const std::size_t address = get<std::uint16_t>(bytes, at_address_bytes);
  if (ticket > ticket_bytes_max || address > address_bytes_max ||
      bytes.size() != hello_bytes + ticket + address) {
    return malformed("sizes do not match");
  }
  if (get<std::uint16_t>(bytes, at_reserved) != 0 ||
      get<std::uint32_t>(bytes, at_reserved_too) != 0 ||
      get<std::uint64_t>(bytes, at_reserved_last) != 0) {
    return malformed("reserved bytes are not zero");
  }
  if (get<std::uint64_t>(bytes, at_checksum) != checksum_of({bytes.begin(), bytes.end()})) {
    return malformed("checksum does not match");
  }
  hello h;
  h.from = {node_id{get<std::uint32_t>(bytes, at_from)},
            incarnation{get<std::uint64_t>(bytes, at_from_life)}};
  h.to = {node_id{get<std::uint32_t>(bytes, at_to)},
          incarnation{get<std::uint64_t>(bytes, at_to_life)}};
  h.session = get<std::uint64_t>(bytes, at_session);
  const auto rest = bytes.subspan(hello_bytes);
  h.ticket.assign(rest.begin(), rest.begin() + ticket);
  h.address.assign(rest.begin() + ticket, rest.end());
  return h;
}

std::vector<std::byte> encode(const refusal& r) {
  const std::size_t length = std::min(r.reason.size(), reason_bytes_max);
  std::vector<std::byte> out(refusal_bytes + length);
  put(std::span{out}, 0, r.session);
  put(std::span{out}, session_bytes, static_cast<std::uint32_t>(r.code));
  std::memcpy(out.data() + refusal_bytes, r.reason.data(), length);
  return out;
}

result<refusal> parse_refusal(std::span<const std::byte> bytes) {
  if (bytes.size() < refusal_bytes || bytes.size() > refusal_bytes + reason_bytes_max) {
    return malformed("a refusal of " + std::to_string(bytes.size()) + " bytes");
  }
  const auto code = static_cast<errc>(get<std::uint32_t>(bytes, session_bytes));
  if (to_string(code) == "unknown") return malformed("a refusal with an unknown code");
  refusal r{get<std::uint64_t>(bytes, 0), code, {}};
  const auto text = bytes.subspan(refusal_bytes);
  r.reason.resize(text.size());
  std::memcpy(r.reason.data(), text.data(), text.size());
  return r;
}

std::vector<std::byte> encode_goodbye(std::uint64_t session) {
  std::vector<std::byte> out(session_bytes);
  put(std::span{out}, 0, session);
  return out;
}

result<std::uint64_t> parse_goodbye(std::span<const std::byte> bytes) {
  if (bytes.size() != session_bytes) return malformed("a goodbye of a wrong size");
  return get<std::uint64_t>(bytes, 0);
}

std::uint64_t read_session(std::span<const std::byte, session_bytes> bytes) noexcept {
  return get<std::uint64_t>(bytes, 0);
}

void write_session(std::span<std::byte, session_bytes> out, std::uint64_t session) noexcept {
  put(out, 0, session);
}

}  // namespace atl::transport::ucx
