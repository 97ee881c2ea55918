// What operators and supervisors do to a cluster while it runs: drains, cordons, nodes that leave
// and come back, rolling upgrades, plans that move experts. Faults strike meanwhile, so each of
// them may fail half way; undo() brings all nodes back into use. One thread.
#pragma once

#include "tests/sim/cluster_world.hpp"
#include "tests/sim/overseer.hpp"

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace atl::sim {

class operations {
public:
  /// How a node's process ends, and begins its next life after a while.
  struct supervisor {
    std::function<void(node_id)> end;
    std::function<void(node_id, duration_ns)> start_later;
  };

  operations(cluster_world& in, overseer& watch, supervisor by);

  void drain(node_id node);
  void cordon(node_id node);
  /// Brings drained and cordoned nodes back into use, as far as the coordinator is there.
  void undo();
  /// The node is told to end as a program is: it takes no request any more, waits for those it has,
  /// and asks the coordinator to let it go; it is back `away` after its end.
  void leave(node_id node, duration_ns away);
  /// All nodes, one after the other, each once the one before is in use again; the coordinator,
  /// which nobody can take over from, just ends and starts. Stops at `until`.
  void upgrade(time_point_ns until);
  /// Has experts moved to where the load is. By `way`, from 0 to 1: looks at a plan first, and
  /// applies it within `lasts`; applies one at once; or applies one and takes it back half way.
  void rebalance(double way, duration_ns lasts);
  void stop_upgrade() { upgrade_.reset(); }
  std::size_t upgraded() const { return upgraded_; }

private:
  struct rolling {
    std::vector<node_id> nodes;
    std::size_t next = 0;
    incarnation before;  // of the node that is away
    bool is_away = false;
    time_point_ns until;
    std::uint64_t id = 0;
  };

  void tell(std::function<void(cluster::control&, time_point_ns)> what);
  void go_on_with_plan(std::uint64_t request, bool takes_back, duration_ns wait);
  void wait_for_requests(life& of, time_point_ns until, duration_ns away);
  void ask_to_go(life& of, duration_ns away);
  void go_on(std::uint64_t id);
  bool is_at_rest(const cluster::cluster_view& view) const;
  node_id coordinator() const { return in_.plan().nodes.front().id; }

  cluster_world& in_;
  overseer& watch_;
  supervisor by_;
  std::set<node_id> out_of_use_;
  std::optional<rolling> upgrade_;
  std::uint64_t upgrades_ = 0;
  std::size_t upgraded_ = 0;  // nodes
};

}  // namespace atl::sim
