// Strikes a cluster with the faults of a plan, starts again what died, and heals all in the end.
// One thread.
#pragma once

#include "tests/sim/faults.hpp"
#include "tests/sim/ledger.hpp"
#include "tests/sim/overseer.hpp"

#include <optional>
#include <set>

namespace atl::sim {

class striker {
public:
  striker(cluster_world& in, overseer& watch, verdicts& found);
  void set_clients(ledger& clients) { clients_ = &clients; }

  void strike(const fault& f);
  /// Everything cut is joined, what stands still goes on, what is dead begins a new life.
  void heal();
  /// What became of a life: where its time is over, the node begins the next, as programs do.
  void ended(life& of, const std::optional<error>& why);
  /// Sees every frame sent; false: its sender died before it left.
  bool passes(transport::node_identity from, const transport::frame& f);
  /// Nodes that were drained come back into use.
  void undo_drains();
  std::size_t struck() const { return struck_; }

private:
  void die(node_id node, bool is_told);
  void start_later(node_id node, duration_ns wait);
  void start(node_id node);
  void crash_coordinator(bool is_told, bool loses_power);
  void arm_crash(const fault& f);
  void freeze(const fault& f);
  void cut(const fault& f);
  void set_cut(node_id from, node_id to, transport::plane path, bool is_cut, bool is_reset);
  void spoil_wires(const fault& f, bool is_over);
  void apply_wires();
  void fail_disk(const fault& f);
  void touch(const fault& f);
  node_id coordinator() const { return in_.plan().nodes.front().id; }

  struct trap {
    transport::frame_kind kind = transport::frame_kind::place;
    std::uint64_t passes = 0;  // frames of that kind before
    bool is_sent = false;      // the last one still leaves
  };

  cluster_world& in_;
  overseer& watch_;
  verdicts& found_;
  ledger* clients_ = nullptr;
  random_source random_;
  wire_faults data_, control_;
  std::optional<node_id> corrupted_;  // its control path
  std::set<node_id> drained_;
  std::optional<trap> trap_;
  bool is_healed_ = false;
  std::size_t struck_ = 0;
};

}  // namespace atl::sim
