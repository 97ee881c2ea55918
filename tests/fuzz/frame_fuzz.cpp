// Bytes from a peer: header, then metadata, then payload. Seen twice: as they are, and with sizes
// and checksums made right, so that the fuzzer gets to the checks of meaning. Whatever decodes must
// encode.
#include "transport/wire/codec.hpp"

#include <algorithm>
#include <cstdlib>

namespace {

using namespace atl;
using namespace atl::transport;

void decode_checked(const frame& f) {
  const auto m = wire::decode(f);
  if (m.has_error()) return;
  const auto again = std::visit([](const auto& plain) { return wire::encode(plain, {}, {}); }, *m);
  if (again.has_error()) std::abort();
  // What takes rows looks at every scale: none may lie outside of the payload.
  if (const auto* d = std::get_if<wire::dispatch>(&*m)) (void)wire::has_usable_scales(d->input);
  if (const auto* r = std::get_if<wire::results>(&*m)) (void)wire::has_usable_scales(r->output);
}

void as_received(std::span<const std::byte> bytes) {
  const auto header = parse_header(bytes);
  if (header.has_error()) return;
  const auto rest = bytes.subspan(frame_header_bytes);
  if (rest.size() < header->metadata_bytes) return;
  const auto metadata = rest.first(header->metadata_bytes);
  const auto payload = rest.subspan(header->metadata_bytes);
  if (check_metadata(*header, metadata).has_error()) return;
  if (check_payload(*header, payload).has_error()) return;
  decode_checked({*header, {metadata.begin(), metadata.end()}, {nullptr, payload}});
}

/// Byte 0 chooses the kind, bytes 1 and 2 the payload's length, the rest is metadata.
void as_crafted(std::span<const std::byte> bytes) {
  if (bytes.size() < 3) return;
  static constexpr std::size_t payload_bytes_most = 65535;
  static std::vector<std::byte> payload(payload_bytes_most);
  const auto byte = [&](std::size_t i) { return std::to_integer<unsigned>(bytes[i]); };
  frame f;
  f.header.kind = static_cast<frame_kind>(1 + byte(0) % frame_kind_last);
  f.metadata.assign(bytes.begin() + 3, bytes.end());
  f.payload.bytes = std::span<const std::byte>{payload}.first(byte(1) + 256 * byte(2));
  const auto sealed = seal(f);
  if (sealed.has_error()) return;
  const auto header = parse_header(*sealed);
  if (header.has_error() || check_metadata(*header, f.metadata).has_error()) std::abort();
  f.header = *header;
  decode_checked(f);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span{data, size});
  as_received(bytes);
  as_crafted(bytes);
  return 0;
}
