// Strikes a cluster with the faults of a plan, starts again what died, and heals all in the end.
// One thread.
#pragma once

#include "tests/sim/crash_steps.hpp"
#include "tests/sim/faults.hpp"
#include "tests/sim/ledger.hpp"
#include "tests/sim/operations.hpp"
#include "tests/sim/overseer.hpp"

#include <map>
#include <optional>
#include <string>

namespace atl::sim {

class striker {
public:
  striker(cluster_world& in, overseer& watch, verdicts& found);
  void set_clients(ledger& clients) { clients_ = &clients; }

  void strike(const fault& f);
  /// From now on an operator has experts moved when something strikes, every second time.
  void set_restless() { is_restless_ = true; }
  /// Everything cut is joined, what stands still goes on, what is dead begins a new life.
  void heal();
  /// What became of a life: where its time is over, the node begins the next, as programs do.
  void ended(life& of, const std::optional<error>& why);
  /// Sees every frame sent; false: its sender died before it left.
  bool passes(transport::node_identity from, const transport::frame& f);
  /// The coordinator is about to write a record, or has it on its disk.
  void at_record(bool is_durable);
  /// A process ended because it could not go on.
  void crashed(life& of, const std::string& what);
  /// The coordinator's journal was compacted, or not.
  void compacted();
  /// Nodes that were drained or cordoned come back into use.
  void undo_operations() { operators_.undo(); }
  std::size_t struck() const { return struck_; }
  /// How often what was reached: kinds of faults, steps of changes.
  const std::map<std::string, std::size_t>& reached() const { return reached_; }

private:
  void hit(const fault& f);
  void die(node_id node, bool is_told);
  void start_later(node_id node, duration_ns wait);
  void start(node_id node);
  void crash_coordinator(bool is_told, bool loses_power);
  void crash_in_placement(const fault& f);
  void crash_in_compaction(const fault& f);
  void spring_trap();
  void freeze(const fault& f);
  void cut(const fault& f);
  void set_cut(node_id from, node_id to, transport::plane path, bool is_cut, bool is_reset);
  void spoil_wires(const fault& f, bool is_over);
  void apply_wires();
  void jump_calendar(const fault& f);
  void fail_disk(const fault& f);
  bool does_disk_fail(test::disk_operation what);
  void touch(const fault& f);
  node_id coordinator() const { return in_.plan().nodes.front().id; }

  struct trap {
    placement_step step;
    std::uint64_t passes = 0;  // of the same, before
    bool is_told = false;      // peers, when it dies
    bool loses_power = false;
    bool is_due = false;  // in a moment
  };

  cluster_world& in_;
  overseer& watch_;
  verdicts& found_;
  ledger* clients_ = nullptr;
  random_source random_;
  operations operators_;
  wire_faults data_, control_;
  std::optional<node_id> corrupted_;  // its control path
  std::map<node_id, duration_ns> control_delays_;
  std::optional<trap> trap_;
  std::optional<compaction_count> compaction_;
  bool compaction_is_there_ = false;
  time_point_ns disk_bad_until_{};
  double disk_bad_ = 0;
  std::map<std::string, std::size_t> reached_;
  bool is_healed_ = false;
  bool is_restless_ = false;
  std::size_t struck_ = 0;
};

}  // namespace atl::sim
