// What the coordinator's mind (control.hpp) remembers while it lives. For the .cpp files of
// control.
#pragma once

#include "cluster/elastic/detector.hpp"
#include "cluster/placement_driver.hpp"
#include "cluster/placement_types.hpp"
#include "cluster/plan_desk.hpp"
#include "cluster/records.hpp"
#include "transport/wire/control.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace atl::cluster {

/// A member.
struct live_node {
  transport::wire::join said;
  incarnation life;
  bool is_suspect = false;
  std::optional<std::string> given_up;  // why, while nobody else is heard either
  time_point_ns since;
  transport::wire::load_report load;
  std::optional<time_point_ns> reported_at;
  std::string note;
  epoch used;
  bool is_told = false;  // the others know of it: it may get experts
};

/// Of the list of members that all of them get.
struct member_news {
  bool is_untold = false;       // it has changed since it was sent
  bool are_seats_stale = true;  // where experts may go follows from members too
  std::optional<time_point_ns> told_at = {};

  void change() { is_untold = are_seats_stale = true; }
};

/// A drain that runs.
struct drain_state {
  std::uint64_t operation = 0;
  bool is_leave = false;
  bool is_forced = false;
  time_point_ns since = {};
  time_point_ns deadline = {};
  std::size_t copies = 0;  // on the node when it began
};

/// Of balancing (control_planning.cpp, control_balance.cpp).
struct balance_state {
  struct advice {
    placement_goal goal;
    plan_premise::fleet made_for;
  };
  /// Rows that nodes computed after a plan, by layer.
  struct measuring {
    std::uint64_t plan = 0;
    time_point_ns from = {};
    time_point_ns until = {};
    std::map<node_id, std::map<layer_index, double>> rows = {};
  };

  /// Reports come every 250 ms while there is load.
  bool is_due(time_point_ns now) const {
    return !looked_at || now >= *looked_at + std::chrono::milliseconds{250};
  }

  elastic_detector detector;
  std::uint64_t orders = 0;  // how often a goal, or what operators ask of an expert, has changed
  std::map<std::uint64_t, advice> advised;  // by plan
  std::optional<std::uint64_t> applying;    // plan
  goal_distance first, left;                // of it
  time_point_ns moved_at = {};              // it came closer
  std::uint64_t loaded_before = 0;          // copies, ever, when it began
  std::string trouble = {};                 // the last since it began
  bool has_more = false;                    // the last plan ended at its budget
  std::optional<time_point_ns> looked_at;
  std::optional<time_point_ns> advised_at;
  std::optional<time_point_ns> rests_until;  // the policy, after an operator cancelled a plan
  std::optional<measuring> measure;
  bool is_goal_written = true;
};

plan_premise::fleet fleet_of(const placement_driver& driver, const durable_state& kept);
/// A goal that is where copies are, or should be by a plan.
placement_goal goal_of(const elastic_input& in, experts::replica_lists copies, std::uint64_t plan);

}  // namespace atl::cluster
