// Coordinator: knows the members, decides the placement, and has it carried out.
//   start -> membership -> first placement -> load orders to the agents -> all placed -> place to
//   the routers -> ready
// Load reports of the agents add up to the counters that balancing will read.
#pragma once

#include "actors/mailroom.hpp"
#include "actors/messages.hpp"
#include "cluster/initial_plan.hpp"

#include <functional>
#include <memory>
#include <vector>

namespace atl::actors {

struct coordinator_parts {
  mailroom* mail = nullptr;
  cluster::member member;  // the node that joins, with its groups and memory
  cluster::placed_model model;
  std::uint32_t replicas = 1;
  std::int64_t layers = 0;
  std::vector<transport::address> routers;
  std::function<void(result<void>)>
      ready;  // called once, when the first placement is in force or has failed
};

coordinator_actor spawn_coordinator(caf::actor_system& system, const coordinator_parts& parts);

}  // namespace atl::actors
