// Coordinator: knows the members, decides who holds which expert, and has it carried out. It thinks
// in cluster/control.hpp; here is what that needs of the world: messages in, effects out in their
// order, and nothing sent before the records that it depends on are durable.
//   join, placed, adopted, load_report, path_report, leave, peer_changed, tick, control_call
//   -> control -> records to the journal -> welcome, members, place, load, release, dismissed
// A journal that fails is tried again every second. Commands are told its error; what they decided
// stands and is written as soon as it can be. Meanwhile placements go on, from numbers that were
// reserved before. Load reports add up to the counters that balancing will read.
#pragma once

#include "actors/mailroom.hpp"
#include "actors/messages.hpp"
#include "cluster/control.hpp"
#include "runtime/base/clock.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace atl::actors {

/// A command or a question of an operator, from any thread. `run` is called by the coordinator and
/// returns within a millisecond; then `done`, once: when what it decided is durable, or with the
/// disk's error.
struct control_call {
  std::function<void(cluster::control&, time_point_ns now)> run;
  std::function<void(result<void>)> done;  // may be empty
};

/// Appends records to stable storage, in the order of calls, and tells from any thread when they
/// are there. Not called again before it has told.
using journal_function =
    std::function<void(std::vector<std::string> records, std::function<void(result<void>)> done)>;

struct coordinator_parts {
  mailroom* mail = nullptr;
  const clock* time = nullptr;
  cluster::control_settings settings;
  cluster::durable_state restored;
  journal_function journal;  // empty: nothing is kept
  std::int64_t layers = 0;   // of the model, for the counters
  /// A cluster of one process ends with the first load that fails; another looks for other places.
  bool fails_fast = false;
  std::function<void(result<void>)>
      ready;  // called once, when the first placement is in force or cannot be
  // Of a node whose agent does not join by itself: what to say in its place, and its routers.
  std::optional<transport::wire::join> own_join;
  std::vector<transport::address> routers;
};

coordinator_actor spawn_coordinator(caf::actor_system& system, const coordinator_parts& parts);

}  // namespace atl::actors
