#include "transport/frame.hpp"

#include <xxhash.h>
#ifdef __x86_64__
#include <xxh_x86dispatch.h>  // four times as fast; the same values
#endif

#include <bit>
#include <cstring>
#include <string>

namespace atl::transport {

namespace {

static_assert(std::endian::native == std::endian::little, "headers are copied as they lie");

// Byte offsets of the header's fields; the table of PROTOCOL.md.
constexpr std::size_t at_magic = 0;
constexpr std::size_t at_version = 4;
constexpr std::size_t at_kind = 6;
constexpr std::size_t at_flags = 8;
constexpr std::size_t at_reserved = 10;
constexpr std::size_t at_metadata_bytes = 12;
constexpr std::size_t at_payload_bytes = 16;
constexpr std::size_t at_source_node = 24;
constexpr std::size_t at_destination_node = 28;
constexpr std::size_t at_source_slot = 32;
constexpr std::size_t at_destination_slot = 36;
constexpr std::size_t at_sender = 40;
constexpr std::size_t at_epoch = 48;
constexpr std::size_t at_sequence = 56;
constexpr std::size_t at_checksum = 64;
constexpr std::size_t at_payload_checksum = 72;

template <class T>
void put(header_bytes& out, std::size_t at, T value) noexcept {
  std::memcpy(out.data() + at, &value, sizeof value);
}

template <class T>
T get(std::span<const std::byte> in, std::size_t at) noexcept {
  T value;
  std::memcpy(&value, in.data() + at, sizeof value);
  return value;
}

std::uint64_t hash(std::span<const std::byte> bytes) noexcept {
  return XXH3_64bits(bytes.data(), bytes.size());
}

/// XXH3-64 of the metadata, seeded with the XXH3-64 of the header whose checksum field is zero.
std::uint64_t checksum_of(header_bytes header, std::span<const std::byte> metadata) noexcept {
  put(header, at_checksum, std::uint64_t{0});
  return XXH3_64bits_withSeed(metadata.data(), metadata.size(), hash(header));
}

error malformed(std::string what) { return {errc::malformed_frame, "frame: " + std::move(what)}; }

}  // namespace

std::string_view to_string(frame_kind kind) noexcept {
  switch (kind) {
  case frame_kind::submit: return "submit";
  case frame_kind::cancel: return "cancel";
  case frame_kind::tokens: return "tokens";
  case frame_kind::observed: return "observed";
  case frame_kind::dispatch: return "dispatch";
  case frame_kind::results: return "results";
  case frame_kind::refused: return "refused";
  case frame_kind::place: return "place";
  case frame_kind::load: return "load";
  case frame_kind::placed: return "placed";
  case frame_kind::load_report: return "load_report";
  case frame_kind::heartbeat: return "heartbeat";
  case frame_kind::join: return "join";
  case frame_kind::welcome: return "welcome";
  case frame_kind::members: return "members";
  case frame_kind::adopted: return "adopted";
  case frame_kind::release: return "release";
  case frame_kind::path_report: return "path_report";
  case frame_kind::leave: return "leave";
  case frame_kind::dismissed: return "dismissed";
  case frame_kind::fetch: return "fetch";
  case frame_kind::chunk: return "chunk";
  }
  return "unknown";
}

header_bytes encode_header(const frame_header& header) noexcept {
  header_bytes out{};
  put(out, at_magic, frame_magic);
  put(out, at_version, protocol_version);
  put(out, at_kind, static_cast<std::uint16_t>(header.kind));
  put(out, at_flags, header.flags);
  put(out, at_metadata_bytes, header.metadata_bytes);
  put(out, at_payload_bytes, header.payload_bytes);
  put(out, at_source_node, header.source.node.value);
  put(out, at_destination_node, header.destination.node.value);
  put(out, at_source_slot, header.source.slot);
  put(out, at_destination_slot, header.destination.slot);
  put(out, at_sender, header.sender.value);
  put(out, at_epoch, header.epoch.value);
  put(out, at_sequence, header.sequence);
  put(out, at_checksum, header.checksum);
  put(out, at_payload_checksum, header.payload_checksum);
  return out;
}

result<header_bytes> seal(frame& f) {
  ATOLL_TRY(seal_payload(f));
  return seal_header(f);
}

result<void> seal_payload(frame& f) {
  if (f.metadata.size() > metadata_bytes_max || f.payload.bytes.size() > payload_bytes_max) {
    return error{errc::invalid_argument,
                 std::string{to_string(f.header.kind)} + ": " + std::to_string(f.metadata.size()) +
                     " bytes of metadata and " + std::to_string(f.payload.bytes.size()) +
                     " of payload are more than a frame may hold"};
  }
  f.header.metadata_bytes = static_cast<std::uint32_t>(f.metadata.size());
  f.header.payload_bytes = f.payload.bytes.size();
  const bool hashed = (f.header.flags & flag_payload_checksummed) != 0;
  f.header.payload_checksum = hashed ? hash(f.payload.bytes) : 0;
  return {};
}

header_bytes seal_header(frame& f) noexcept {
  header_bytes bytes = encode_header(f.header);
  f.header.checksum = checksum_of(bytes, f.metadata);
  put(bytes, at_checksum, f.header.checksum);
  return bytes;
}

result<frame_header> parse_header(std::span<const std::byte> bytes) {
  if (bytes.size() < frame_header_bytes) {
    return malformed(std::to_string(bytes.size()) + " bytes are too few for a header");
  }
  if (get<std::uint32_t>(bytes, at_magic) != frame_magic) return malformed("wrong magic");
  const auto version = get<std::uint16_t>(bytes, at_version);
  if (version != protocol_version) {
    return malformed("protocol version " + std::to_string(version) + ", this build speaks " +
                     std::to_string(protocol_version));
  }
  const auto kind = get<std::uint16_t>(bytes, at_kind);
  if (kind == 0 || kind > frame_kind_last) {
    return malformed("unknown kind " + std::to_string(kind));
  }
  frame_header header;
  header.kind = static_cast<frame_kind>(kind);
  header.flags = get<std::uint16_t>(bytes, at_flags);
  if ((header.flags & ~flags_known) != 0 || get<std::uint16_t>(bytes, at_reserved) != 0) {
    return malformed("unknown flags " + std::to_string(header.flags));
  }
  header.metadata_bytes = get<std::uint32_t>(bytes, at_metadata_bytes);
  if (header.metadata_bytes > metadata_bytes_max) {
    return malformed(std::to_string(header.metadata_bytes) + " bytes of metadata, at most " +
                     std::to_string(metadata_bytes_max) + " are taken");
  }
  header.payload_bytes = get<std::uint64_t>(bytes, at_payload_bytes);
  if (header.payload_bytes > payload_bytes_max) {
    return malformed(std::to_string(header.payload_bytes) + " bytes of payload, at most " +
                     std::to_string(payload_bytes_max) + " are taken");
  }
  header.source = {node_id{get<std::uint32_t>(bytes, at_source_node)},
                   get<std::uint32_t>(bytes, at_source_slot)};
  header.destination = {node_id{get<std::uint32_t>(bytes, at_destination_node)},
                        get<std::uint32_t>(bytes, at_destination_slot)};
  header.sender = incarnation{get<std::uint64_t>(bytes, at_sender)};
  header.epoch = atl::epoch{get<std::uint64_t>(bytes, at_epoch)};
  header.sequence = get<std::uint64_t>(bytes, at_sequence);
  header.checksum = get<std::uint64_t>(bytes, at_checksum);
  header.payload_checksum = get<std::uint64_t>(bytes, at_payload_checksum);
  return header;
}

result<void> check_metadata(const frame_header& header, std::span<const std::byte> metadata) {
  if (metadata.size() != header.metadata_bytes) {
    return malformed(std::to_string(metadata.size()) + " bytes of metadata where the header says " +
                     std::to_string(header.metadata_bytes));
  }
  if (checksum_of(encode_header(header), metadata) != header.checksum) {
    return malformed("checksum of header and metadata does not match");
  }
  return {};
}

result<void> check_payload(const frame_header& header, std::span<const std::byte> payload) {
  if (payload.size() != header.payload_bytes) {
    return malformed(std::to_string(payload.size()) + " bytes of payload where the header says " +
                     std::to_string(header.payload_bytes));
  }
  const bool hashed = (header.flags & flag_payload_checksummed) != 0;
  if ((hashed ? hash(payload) : 0) != header.payload_checksum) {
    return malformed("checksum of the payload does not match");
  }
  return {};
}

}  // namespace atl::transport
