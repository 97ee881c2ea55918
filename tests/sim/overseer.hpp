// Watches what nodes say to each other, and knows what was done to them. Checks I5 (a loss is
// noticed in time, and only a loss), I6 (nobody holds more than it may), I9 (epochs and lists of
// members only grow, over coordinators too). One thread.
#pragma once

#include "tests/sim/cluster_world.hpp"
#include "tests/sim/verdicts.hpp"

#include <map>
#include <optional>

namespace atl::sim {

class overseer {
public:
  overseer(cluster_world& in, verdicts& found);

  /// A frame on its way out.
  void see(transport::plane path, transport::node_identity from, const transport::frame& f);

  /// The node is struck: what is thought of it from now until a while after the next call may be
  /// wrong.
  void touched(node_id node);
  bool was_touched(node_id node) const;
  /// The node will not be heard for a while. That has to be noticed, unless the coordinator is
  /// struck too, or the node is back before.
  void lost(node_id node, bool is_told);
  void back(node_id node) { ++losses_[node]; }
  /// Frames of the lost may still be on their way for a while: losses may be noticed late.
  void blur() { blurred_ = in_.now(); }
  /// So late may come what is sent from now on; losses may be noticed later by as much.
  void set_delay(duration_ns most);

  /// The last members that a coordinator told.
  const transport::wire::members& members() const { return members_; }

private:
  void take(const transport::wire::members& m, transport::node_identity from);
  void take(const transport::wire::place& p, transport::node_identity from);
  void take(const transport::wire::adopted& a, transport::node_identity from);
  void take(const transport::wire::load_report& r);
  void
  check_noticed(node_id node, incarnation life, std::uint64_t loss, bool as_dead, bool is_again);
  bool may_be_given_up(node_id node, node_id coordinator) const;
  duration_ns lateness() const;
  bool is_listed(node_id node, incarnation life, bool as_alive) const;

  cluster_world& in_;
  verdicts& found_;
  transport::wire::members members_;
  incarnation coordinator_;          // that told them
  std::uint64_t version_floor_ = 0;  // of members that earlier coordinators told
  std::uint64_t epoch_max_ = 0;
  std::uint64_t epoch_floor_ = 0;
  std::map<transport::node_identity, epoch> adopted_;
  std::map<node_id, time_point_ns> touched_;
  std::map<node_id, std::uint64_t> losses_;
  time_point_ns blurred_{};
  duration_ns delay_{0}, delay_before_{0};  // the latter until
  time_point_ns delayed_until_{};
};

}  // namespace atl::sim
