#include "transport/wire/check_parts.hpp"

#include <algorithm>
#include <cmath>

namespace atl::transport::wire {

namespace {

std::string check_experts(layer_index layer, const std::vector<std::uint32_t>& experts) {
  ATOLL_FIRST(check_index("layer", layer.value, layers_max));
  ATOLL_FIRST(check_count("experts", experts.size(), experts_max));
  for (const std::uint32_t expert : experts)
    ATOLL_FIRST(check_index("experts", expert, experts_max));
  return {};
}

std::string check_held(const std::vector<checked_expert>& held) {
  ATOLL_FIRST(check_count("held", held.size(), entries_max));
  for (const checked_expert& h : held) {
    ATOLL_FIRST(check_index("held.layer", h.layer.value, layers_max));
    ATOLL_FIRST(check_index("held.expert", h.expert, experts_max));
  }
  return {};
}

/// Each group once, by ascending id; where any is named, those of all entries are.
std::string check_groups(const place& m) {
  if (m.groups.empty()) return {};
  ATOLL_FIRST(check_count("groups", m.groups.size(), groups_max));
  const auto ascends = [](const group_place& a, const group_place& b) { return a.group < b.group; };
  const auto descends = [](const group_place& a, const group_place& b) {
    return a.group >= b.group;
  };
  if (std::adjacent_find(m.groups.begin(), m.groups.end(), descends) != m.groups.end()) {
    return "groups are not in ascending order";
  }
  for (const placement_entry& e : m.entries) {
    if (!std::binary_search(m.groups.begin(), m.groups.end(), group_place{e.group, {}, 0}, ascends))
      return "groups lack " + std::to_string(e.group.value) + ", which an entry names";
  }
  return {};
}

}  // namespace

std::string check(const place& m) {
  ATOLL_FIRST(check_count("entries", m.entries.size(), entries_max));
  for (const placement_entry& e : m.entries) {
    ATOLL_FIRST(check_index("entries.layer", e.layer.value, layers_max));
    ATOLL_FIRST(check_index("entries.expert", e.expert, experts_max));
    if (!std::isfinite(e.weight) || e.weight <= 0) return "entries.weight is not above 0";
  }
  ATOLL_FIRST(check_count("coming", m.coming.size(), entries_max - m.entries.size()));
  for (const expert_name& e : m.coming) {
    ATOLL_FIRST(check_index("coming.layer", e.layer.value, layers_max));
    ATOLL_FIRST(check_index("coming.expert", e.expert, experts_max));
  }
  const auto descends = [](const expert_name& a, const expert_name& b) { return a >= b; };
  if (std::adjacent_find(m.coming.begin(), m.coming.end(), descends) != m.coming.end())
    return "coming is not in ascending order";
  return check_groups(m);
}

std::string check(const load& m) {
  ATOLL_FIRST(check_experts(m.layer, m.experts));
  return check_count("sources", m.sources.size(), sources_max);
}

std::string check(const placed& m) {
  ATOLL_FIRST(check_cause(m.cause));
  ATOLL_FIRST(check_index("layer", m.layer.value, layers_max));
  return check_held(m.held);
}

namespace {

/// Also what is no number is outside.
std::string check_speed(std::string_view field, float speed) {
  if (speed >= 0 && speed <= speed_max) return {};
  return std::string{field} + " is not between 0 and 10^12 rows a second";
}

}  // namespace

std::string check(const load_report& m) {
  ATOLL_FIRST(check_speed("speed_now", m.speed_now));
  ATOLL_FIRST(check_count("counts", m.counts.size(), entries_max));
  for (const expert_load& c : m.counts) {
    ATOLL_FIRST(check_index("counts.layer", c.layer.value, layers_max));
    ATOLL_FIRST(check_index("counts.expert", c.expert, experts_max));
  }
  return {};
}

std::string check(const heartbeat&) { return {}; }

namespace {

std::string check_roles(std::string_view field, std::uint32_t roles) {
  if (roles != 0 && (roles & ~roles_known) == 0) return {};
  return std::string{field} + " " + std::to_string(roles) + " are none or hold an unknown one";
}

std::string check_ticket(std::string_view field, const std::vector<std::byte>& bytes) {
  if (bytes.empty() || bytes.size() == ticket_bytes) return {};
  return "the size of " + std::string{field} + " is " + std::to_string(bytes.size()) +
         ", neither 0 nor " + std::to_string(ticket_bytes);
}

std::string check_member(const member_info& m) {
  if (m.state > member_state::cordoned) return "list.state holds an unknown value";
  ATOLL_FIRST(check_roles("list.roles", m.roles));
  if (m.shards > units_max) return above("list.shards", m.shards, units_max);
  ATOLL_FIRST(check_count("list.name", m.name.size(), name_bytes_max));
  ATOLL_FIRST(check_count("list.tls", m.tls.size(), name_bytes_max));
  ATOLL_FIRST(check_count("list.ucx", m.ucx.size(), ucx_bytes_max));
  return check_ticket("list.ticket", m.ticket);
}

/// Elements and scales of a matrix lie within `total` bytes.
std::string check_part(const weight_part& p, std::uint64_t total) {
  if (p.type > tensor::dtype::f8_e4m3) return "parts.type holds an unknown value";
  const auto is_inside = [total](std::uint64_t at, std::uint64_t count, std::uint64_t each) {
    std::uint64_t end = 0;
    return !__builtin_mul_overflow(count, each, &end) && !__builtin_add_overflow(at, end, &end) &&
           end <= total;
  };
  const std::uint64_t elements = std::uint64_t{p.rows} * p.columns;
  const std::uint64_t scales = std::uint64_t{p.scale_rows} * p.scale_columns;
  if (!is_inside(p.at, elements, tensor::element_bytes(p.type))) {
    return "parts.at and its elements are outside total";
  }
  if (!is_inside(p.scales_at, scales, sizeof(float))) {
    return "parts.scales_at and its scales are outside total";
  }
  return {};
}

}  // namespace

bool is_domain_name(std::string_view name) noexcept {
  const auto may_be = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view{"-_.:/"}.find(c) != std::string_view::npos;
  };
  return !name.empty() && name.size() <= name_bytes_max &&
         std::all_of(name.begin(), name.end(), may_be);
}

