#include "cluster/group_directory.hpp"

namespace atl::cluster {

void group_directory::seat_groups(std::span<const seated_group> groups) {
  for (const seated_group& g : groups) seats_[g.group] = g.at;
  sort_groups();
}

std::optional<group_directory::seat> group_directory::find(group_id group) const {
  const auto found = seats_.find(group);
  if (found == seats_.end()) return std::nullopt;
  return found->second;
}

group_directory::change
group_directory::hear_of(known_node& known, incarnation life, node_health health) {
  change seen;
  if (life < known.life) return seen;
  if (life > known.life) {
    seen.is_lost = known.life.value != 0 && known.health != node_health::dead;
    seen.is_any = true;
    known.life = life;
    known.health = node_health::alive;
    known.is_buried = false;
  }
  if (known.is_buried || known.health == health) return seen;
  known.health = health;
  seen.is_any = true;
  seen.is_lost = seen.is_lost || health == node_health::dead;
  return seen;
}

group_directory::change group_directory::note(node_id node, incarnation life, node_health health) {
  if (node == self_) return {};
  const change seen = hear_of(nodes_[node], life, health);
  if (seen.is_any) sort_groups();
  return seen;
}

std::vector<node_id> group_directory::list(std::span<const listed_node> members) {
  has_list_ = true;
  std::map<node_id, bool> lost;
  for (auto& [node, known] : nodes_) {
    lost[node] = known.is_listed;
    known.is_listed = false;
  }
  for (const listed_node& m : members) {
    known_node& known = nodes_[m.node];
    // A list says nothing about suspicion: what this node thinks of a life it knows stays.
    const bool is_known = known.life == m.life;
    const node_health health = m.is_dead  ? node_health::dead
                               : is_known ? known.health
                                          : node_health::alive;
    const change seen = hear_of(known, m.life, health);
    if (m.is_dead && known.life == m.life) known.is_buried = true;
    known.is_listed = known.life == m.life;
    lost[m.node] = seen.is_lost || (lost[m.node] && !known.is_listed);
  }
  sort_groups();
  std::vector<node_id> all;
  for (const auto& [node, is_lost] : lost)
    if (is_lost && node != self_) all.push_back(node);
  return all;
}

bool group_directory::is_gone(node_id node) const {
  if (node == self_) return false;
  const auto found = nodes_.find(node);
  if (found == nodes_.end()) return has_list_;
  return found->second.health == node_health::dead || (has_list_ && !found->second.is_listed);
}

bool group_directory::is_trusted(node_id node) const {
  if (node == self_) return true;
  const auto found = nodes_.find(node);
  return !is_gone(node) && (found == nodes_.end() || found->second.health == node_health::alive);
}

void group_directory::sort_groups() {
  avoided_.gone.clear();
  avoided_.shunned.clear();
  for (const auto& [group, at] : seats_) {
    if (is_gone(at.node)) {
      avoided_.gone.push_back(group);
    } else if (!is_trusted(at.node)) {
      avoided_.shunned.push_back(group);
    }
  }
}

avoided_groups group_directory::avoided_beside(node_id node) const {
  avoided_groups beside;
  for (const auto& [group, at] : seats_)
    if (at.node == node || !is_trusted(at.node)) beside.gone.push_back(group);
  return beside;
}

}  // namespace atl::cluster
