// A cluster of nodes in one thread and virtual time: the actors that real processes run, put
// together by actors::assemble, each node with its own device, mailroom and two paths. The seed
// decides which actor takes its turn next, how long jobs and writes take and when frames arrive;
// nothing else does. Nodes can be killed, started again as later lives, frozen and slowed down.
//
// Owners: the world owns all; what runs in it borrows. One thread.
#pragma once

#include "actors/assembly.hpp"
#include "cluster/journal.hpp"
#include "runtime/base/random.hpp"
#include "tests/sim/sim_device.hpp"
#include "tests/sim/wiring.hpp"
#include "tests/support/memory_disk.hpp"
#include "transport/sim/sim.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace caf::scheduler {
class test_coordinator;
}

namespace atl::sim {

struct node_plan {
  node_id id;
  std::uint32_t roles = 0;
  bool has_checkpoint = true;  // an expert node without one fetches from others
};

struct world_plan {
  std::uint64_t seed = 1;
  std::vector<node_plan> nodes;  // the first is the coordinator
  std::uint32_t copies = 2;
  std::size_t experts_max = 16;  // (layer, expert) that fit into an expert node
  std::int64_t prefill_chunk = 16;
  int lane_sequences_min = 1;
  std::int64_t group_rows_max = 16;
  cluster::watch_limits watch;
  cluster::balance_policy policy = cluster::balance_policy::automatic;
  std::size_t moves_max = 256;  // copies in one plan
  std::size_t extra_pages = 0;  // beyond what a shard may use, for mutations
  bool leaves_actors = false;   // of dead lives, likewise
};

/// One life of a node.
struct life {
  const node_plan* plan = nullptr;
  transport::node_identity who;
  std::unique_ptr<sim_device> device;
  std::shared_ptr<wire_transport> data, control;
  std::optional<actors::assembly> all;
  std::optional<cluster::journal> log;
  bool is_in_doubt = false;                    // the log, after an error
  std::vector<std::function<void()>> waiting;  // until it thaws
  time_point_ns disk_free;                     // what it wrote so far is done
  std::uint64_t last_request = 0;
  bool is_ready = false;
  bool is_frozen = false;
  bool is_leaving = false;  // takes no requests any more
  bool is_dead = false;
};

class cluster_world {
public:
  /// What the run wants to know or to change. May be empty.
  struct hooks {
    std::function<void(life&, result<void>)> ready;
    std::function<void(life&, std::optional<error>)> ended;
    std::function<bool(const std::string& record)> keeps_record;  // false: lost, and acknowledged
    /// Before a record is written, and when it is durable; the writer may die there.
    std::function<void(life&, bool is_durable)> at_record;
    std::function<void(life&)> compacted;  // or not; before anybody else is told
    /// A process ended, for want of memory where it does not say what for.
    std::function<void(life&, const std::string& what)> crashed;
  };

  cluster_world(world_plan plan, std::shared_ptr<const model::model_weights> weights);
  ~cluster_world();
  cluster_world(const cluster_world&) = delete;
  cluster_world& operator=(const cluster_world&) = delete;

  /// Ends all nodes, and with them whatever calls those who watch.
  void shut_down();

  void set_hooks(hooks h) { hooks_ = std::move(h); }
  /// The node's next life. errc::io: its journal cannot be read now.
  result<void> start(node_id node);
  void kill(node_id node, bool is_told);
  void freeze(node_id node);
  void thaw(node_id node);
  void slow_down(node_id node, double factor);
  /// Handlers on that node are refused memory with this chance.
  void starve(node_id node, double chance) { starved_[node] = chance; }
  /// The node's calendar is off by so much. Nothing but what people read, and whom a new
  /// connection trusts, may depend on it.
  void set_calendar(node_id node, duration_ns off) { calendars_[node] = off; }
  std::int64_t unix_ms(node_id node) const;
  /// When a connection between the two was last refused, in either direction, for what their
  /// calendars say.
  std::optional<time_point_ns> refused_at(node_id a, node_id b) const;
  /// What the node's next lives say of themselves.
  void set_version(node_id node, const std::string& version) { versions_[node] = version; }

  // The coordinator's disk.
  /// Loss of power.
  void lose_power() { disk_->crash(random_); }
  test::memory_disk& disk() { return *disk_; }
  /// Has the coordinator compact its journal, as its host does now and then.
  void compact_journal();
  bool is_compacting() const noexcept { return is_compacting_; }

  /// One turn of an actor, or one event of the outside world; false: nothing will ever happen.
  bool step();
  time_point_ns now() const { return time_->now(); }
  void after(duration_ns wait, std::function<void()> run) { events()->at(now() + wait, run); }
  std::shared_ptr<transport::event_queue> events() const { return data_net_.events(); }

  wiring& wires() { return wires_; }
  random_source& random() { return random_; }
  const world_plan& plan() const { return plan_; }
  const model::model_weights& weights() const { return *weights_; }
  std::size_t pages_total() const;
  /// The present life; null before the first. It may be dead.
  life* at(node_id node);
  bool is_up(node_id node);
  std::uint64_t turns() const { return turns_; }
  std::uint64_t trace_hash() const;

  // At rest: what is held, by asking.
  template <class Handle>
  actors::held held_by(const Handle& whom);
  /// Of all nodes that are up.
  actors::held held_by_all();
  std::size_t actors_running();
  std::size_t actors_of_living() const;
  caf::actor_system& system() { return *system_; }

private:
  bool turn();
  const life* owner_of(std::size_t job) const;
  void run_job();
  std::optional<time_point_ns> next_event() const;
  void advance();
  void catch_up();
  actors::node_setup setup_of(life& of);
  result<void> open_journal(life& of, cluster::durable_state& restored);
  void use_disk(life& by, std::function<void()> work);
  void use_planner(life& by,
                   std::shared_ptr<const cluster::elastic_input> input,
                   const actors::plan_done& done);
  void write(life& by,
             const std::vector<std::string>& records,
             const std::function<void(result<void>)>& done);
  result<void> append(life& by, const std::string& record);
  result<void> reopen(life& by);
  void compact(life& by, const std::vector<std::string>& records);
  result<void> check_connection(node_id a, node_id b);
  result<void> compare_calendars(node_id a, node_id b) const;
  void end_actors(life& of);

  world_plan plan_;
  std::shared_ptr<const model::model_weights> weights_;
  random_source random_;
  std::shared_ptr<virtual_clock> time_;
  transport::sim_network data_net_, control_net_;
  wiring wires_;
  std::shared_ptr<test::memory_disk> disk_;
  caf::actor_system_config config_;
  std::optional<caf::actor_system> system_;
  caf::scheduler::test_coordinator* scheduler_ = nullptr;
  hooks hooks_;
  std::vector<std::unique_ptr<life>> lives_;
  std::map<node_id, life*> present_;
  std::map<std::uint64_t, life*> owners_;  // of actors
  std::map<node_id, duration_ns> calendars_;
  std::map<std::pair<node_id, node_id>, time_point_ns> refused_;  // the lower number first
  std::map<node_id, std::string> versions_;
  std::map<node_id, double> starved_;
  bool is_compacting_ = false;
  std::size_t frozen_ = 0;
  std::uint64_t turns_ = 0;
};

}  // namespace atl::sim
