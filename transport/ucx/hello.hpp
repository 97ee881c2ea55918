// What nodes say to each other over UCX beside frames; layouts in PROTOCOL.md, "Over UCX". Pure
// functions on bytes; nothing is taken from bytes that fail a check.
#pragma once

#include "runtime/base/result.hpp"
#include "transport/frame.hpp"
#include "transport/transport.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace atl::transport::ucx {

/// The id of the active message. Wire format: append only.
enum class message : unsigned { hello = 1, frame = 2, refusal = 3, goodbye = 4 };

inline constexpr std::size_t ticket_bytes_max = 4096;
inline constexpr std::size_t address_bytes_max = 16384;
inline constexpr std::size_t reason_bytes_max = 512;
inline constexpr std::size_t session_bytes = 8;
/// Before the metadata in the header of a frame's active message.
inline constexpr std::size_t prefix_bytes = session_bytes + frame_header_bytes;

/// Opens the way from `from` to `to`: frames that follow carry the session's number.
struct hello {
  node_identity from;
  node_identity to;
  std::uint64_t session = 0;
  std::vector<std::byte> ticket;
  std::vector<std::byte> address;  // of the sender's worker
  friend bool operator==(const hello&, const hello&) = default;
};

/// The answer to a hello that is not taken.
struct refusal {
  std::uint64_t session = 0;
  errc code = errc::unauthorised;
  std::string reason;
  friend bool operator==(const refusal&, const refusal&) = default;
};

/// errc::invalid_argument: ticket or address are larger than allowed.
result<std::vector<std::byte>> encode(const hello& h);
result<hello> parse_hello(std::span<const std::byte> bytes);

/// Cuts a reason that is too long.
std::vector<std::byte> encode(const refusal& r);
result<refusal> parse_refusal(std::span<const std::byte> bytes);

std::vector<std::byte> encode_goodbye(std::uint64_t session);
result<std::uint64_t> parse_goodbye(std::span<const std::byte> bytes);

std::uint64_t read_session(std::span<const std::byte, session_bytes> bytes) noexcept;
void write_session(std::span<std::byte, session_bytes> out, std::uint64_t session) noexcept;

}  // namespace atl::transport::ucx
