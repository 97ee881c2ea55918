// What the coordinator's mind (control.hpp) remembers while it lives. For the .cpp files of
// control.
#pragma once

#include "cluster/elastic/detector.hpp"
#include "cluster/placement_types.hpp"
#include "transport/wire/control.hpp"

#include <map>
#include <optional>
#include <string>
#include <utility>
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

/// Why a plan is made.
struct plan_wish {
  bool is_policys = false;
  bool is_applied = false;     // at once
  bool is_of_members = false;  // who came or went: small gains count too
  std::string reason;
};

/// Of balancing (control_balance.cpp).
struct balance_state {
  /// Who could hold copies: what a plan was made for.
  using fleet = std::vector<std::pair<group_id, node_intake>>;
  struct advice {
    placement_goal goal;
    fleet made_for;
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

}  // namespace atl::cluster
