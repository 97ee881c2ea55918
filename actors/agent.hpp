// Node agent: carries out the coordinator's orders on its node and reports what the node does.
//   load (layer, experts, group) -> the group takes them on -> placed
//   report -> the groups' counters since the last report -> load_report
#pragma once

#include "actors/mailroom.hpp"
#include "actors/messages.hpp"

#include <memory>
#include <vector>

namespace atl::actors {

struct agent_parts {
  mailroom* mail = nullptr;
  node_id coordinator_node;
  std::shared_ptr<const model::model_weights> weights;
  std::vector<group_actor> groups;  // by group id
};

agent_actor spawn_agent(caf::actor_system& system, const agent_parts& parts);

}  // namespace atl::actors
