// What the coordinator keeps of balancing over its own death: the policy, plans and how they went,
// and the goal that is in force (records.hpp tells how records work).
#pragma once

#include "experts/placement/expert_map.hpp"
#include "runtime/base/ids.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace atl::cluster {

/// Where copies should be, and what part of its expert's rows each is to compute (repair_plan.hpp).
struct placement_goal {
  experts::replica_lists copies;  // by expert
  std::vector<group_id> known;    // groups that were there when it was made, ascending
  std::uint64_t plan = 0;         // that made it; 0: it is where copies were
  friend bool operator==(const placement_goal&, const placement_goal&) = default;
};

/// What the coordinator does of its own accord about uneven loads.
enum class balance_policy : std::uint8_t {
  off,     // nothing
  advise,  // makes plans, and leaves them to operators
  automatic
};
/// "off", "advise", "auto".
std::string_view to_string(balance_policy policy) noexcept;
std::optional<balance_policy> policy_of(std::string_view name) noexcept;

enum class plan_state : std::uint8_t {
  advised,  // waits for somebody to apply it
  applying,
  done,
  superseded,  // another took its place, or what it was made of has changed
  cancelled,   // all is as before it
  failed       // likewise
};
std::string_view to_string(plan_state state) noexcept;

/// One copy that is made or given up.
struct plan_step {
  bool is_made = false;
  layer_index layer = {};
  expert_index expert = {};
  node_id node = {};
  std::uint32_t percent = 0;  // of the expert's rows, of a copy that is made
  std::string reason = {};    // a word (elastic.hpp)
  friend bool operator==(const plan_step&, const plan_step&) = default;
};

/// Of the layer that is worst: the finishing time of its slowest node over that of an even spread
/// (the hottest node's load over the mean where speeds are equal); and the finishing time of all
/// layers, in seconds for each second's rows. Absent where it is not known.
struct plan_balance_figures {
  std::optional<double> hottest = {};
  std::optional<double> finish = {};
  friend bool operator==(const plan_balance_figures&, const plan_balance_figures&) = default;
};

/// Where an operator wants an expert to be: its nodes, and what part of its rows each is to compute
/// (0: an equal one).
struct wanted_place {
  layer_index layer = {};
  expert_index expert = {};
  std::vector<std::pair<node_id, double>> nodes = {};
};

/// Of a request with an Idempotency-Key: as the client gave it, and what tells another request.
struct request_key {
  std::string key;
  std::string digest;
  friend bool operator==(const request_key&, const request_key&) = default;
};

struct plan_record {
  static constexpr std::size_t steps_max = 128;
  static constexpr std::size_t keys_max = 4;  // the latest
  static constexpr std::size_t sentences_max = 16;

  std::uint64_t id = 0;
  plan_state state = plan_state::advised;
  bool is_policys = false;  // otherwise an operator's
  std::string reason = {};  // a sentence
  std::int64_t created_unix_ms = 0;
  std::int64_t applied_unix_ms = 0;  // 0: not yet
  std::int64_t ended_unix_ms = 0;    // 0: it has not
  std::uint64_t epoch = 0;           // of the placement that it was made for
  // Predicted.
  plan_balance_figures before = {}, after = {};
  std::uint64_t bytes = 0;                  // to be moved
  std::uint64_t moves = 0;                  // copies made
  std::uint64_t drops = 0;                  // copies given up
  std::vector<plan_step> steps = {};        // the first of them
  std::vector<std::string> sentences = {};  // for people, the most telling first
  // What happened.
  std::optional<double> measured_hottest = {};  // by rows that nodes computed after it
  std::uint64_t bytes_moved = 0;
  std::int64_t took_ms = 0;  // from applied to ended
  std::string detail = {};   // for people: why it ended as it did
  std::vector<request_key> asked_by = {};
  friend bool operator==(const plan_record&, const plan_record&) = default;
};

std::string to_record(balance_policy policy);
std::string to_record(const plan_record& p);
std::string forget_plan(std::uint64_t id);
/// The goal in force, or with `is_before` the one that cancelling a plan leads back to. Empty:
/// there is none.
std::string to_record(const std::optional<placement_goal>& goal, bool is_before);

}  // namespace atl::cluster
