#include "cluster/control_view.hpp"

#include "cluster/control.hpp"

#include <array>

namespace atl::cluster {

namespace wire = transport::wire;

std::string_view to_string(node_state state) noexcept {
  constexpr std::array<std::string_view, 7> names{
      "absent", "alive", "suspect", "cordoned", "draining", "drained", "removed"};
  return names[static_cast<std::size_t>(state)];
}

result<node_view> control::view(node_id node, time_point_ns now) const {
  const auto at = kept_.nodes.find(node);
  if (at == kept_.nodes.end())
    return error{errc::not_found, "there is no node " + std::to_string(node.value)};
  const node_record& kept = at->second;
  node_view v;
  v.node = node;
  v.name = kept.name;
  v.roles = kept.roles;
  v.life = kept.life;
  v.group_first = kept.group_first;
  v.shard_first = kept.shard_first;
  v.state = kept.is_removed ? node_state::removed : node_state::absent;
  v.is_drained = kept.is_drained;
  if (v.is_drained && v.state == node_state::absent) v.note = "drained";
  const auto here = live_.find(node);
  if (here == live_.end()) return v;
  const live_node& n = here->second;
  v.state = n.is_suspect              ? node_state::suspect
            : drains_.count(node) > 0 ? node_state::draining
            : kept.is_drained         ? node_state::drained
            : kept.is_cordoned        ? node_state::cordoned
                                      : node_state::alive;
  v.note = n.note;
  v.roles = n.said.roles;
  v.since_ms = (now - n.since).count() / 1'000'000;
  v.version = n.said.version;
  v.address = n.said.tls;
  v.groups = n.said.groups;
  v.shards = n.said.shards;
  v.expert_bytes_max = n.said.expert_bytes;
  v.requests = n.load.requests;
  v.sequences = n.load.sequences;
  v.pages_used = n.load.pages_used;
  v.rows_in_flight = n.load.rows_in_flight;
  v.expert_bytes = n.load.expert_bytes;
  v.speed = n.said.speed;
  v.speed_now = n.load.speed_now;
  v.busy_ms = n.load.busy_ns / 1'000'000;
  v.domain = n.said.domain;
  v.device = n.said.device;
  v.memory_bytes = n.said.memory_bytes;
  v.instruction_set = n.said.instruction_set;
  v.copies = driver_.copies_on(node);
  v.used = n.used;
  return v;
}

double control::speed_of(node_id node) const {
  const auto known = [](const live_node& n) {
    return double{n.load.speed_now > 0 ? n.load.speed_now : n.said.speed};
  };
  const auto at = live_.find(node);
  if (at != live_.end() && known(at->second) > 0) return known(at->second);
  double sum = 0;
  std::size_t count = 0;
  for (const auto& [id, n] : live_) {
    sum += known(n);
    count += known(n) > 0 ? 1 : 0;
  }
  return count > 0 ? sum / static_cast<double>(count) : 1;
}

const std::string& control::domain_of(node_id node) const {
  static const std::string none;
  const auto at = live_.find(node);
  return at == live_.end() ? none : at->second.said.domain;
}

cluster_view control::view(time_point_ns now) const {
  cluster_view v;
  v.cluster = settings_.cluster;
  v.revision = revision_;
  v.members_version = version_;
  v.is_ready = is_ready_;
  v.placement = driver_.summary();
  v.copies_wanted = settings_.copies;
  v.is_balancing = balance_.applying.has_value();
  for (const auto& [id, n] : kept_.nodes) v.nodes.push_back(*view(id, now));
  for (const auto& [id, o] : kept_.operations) v.operations.push_back(*find_operation(id));
  if (!driver_.is_open()) {
    v.waiting_for = is_resumed_ ? "the members of before to join again"
                                : std::to_string(settings_.expert_nodes_min) +
                                      " expert nodes for the first placement";
  } else if (!is_ready_) {
    v.waiting_for = trouble_.empty() ? "experts to be loaded" : trouble_;
  }
  return v;
}

result<operation> control::find_operation(std::uint64_t id) const {
  const auto at = kept_.operations.find(id);
  if (at == kept_.operations.end())
    return error{errc::not_found, "there is no operation " + std::to_string(id)};
  operation o = at->second;
  o.percent = percent_of(o);
  return o;
}

}  // namespace atl::cluster
