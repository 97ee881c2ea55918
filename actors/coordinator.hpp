// Coordinator: knows the members, decides who holds which expert, and has it carried out. It thinks
// in cluster/control.hpp; here is what that needs of the world: messages in, effects out in their
// order, and nothing sent before the records that it depends on are durable.
//   join, placed, adopted, load_report, path_report, leave, peer_changed, tick, control_call, plans
//   -> control -> records to the journal -> welcome, members, place, load, release, dismissed
//             \-> plans to be made, beside the actor
// A journal that fails is tried again with each message, and every second. Commands are told its
// error; what they decided stands and is written as soon as it can be. Meanwhile placements go on,
// from numbers that were reserved before. Load reports add up to the counters that balancing will
// read.
#pragma once

#include "actors/control_call.hpp"
#include "actors/mailroom.hpp"
#include "actors/messages.hpp"
#include "cluster/control.hpp"
#include "runtime/base/clock.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace atl::actors {

struct coordinator_parts {
  mailroom* mail = nullptr;
  const clock* time = nullptr;
  cluster::control_settings settings;
  cluster::durable_state restored;
  journal_function journal;  // empty: nothing is kept
  plan_function plan;        // whoever balances needs it
  std::int64_t layers = 0;   // of the model, for the counters
  /// A cluster of one process ends with the first load that fails; another looks for other places.
  bool fails_fast = false;
  std::function<void(result<void>)>
      ready;  // called once, when the first placement is in force or cannot be
};

coordinator_actor spawn_coordinator(caf::actor_system& system, const coordinator_parts& parts);

}  // namespace atl::actors
