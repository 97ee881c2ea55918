// What a placement driver (placement_driver.hpp) is made for, what it is told, and what it tells.
#pragma once

#include "cluster/plan_records.hpp"
#include "cluster/repair_plan.hpp"
#include "runtime/base/clock.hpp"
#include "transport/wire/messages.hpp"

#include <chrono>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

namespace atl::cluster {

struct driver_settings {
  experts::expert_shape shape;
  std::uint32_t copies = 1;
  std::size_t moves_max = 0;         // repair_input
  std::uint32_t order_experts = 32;  // of one load order: its answer shows progress
  std::uint32_t orders_open = 4;     // at one group
  duration_ns load_patience = std::chrono::minutes{2};       // for the answer to one order
  duration_ns flip_gap = std::chrono::milliseconds{50};      // between maps while loads are open
  duration_ns retry_first = std::chrono::milliseconds{250};  // doubles up to retry_max
  duration_ns retry_max = std::chrono::minutes{1};
};

/// A living group.
struct seat {
  holder who = {};
  std::uint32_t slot = 0;   // on its node
  bool has_weights = true;  // the checkpoint; otherwise it fetches from who holds an expert
};

/// What the coordinator is to send to an agent.
struct placement_message {
  node_id to;
  std::variant<transport::wire::place, transport::wire::load, transport::wire::release> body;
};

struct placement_summary {
  atl::epoch epoch;              // in force or being adopted, 0: none yet
  std::size_t experts = 0;       // (layer, expert)
  std::size_t copies_least = 0;  // in the map, of any expert
  std::size_t without_copy = 0;  // experts without one
  std::size_t loads_open = 0;    // copies ordered and not answered
  std::size_t loads_left = 0;    // copies that the plan wants and that are not held
  std::size_t unplaceable = 0;   // experts for which there is no memory
  std::size_t short_of = 0;  // experts with fewer copies than wanted, for want of nodes or memory
};

struct node_copies {
  std::size_t held = 0;     // usable
  std::size_t mapped = 0;   // of those, in the map
  std::size_t leaving = 0;  // out of the map, not released yet
  std::size_t loading = 0;  // ordered, not answered
};

enum class copy_state : std::uint8_t {
  loading,  // ordered, not answered
  held,     // not in the map
  serving,  // in the map
  leaving,  // out of the map, not released yet
};
std::string_view to_string(copy_state state) noexcept;

/// What is asked for one expert besides what all get.
struct expert_wish {
  std::optional<std::uint32_t> copies = {};  // absent: those of all, 0: none
  std::vector<node_id> pins = {};            // it gets, and keeps, a copy there
  std::vector<node_id> unwanted = {};        // gives its copy up once there are enough others
  friend bool operator==(const expert_wish&, const expert_wish&) = default;
};

/// How far the placement is from the goal, as far as groups that take copies are here.
struct goal_distance {
  std::size_t missing = 0;  // copies of the goal that do not serve
  std::size_t extra = 0;    // copies that the goal does not name and that are not released
};

/// A copy that a group has, or is to have.
struct copy_view {
  group_id group;
  node_id node;
  copy_state state = copy_state::loading;
  std::uint32_t share = 1;  // of the expert's rows, against those of the other serving copies
};

}  // namespace atl::cluster
