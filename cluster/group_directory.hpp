// Where expert groups are, and which of them are worth sending to: what one router knows of the
// lives of other nodes. Pure; not thread-safe: one owner.
//
//   node     by                                      its groups
//   unheard  nothing yet, no list of members either  used
//   alive    listed, or heard of                     used
//   suspect  suspected                               shunned: used where there is no other copy
//   dead     its path is lost; or it is in no list   gone, until the path is there again (of the
//            of members, or named dead there          same life) or a list names it; the death that
//                                                     a list names is final for that life
// The own node is always used.
#pragma once

#include "cluster/routing.hpp"
#include "runtime/base/ids.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

namespace atl::cluster {

/// What one path of this node makes of a life of another.
enum class node_health : std::uint8_t { alive, suspect, dead };

struct listed_node {
  node_id node;
  incarnation life;
  bool is_dead = false;
};

class group_directory {
public:
  struct seat {
    node_id node;
    std::uint32_t slot = 0;
  };

  explicit group_directory(node_id self) : self_{self} {}

  struct seated_group {
    group_id group;
    seat at;
  };
  /// Groups not named stay where they are known to be.
  void seat_groups(std::span<const seated_group> groups);
  std::optional<seat> find(group_id group) const;

  struct change {
    bool is_lost = false;  // what was asked of the node before will not be answered
    bool is_any = false;
  };
  /// News of one life of a node. Those of a life before the latest known change nothing.
  change note(node_id node, incarnation life, node_health health);
  /// All members. Answers which nodes are lost by it, ascending.
  std::vector<node_id> list(std::span<const listed_node> members);

  const avoided_groups& avoided() const noexcept { return avoided_; }
  /// The same, with the groups of `node` and all that are shunned counted as gone: where a second
  /// copy may be asked.
  avoided_groups avoided_beside(node_id node) const;
  bool is_trusted(node_id node) const;

private:
  struct known_node {
    incarnation life;
    node_health health = node_health::alive;
    bool is_listed = false;
    bool is_buried = false;  // a list has named it dead: final for this life
  };

  bool is_gone(node_id node) const;
  static change hear_of(known_node& known, incarnation life, node_health health);
  void sort_groups();

  node_id self_;
  std::map<group_id, seat> seats_;
  std::map<node_id, known_node> nodes_;
  bool has_list_ = false;
  avoided_groups avoided_;
};

}  // namespace atl::cluster
