// Frames of what the coordinator, agents and routers say about members, placement and weights.
#include "transport/wire/encode_parts.hpp"

namespace atl::transport::wire {

result<frame> encode(const place& m, address from, address to) {
  ATOLL_TRY(checked("place", m));
  auto& b = builder();
  const auto entries = structs<fbs::PlacementEntry>(b, m.entries);
  const auto groups = structs<fbs::GroupPlace>(b, m.groups);
  const auto coming = structs<fbs::ExpertName>(b, m.coming);
  frame f = finish(b, fbs::CreatePlace(b, entries, groups, coming), frame_kind::place, from, to);
  f.header.epoch = m.epoch;
  return f;
}

result<frame> encode(const load& m, address from, address to) {
  ATOLL_TRY(checked("load", m));
  auto& b = builder();
  const auto experts = numbers(b, m.experts);
  std::vector<std::uint32_t> nodes;
  for (const node_id source : m.sources) nodes.push_back(source.value);
  const auto sources = numbers(b, nodes);
  const auto root = fbs::CreateLoad(b, m.group.value, m.layer.value, experts, sources);
  frame f = finish(b, root, frame_kind::load, from, to);
  f.header.epoch = m.epoch;
  return f;
}

result<frame> encode(const placed& m, address from, address to) {
  ATOLL_TRY(checked("placed", m));
  auto& b = builder();
  const auto cause_at = cause(b, m.cause);
  const auto held = structs<fbs::CheckedExpert>(b, m.held);
  const auto root =
      fbs::CreatePlaced(b, m.node.value, m.group.value, m.bytes, cause_at, m.layer.value, held);
  frame f = finish(b, root, frame_kind::placed, from, to);
  f.header.epoch = m.epoch;
  return f;
}

result<frame> encode(const load_report& m, address from, address to) {
  ATOLL_TRY(checked("load_report", m));
  auto& b = builder();
  const auto counts = structs<fbs::ExpertLoad>(b, m.counts);
  const auto root = fbs::CreateLoadReport(b,
                                          m.node.value,
                                          m.window,
                                          counts,
                                          m.requests,
                                          m.sequences,
                                          m.pages_used,
                                          m.rows_in_flight,
                                          m.expert_bytes,
                                          m.speed_now,
                                          m.busy_ns);
  return finish(b, root, frame_kind::load_report, from, to);
}

result<frame> encode(const heartbeat& m, address from, address to) {
  auto& b = builder();
  const auto root = fbs::CreateHeartbeat(b, m.progress, m.busy, m.number, m.seen);
  return finish(b, root, frame_kind::heartbeat, from, to);
}

result<frame> encode(const join& m, address from, address to) {
  ATOLL_TRY(checked("join", m));
  auto& b = builder();
  const auto name = text(b, m.name);
  const auto version = text(b, m.version);
  const auto numeric_class = text(b, m.numeric_class);
  const auto model = text(b, m.model);
  const auto tls = text(b, m.tls);
  const auto ucx = octets(b, m.ucx);
  const auto ticket_key = octets(b, m.ticket_key);
  const auto held = structs<fbs::CheckedExpert>(b, m.held);
  const auto domain = text(b, m.domain);
  const auto device = text(b, m.device);
  const auto instruction_set = text(b, m.instruction_set);
  fbs::JoinBuilder out{b};
  out.add_roles(m.roles);
  out.add_name(name);
  out.add_version(version);
  out.add_numeric_class(numeric_class);
  out.add_model(model);
  out.add_expert_bytes(m.expert_bytes);
  out.add_shards(m.shards);
  out.add_groups(m.groups);
  out.add_sequences_max(m.sequences_max);
  out.add_pages_total(m.pages_total);
  out.add_tls(tls);
  out.add_ucx(ucx);
  out.add_ticket_key(ticket_key);
  out.add_held(held);
  out.add_activations(static_cast<fbs::RowType>(m.activations));
  out.add_speed(m.speed);
  out.add_domain(domain);
  out.add_device(device);
  out.add_memory_bytes(m.memory_bytes);
  out.add_instruction_set(instruction_set);
  frame f = finish(b, out.Finish(), frame_kind::join, from, to);
  f.header.epoch = m.epoch;
  return f;
}

result<frame> encode(const welcome& m, address from, address to) {
  ATOLL_TRY(checked("welcome", m));
  auto& b = builder();
  const auto cluster = text(b, m.cluster);
  const auto cause_at = cause(b, m.cause);
  const auto root = fbs::CreateWelcome(b, cluster, m.group_first, m.shard_first, cause_at);
  return finish(b, root, frame_kind::welcome, from, to);
}

namespace {

Offset<fbs::Member> wire_member(flatbuffers::FlatBufferBuilder& b, const member_info& m) {
  const auto name = text(b, m.name);
  const auto tls = text(b, m.tls);
  const auto ucx = octets(b, m.ucx);
  const auto ticket = octets(b, m.ticket);
  fbs::MemberBuilder out{b};
  out.add_node(m.node.value);
  out.add_life(m.life.value);
  out.add_state(static_cast<fbs::MemberState>(m.state));
  out.add_roles(m.roles);
  out.add_shards(m.shards);
  out.add_shard_first(m.shard_first);
  out.add_sequences_max(m.sequences_max);
  out.add_pages_total(m.pages_total);
  out.add_name(name);
  out.add_tls(tls);
  out.add_ucx(ucx);
  out.add_ticket(ticket);
  return out.Finish();
}

/// Built field by field: the plain struct's padding is nobody's business.
fbs::WeightPart wire_part(const weight_part& p) {
  return {p.at,
          p.scales_at,
          p.rows,
          p.columns,
          p.scale_rows,
          p.scale_columns,
          static_cast<fbs::RowType>(p.type)};
}

}  // namespace

result<frame> encode(const members& m, address from, address to) {
  ATOLL_TRY(checked("members", m));
  auto& b = builder();
  std::vector<Offset<fbs::Member>> list;
  list.reserve(m.list.size());
  for (const member_info& member : m.list) list.push_back(wire_member(b, member));
  const auto list_at = numbers(b, list);
  const auto revoked_at = structs<fbs::Serial>(b, m.revoked);
  const auto removed_at = numbers(b, m.removed);
  return finish(b,
                fbs::CreateMembers(b, m.version, list_at, revoked_at, removed_at),
                frame_kind::members,
                from,
                to);
}

result<frame> encode(const adopted& m, address from, address to) {
  ATOLL_TRY(checked("adopted", m));
  auto& b = builder();
  frame f = finish(b, fbs::CreateAdopted(b, m.oldest.value), frame_kind::adopted, from, to);
  f.header.epoch = m.epoch;
  return f;
}

result<frame> encode(const release& m, address from, address to) {
  ATOLL_TRY(checked("release", m));
  auto& b = builder();
  const auto experts = numbers(b, m.experts);
  const auto root = fbs::CreateRelease(b, m.group.value, m.layer.value, experts);
  frame f = finish(b, root, frame_kind::release, from, to);
  f.header.epoch = m.epoch;
  return f;
}

result<frame> encode(const path_report& m, address from, address to) {
  auto& b = builder();
  const auto why = text(b, cut(m.why));
  const auto root = fbs::CreatePathReport(b, m.peer.value, m.life.value, m.is_lost, why);
  return finish(b, root, frame_kind::path_report, from, to);
}

result<frame> encode(const leave& m, address from, address to) {
  ATOLL_TRY(checked("leave", m));
  auto& b = builder();
  return finish(b, fbs::CreateLeave(b, m.deadline_ms), frame_kind::leave, from, to);
}

result<frame> encode(const dismissed& m, address from, address to) {
  ATOLL_TRY(checked("dismissed", m));
  auto& b = builder();
  const auto cause_at = cause(b, m.cause);
  const auto root = fbs::CreateDismissed(b, m.life.value, cause_at);
  return finish(b, root, frame_kind::dismissed, from, to);
}

result<frame> encode(const fetch& m, address from, address to) {
  ATOLL_TRY(checked("fetch", m));
  auto& b = builder();
  const auto root = fbs::CreateFetch(b, m.number, m.layer.value, m.expert, m.offset, m.length);
  return finish(b, root, frame_kind::fetch, from, to);
}

result<frame> encode(const chunk& m, address from, address to) {
  ATOLL_TRY(checked("chunk", m));
  auto& b = builder();
  std::vector<fbs::WeightPart> parts;
  for (const weight_part& part : m.parts) parts.push_back(wire_part(part));
  const auto parts_at = structs<fbs::WeightPart>(b, parts);
  const auto cause_at = cause(b, m.cause);
  const auto root =
      fbs::CreateChunk(b, m.number, m.layer.value, m.expert, m.offset, m.total, parts_at, cause_at);
  frame f = finish(b, root, frame_kind::chunk, from, to);
  f.header.flags |= flag_payload_checksummed;
  f.payload = m.bytes;
  return f;
}

}  // namespace atl::transport::wire
