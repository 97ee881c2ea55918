// The unit of every conversation between nodes: a fixed header of 80 little-endian bytes,
// FlatBuffers metadata, and tensor rows as raw payload. Nothing is allocated for a frame before
// parse_header() has accepted its header. Plain values; a payload's bytes are shared and never
// change, so a frame may cross threads and, inside a process, nodes without a copy. Layout:
// transport/PROTOCOL.md.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace atl::transport {

/// "ATOL" read as a little-endian word.
inline constexpr std::uint32_t frame_magic = 0x4C4F'5441;
/// Raised when the header's layout or a rule of PROTOCOL.md changes; messages grow by appending
/// fields.
inline constexpr std::uint16_t protocol_version = 1;
inline constexpr std::size_t frame_header_bytes = 80;
/// The largest message is a prompt of 2^20 tokens (4 MiB) or a placement of 2^19 entries of 16
/// bytes (8 MiB: 61 layers x 256 experts x 33 copies); twice that.
inline constexpr std::uint32_t metadata_bytes_max = 16U << 20;
/// The largest payload is the float32 logits of a prompt chunk: 1,024 rows of 262,144 = 1 GiB.
inline constexpr std::uint64_t payload_bytes_max = 1ULL << 30;

/// Which message the metadata holds. Numbers are the wire format: append only.
enum class frame_kind : std::uint16_t {
  submit = 1,
  cancel = 2,
  tokens = 3,
  observed = 4,
  dispatch = 5,
  results = 6,
  refused = 7,
  place = 8,
  load = 9,
  placed = 10,
  load_report = 11,
  heartbeat = 12,
  join = 13,
  welcome = 14,
  members = 15,
  adopted = 16,
  release = 17,
  path_report = 18,
  leave = 19,
  dismissed = 20,
  fetch = 21,
  chunk = 22,
};
inline constexpr std::uint16_t frame_kind_last = 22;

std::string_view to_string(frame_kind kind) noexcept;

/// payload_checksum holds the hash of the payload. Set by backends whose medium may damage bytes.
inline constexpr std::uint16_t flag_payload_checksummed = 1U << 0;
inline constexpr std::uint16_t flags_known = flag_payload_checksummed;

/// An actor: a node, and its place among the actors of that node.
struct address {
  node_id node;
  std::uint32_t slot = 0;
  friend constexpr auto operator<=>(const address&, const address&) = default;
};

struct frame_header {
  frame_kind kind = frame_kind::heartbeat;
  std::uint16_t flags = 0;
  std::uint32_t metadata_bytes = 0;
  std::uint64_t payload_bytes = 0;
  address source;
  address destination;
  incarnation sender;          // which life of the source node; stamped by the transport
  atl::epoch epoch;            // placement epoch the message was made under, 0 where none applies
  std::uint64_t sequence = 0;  // of frames from one life to one node, from 1; by the transport
  std::uint64_t checksum = 0;  // XXH3-64 of the metadata, seeded by that of the header
  std::uint64_t payload_checksum = 0;  // XXH3-64 of the payload, 0 unless flagged
  friend bool operator==(const frame_header&, const frame_header&) = default;
};

/// Immutable bytes and whatever keeps them alive. Who sends must not write to them afterwards; the
/// transport is done with them when it has dropped its copy of `owner`.
struct payload_ref {
  std::shared_ptr<const void> owner;
  std::span<const std::byte> bytes;
};

/// Takes the vector over; the result owns its elements.
template <class T>
payload_ref own_payload(std::vector<T> values) {
  auto owner = std::make_shared<const std::vector<T>>(std::move(values));
  const auto bytes = std::as_bytes(std::span{*owner});
  return {std::move(owner), bytes};
}

struct frame {
  frame_header header;
  std::vector<std::byte> metadata;
  payload_ref payload;
};

using header_bytes = std::array<std::byte, frame_header_bytes>;

/// Writes a header as it is, the checksum fields included.
header_bytes encode_header(const frame_header& header) noexcept;

/// Fills in the sizes and checksums from the frame's content and returns the header's bytes. The
/// payload is hashed only where the flag is set. errc::invalid_argument: larger than the caps
/// allow.
result<header_bytes> seal(frame& f);

/// The halves of seal(), for backends that number frames after they left the sender's thread: the
/// sizes, caps and the payload's hash; then, once the frame is stamped, the checksum.
result<void> seal_payload(frame& f);
header_bytes seal_header(frame& f) noexcept;

/// Reads a header and checks magic, version, kind, flags and caps. `bytes` may be longer than a
/// header (the rest is not looked at). Proves nothing about metadata or payload.
result<frame_header> parse_header(std::span<const std::byte> bytes);

/// Checks sizes and checksum of a header against the metadata that came with it.
result<void> check_metadata(const frame_header& header, std::span<const std::byte> metadata);

/// Checks the payload's size, and its hash where the flag is set.
result<void> check_payload(const frame_header& header, std::span<const std::byte> payload);

}  // namespace atl::transport
