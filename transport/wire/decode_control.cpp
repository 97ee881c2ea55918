#include "transport/wire/check.hpp"
#include "transport/wire/decode_parts.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>

namespace atl::transport::wire {

std::string read(const fbs::Place& in, const frame& f, place& out) {
  out.epoch = f.header.epoch;
  out.entries = structs<placement_entry>(in.entries());
  out.groups = structs<group_place>(in.groups());
  out.coming = structs<expert_name>(in.coming());
  return {};
}

std::string read(const fbs::Load& in, const frame& f, load& out) {
  out.epoch = f.header.epoch;
  out.group = group_id{in.group()};
  out.layer = layer_index{in.layer()};
  out.experts = numbers(in.experts());
  if (in.sources() == nullptr) return {};
  for (const std::uint32_t source : *in.sources()) out.sources.emplace_back(source);
  return {};
}

std::string read(const fbs::Placed& in, const frame& f, placed& out) {
  out.epoch = f.header.epoch;
  out.node = node_id{in.node()};
  out.group = group_id{in.group()};
  out.bytes = in.bytes();
  out.layer = layer_index{in.layer()};
  out.held = structs<checked_expert>(in.held());
  return read_cause(in.cause(), out.cause) ? "" : text_too_long;
}

std::string read(const fbs::LoadReport& in, const frame&, load_report& out) {
  out.node = node_id{in.node()};
  out.window = in.window();
  out.counts = structs<expert_load>(in.counts());
  out.requests = in.requests();
  out.sequences = in.sequences();
  out.pages_used = in.pages_used();
  out.rows_in_flight = in.rows_in_flight();
  out.expert_bytes = in.expert_bytes();
  out.speed_now = in.speed_now();
  out.busy_ns = in.busy_ns();
  return {};
}

std::string read(const fbs::Heartbeat& in, const frame&, heartbeat& out) {
  out.progress = in.progress();
  out.busy = in.busy();
  out.number = in.number();
  out.seen = in.seen();
  return {};
}

namespace {

/// Copies a text of at most `limit` bytes; false where it is longer.
bool read_text(const flatbuffers::String* in, std::size_t limit, std::string& out) {
  if (in == nullptr) return true;
  if (in->size() > limit) return false;
  out = in->str();
  return true;
}

bool read_octets(const flatbuffers::Vector<std::uint8_t>* in,
                 std::size_t limit,
                 std::vector<std::byte>& out) {
  if (in == nullptr) return true;
  if (in->size() > limit) return false;
  out = octets(in);
  return true;
}

}  // namespace

std::string read(const fbs::Join& in, const frame& f, join& out) {
  out.roles = in.roles();
  if (!read_text(in.name(), name_bytes_max, out.name)) return "name is too long";
  if (!read_text(in.version(), name_bytes_max, out.version)) return "version is too long";
  if (!read_text(in.numeric_class(), name_bytes_max, out.numeric_class)) {
    return "numeric_class is too long";
  }
  if (!read_text(in.model(), name_bytes_max, out.model)) return "model is too long";
  out.expert_bytes = in.expert_bytes();
  out.shards = in.shards();
  out.groups = in.groups();
  out.sequences_max = in.sequences_max();
  out.pages_total = in.pages_total();
  if (!read_text(in.tls(), name_bytes_max, out.tls)) return "tls is too long";
  if (!read_octets(in.ucx(), ucx_bytes_max, out.ucx)) return "ucx is too long";
  if (!read_octets(in.ticket_key(), ticket_bytes, out.ticket_key)) return "ticket_key is too long";
  out.epoch = f.header.epoch;
  out.held = structs<checked_expert>(in.held());
  out.activations = static_cast<tensor::dtype>(in.activations());
  out.speed = in.speed();
  if (!read_text(in.domain(), name_bytes_max, out.domain)) return "domain is too long";
  if (!read_text(in.device(), name_bytes_max, out.device)) return "device is too long";
  out.memory_bytes = in.memory_bytes();
  if (!read_text(in.instruction_set(), name_bytes_max, out.instruction_set)) {
    return "instruction_set is too long";
  }
  return {};
}

std::string read(const fbs::Welcome& in, const frame&, welcome& out) {
  if (!read_text(in.cluster(), name_bytes_max, out.cluster)) return "cluster is too long";
  out.group_first = in.group_first();
  out.shard_first = in.shard_first();
  return read_cause(in.cause(), out.cause) ? "" : text_too_long;
}

namespace {

std::string read_member(const fbs::Member& in, member_info& out) {
  out.node = node_id{in.node()};
  out.life = incarnation{in.life()};
  out.state = static_cast<member_state>(in.state());
  out.roles = in.roles();
  out.shards = in.shards();
  out.shard_first = in.shard_first();
  out.sequences_max = in.sequences_max();
  out.pages_total = in.pages_total();
  if (!read_text(in.name(), name_bytes_max, out.name)) return "list.name is too long";
  if (!read_text(in.tls(), name_bytes_max, out.tls)) return "list.tls is too long";
  if (!read_octets(in.ucx(), ucx_bytes_max, out.ucx)) return "list.ucx is too long";
  if (!read_octets(in.ticket(), ticket_bytes, out.ticket)) return "list.ticket is too long";
  return {};
}

weight_part plain_part(const fbs::WeightPart& in) {
  return {in.at(),
          in.scales_at(),
          in.rows(),
          in.columns(),
          in.scale_rows(),
          in.scale_columns(),
          static_cast<tensor::dtype>(in.type())};
}

}  // namespace

std::string read(const fbs::Members& in, const frame&, members& out) {
  out.version = in.version();
  if (in.revoked() != nullptr && in.revoked()->size() > revoked_max) return "revoked is too long";
  if (in.removed() != nullptr && in.removed()->size() > revoked_max) return "removed is too long";
  out.revoked = structs<certificate_serial>(in.revoked());
  out.removed = numbers(in.removed());
  if (in.list() == nullptr) return {};
  out.list.reserve(in.list()->size());
  std::size_t bytes = 0;  // several entries may lie at one place of the metadata
  for (const fbs::Member* member : *in.list()) {
    std::string problem = read_member(*member, out.list.emplace_back());
    if (!problem.empty()) return problem;
    bytes += text_bytes(out.list.back());
    if (bytes > members_bytes_max) return "list is larger than 8 MiB";
  }
  return {};
}

std::string read(const fbs::Adopted& in, const frame& f, adopted& out) {
  out.epoch = f.header.epoch;
  out.oldest = atl::epoch{in.oldest()};
  return {};
}

std::string read(const fbs::Release& in, const frame& f, release& out) {
  out.epoch = f.header.epoch;
  out.group = group_id{in.group()};
  out.layer = layer_index{in.layer()};
  out.experts = numbers(in.experts());
  return {};
}

std::string read(const fbs::PathReport& in, const frame&, path_report& out) {
  out.peer = node_id{in.peer()};
  out.life = incarnation{in.life()};
  out.is_lost = in.is_lost();
  return read_text(in.why(), text_bytes_max, out.why) ? "" : "why is longer than 65,536 bytes";
}

std::string read(const fbs::Leave& in, const frame&, leave& out) {
  out.deadline_ms = in.deadline_ms();
  return {};
}

std::string read(const fbs::Dismissed& in, const frame&, dismissed& out) {
  out.life = incarnation{in.life()};
  return read_cause(in.cause(), out.cause) ? "" : text_too_long;
}

std::string read(const fbs::Fetch& in, const frame&, fetch& out) {
  out.number = in.number();
  out.layer = layer_index{in.layer()};
  out.expert = in.expert();
  out.offset = in.offset();
  out.length = in.length();
  return {};
}

std::string read(const fbs::Chunk& in, const frame& f, chunk& out) {
  out.number = in.number();
  out.layer = layer_index{in.layer()};
  out.expert = in.expert();
  out.offset = in.offset();
  out.total = in.total();
  if (in.parts() != nullptr) {
    if (in.parts()->size() != out.parts.size()) return "parts are not three";
    // Copied out, since the verifier lets a vector of structs lie anywhere.
    std::array<fbs::WeightPart, std::tuple_size_v<decltype(out.parts)>> parts;
    std::memcpy(static_cast<void*>(parts.data()), in.parts()->Data(), sizeof parts);
    std::transform(parts.begin(), parts.end(), out.parts.begin(), plain_part);
  }
  out.bytes = f.payload;
  return read_cause(in.cause(), out.cause) ? "" : text_too_long;
}

}  // namespace atl::transport::wire
