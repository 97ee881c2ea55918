// What the coordinator knows, as plain values for people and programs: answers of its commands.
#pragma once

#include "cluster/expert_loads.hpp"
#include "cluster/placement_driver.hpp"
#include "cluster/records.hpp"
#include "transport/transport.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace atl::cluster {

enum class node_state : std::uint8_t {
  absent,  // admitted, not here
  alive,
  suspect,
  cordoned,
  draining,
  drained,
  removed,
};
std::string_view to_string(node_state state) noexcept;

struct node_view {
  node_id node;
  std::string name;
  node_state state = node_state::absent;
  std::string note;           // for people: why it is as it is, may be empty
  bool is_drained = false;    // stays out of use until uncordoned, here or not
  std::uint32_t roles = 0;    // that it has now, or may take if it is absent
  incarnation life;           // 0: it has not been here
  std::int64_t since_ms = 0;  // it has been here, at the clock of the coordinator's process
  std::string version;
  std::string address;  // for data frames over TLS
  std::uint32_t group_first = 0;
  std::uint32_t groups = 0;
  std::uint32_t shard_first = 0;
  std::uint32_t shards = 0;
  std::uint64_t expert_bytes_max = 0;
  float speed = 0;     // rows/s of one expert, measured at its start; 0: not known
  std::string domain;  // what fails with it
  std::string device;
  std::string instruction_set;
  std::uint64_t memory_bytes = 0;
  // Of its last report.
  std::uint64_t requests = 0;
  std::uint64_t sequences = 0;
  std::uint64_t pages_used = 0;
  std::uint64_t rows_in_flight = 0;
  std::uint64_t expert_bytes = 0;
  float speed_now = 0;        // the speed as calls of late showed it; 0: not known
  std::uint64_t busy_ms = 0;  // in which its groups computed, since its life began
  node_copies copies;
  epoch used;  // the placement its routers use
};

/// One (layer, expert).
struct expert_view {
  layer_index layer;
  expert_index expert;
  std::uint32_t copies_wanted = 0;
  std::vector<copy_view> copies;  // by ascending group
  std::vector<node_id> pins;      // ascending
  expert_load_rates load;         // as of the last report of any node
};

struct event {
  std::uint64_t revision = 0;  // grows with each event, over restarts too
  std::int64_t unix_ms = 0;
  std::string
      kind;  // "joined", "suspect", "died", "left", "placement", "operation", "refused", ...
  node_id node = {};  // 0: of no node
  std::string text;
};

struct cluster_view {
  std::string cluster;
  std::uint64_t revision = 0;  // of the last event
  std::uint64_t members_version = 0;
  bool is_ready = false;      // a first placement has been in force
  std::string waiting_for;    // for people; empty once placements are made
  bool is_balancing = false;  // a plan is applied: copies are loaded that nothing needs
  placement_summary placement;
  std::uint32_t copies_wanted = 0;
  std::vector<node_view> nodes;       // by ascending node, removed ones too
  std::vector<operation> operations;  // by ascending id
};

}  // namespace atl::cluster
