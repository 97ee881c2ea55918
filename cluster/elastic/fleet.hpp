// An elastic input in the balancer's terms: nodes instead of groups, rules of operators as pins,
// bans and fixed experts. Pure.
#pragma once

#include "cluster/elastic/elastic.hpp"

#include <map>
#include <optional>
#include <vector>

namespace atl::cluster::elastic {

/// The nodes of an input's groups, by ascending id. Groups of a node share what it takes.
class fleet {
public:
  explicit fleet(const elastic_input& input);

  const std::vector<balance_node>& nodes() const { return nodes_; }
  double speed() const { return speed_; }  // of all
  /// Of the node: places in input.groups, by ascending group id.
  const std::vector<std::size_t>& groups_of(std::uint32_t node) const { return groups_[node]; }
  std::optional<std::size_t> place_of(group_id group) const;
  std::uint32_t node_of(std::size_t place) const { return node_of_[place]; }
  std::size_t capacity(std::uint32_t node) const { return capacities_[node]; }

private:
  std::vector<balance_node> nodes_;
  std::vector<std::size_t> capacities_;
  std::vector<std::vector<std::size_t>> groups_;
  std::vector<std::uint32_t> node_of_;  // by place in input.groups
  std::map<group_id, std::size_t> place_of_;
  double speed_ = 0;
};

/// Loads of all experts as plans see them, (layers, experts).
std::vector<std::vector<double>> planning_loads(const elastic_input& input);

std::uint32_t wanted_of(const elastic_input& input, std::size_t i);

/// How strictly the balancer is asked, one after another until a plan is found.
enum class strictness : std::uint8_t {
  free_places,   // one place of each node stays free where memory is ample: copies that change
                 // places go through it
  all_places,    // none does
  keep_unwanted  // and unwanted copies may stay, for want of another place
};

/// What the balancer is asked. Copies that operators ask for are in `present`, pinned. Experts that
/// are to have none are pinned to a node of their own, the last, and have no load.
balance_input question_of(const elastic_input& input, const fleet& nodes, strictness how);

}  // namespace atl::cluster::elastic