std::string check(const join& m) {
  ATOLL_FIRST(check_roles("roles", m.roles));
  if (m.shards > units_max) return above("shards", m.shards, units_max);
  if (m.groups > units_max) return above("groups", m.groups, units_max);
  ATOLL_FIRST(check_count("name", m.name.size(), name_bytes_max));
  ATOLL_FIRST(check_count("version", m.version.size(), name_bytes_max));
  ATOLL_FIRST(check_count("numeric_class", m.numeric_class.size(), name_bytes_max));
  ATOLL_FIRST(check_count("model", m.model.size(), name_bytes_max));
  ATOLL_FIRST(check_count("tls", m.tls.size(), name_bytes_max));
  ATOLL_FIRST(check_count("ucx", m.ucx.size(), ucx_bytes_max));
  ATOLL_FIRST(check_ticket("ticket_key", m.ticket_key));
  if (row_bytes(m.activations, 1) == 0) return "activations is no type in which rows travel";
  ATOLL_FIRST(check_speed("speed", m.speed));
  if (!m.domain.empty() && !is_domain_name(m.domain))
    return "domain is not of 1 to 255 letters, digits and -_.:/";
  ATOLL_FIRST(check_count("device", m.device.size(), name_bytes_max));
  ATOLL_FIRST(check_count("instruction_set", m.instruction_set.size(), name_bytes_max));
  return check_held(m.held);
}

std::string check(const welcome& m) {
  ATOLL_FIRST(check_count("cluster", m.cluster.size(), name_bytes_max));
  return check_cause(m.cause);
}

std::size_t text_bytes(const member_info& m) noexcept {
  return m.name.size() + m.tls.size() + m.ucx.size() + m.ticket.size();
}

std::optional<certificate_serial> parse_serial(std::string_view hex) noexcept {
  if (hex.size() != 32) return std::nullopt;
  certificate_serial serial;
  for (std::size_t i = 0; i < hex.size(); ++i) {
    const char c = hex[i];
    const bool is_digit = c >= '0' && c <= '9';
    if (!is_digit && (c < 'a' || c > 'f')) return std::nullopt;
    std::uint64_t& half = i < 16 ? serial.high : serial.low;
    half = half << 4U | static_cast<std::uint64_t>(is_digit ? c - '0' : c - 'a' + 10);
  }
  return serial;
}

std::string to_text(certificate_serial serial) {
  std::string hex(32, '0');
  for (std::size_t i = 0; i < hex.size(); ++i) {
    const std::uint64_t half = i < 16 ? serial.high : serial.low;
    hex[i] = "0123456789abcdef"[half >> (60 - 4 * (i % 16)) & 15U];
  }
  return hex;
}

std::string check(const members& m) {
  ATOLL_FIRST(check_count("list", m.list.size(), members_max));
  ATOLL_FIRST(check_count("revoked", m.revoked.size(), revoked_max));
  ATOLL_FIRST(check_count("removed", m.removed.size(), revoked_max));
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < m.list.size(); ++i) {
    ATOLL_FIRST(check_member(m.list[i]));
    bytes += text_bytes(m.list[i]);
    if (i > 0 && m.list[i].node <= m.list[i - 1].node) return "list is not by ascending node";
  }
  return bytes <= members_bytes_max ? "" : above("the bytes of list", bytes, members_bytes_max);
}

std::string check(const adopted& m) {
  return m.oldest <= m.epoch ? "" : "oldest is after the epoch";
}

std::string check(const release& m) { return check_experts(m.layer, m.experts); }

std::string check(const path_report&) { return {}; }

std::string check(const leave& m) {
  return m.deadline_ms <= leave_ms_max ? "" : above("deadline_ms", m.deadline_ms, leave_ms_max);
}

std::string check(const dismissed& m) { return check_cause(m.cause); }

std::string check(const fetch& m) {
  ATOLL_FIRST(check_index("layer", m.layer.value, layers_max));
  ATOLL_FIRST(check_index("expert", m.expert, experts_max));
  ATOLL_FIRST(check_index("offset", m.offset, expert_bytes_max));
  if (m.length == 0) return "length is 0";
  return m.length <= chunk_bytes_max ? "" : above("length", m.length, chunk_bytes_max);
}

std::string check(const chunk& m) {
  ATOLL_FIRST(check_index("layer", m.layer.value, layers_max));
  ATOLL_FIRST(check_index("expert", m.expert, experts_max));
  if (m.total > expert_bytes_max) return above("total", m.total, expert_bytes_max);
  ATOLL_FIRST(check_cause(m.cause));
  const std::uint64_t bytes = m.bytes.bytes.size();
  if ((bytes == 0) != m.cause.has_value()) return "bytes come exactly where there is no cause";
  ATOLL_FIRST(check_count("bytes", bytes, chunk_bytes_max));
  if (!m.cause && (m.offset > m.total || bytes > m.total - m.offset)) {
    return "offset and bytes are outside total";
  }
  for (const weight_part& part : m.parts) ATOLL_FIRST(check_part(part, m.total));
  return {};
}

}  // namespace atl::transport::wire
