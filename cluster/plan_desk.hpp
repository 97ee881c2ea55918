// Who waits for a plan of copies, which one is being made, and what came of those before. Plans are
// made beside the coordinator's mind (plan_effect), one at a time; requests of operators wait for
// each other and are answered in their order. Pure; one owner. Nothing of it outlives a restart:
// who asked has lost his connection by then.
#pragma once

#include "cluster/elastic/elastic.hpp"
#include "cluster/plan_records.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace atl::cluster {

/// Why a plan is made.
struct plan_wish {
  bool is_policys = false;
  bool is_applied = false;     // at once
  bool is_of_members = false;  // who came or went: small gains count too
  std::string reason = {};
  std::uint64_t request = 0;   // of an operator, who waits for it
  std::uint32_t attempts = 0;  // that came to nothing, since what they were made of had changed
  std::int64_t asked_unix_ms = 0;
  std::optional<request_key> by = {};
};

/// What a plan is made for: it is worth nothing where that is different when it is there.
struct plan_premise {
  /// Who could hold copies.
  using fleet = std::vector<std::pair<group_id, node_intake>>;
  fleet groups;
  std::uint64_t orders = 0;  // how often a goal, or what operators ask of an expert, had changed
  std::optional<std::uint64_t> applying;  // plan
  epoch map;                              // 0 while copies come and go as that plan wants
  friend bool operator==(const plan_premise&, const plan_premise&) = default;
};

/// A plan that is being made.
struct plan_job {
  std::uint64_t number = 0;
  plan_wish why;
  std::shared_ptr<const elastic_input> input;
  plan_premise made_for;
};

class plan_desk {
public:
  /// A number for the operator's request. errc::overloaded: too many wait.
  result<std::uint64_t> ask(plan_wish why);
  /// Before all others.
  void ask_again(plan_wish why) { asked_.push_front(std::move(why)); }
  /// The next one to be made; none while one is being made.
  std::optional<plan_wish> next();
  bool is_busy() const noexcept { return job_.has_value(); }
  /// The job's number.
  std::uint64_t
  begin(plan_wish why, std::shared_ptr<const elastic_input> input, plan_premise made_for);
  /// None where that is not the job that is being made.
  std::optional<plan_job> end(std::uint64_t job);
  void answer(std::uint64_t request, result<std::uint64_t> plan);

  /// None while it is made or waits. errc::not_found: no such request, or long ago.
  result<std::optional<std::uint64_t>> plan_of(std::uint64_t request) const;
  /// A request that waits is repeated with this key: it is the same one.
  void note_key(std::uint64_t request, const request_key& by);
  /// The request that waits and was made with that key, and what else is known of it.
  std::optional<std::pair<std::uint64_t, request_key>> asked_by(const std::string& key) const;

private:
  std::vector<const plan_wish*> waiting() const;

  std::optional<plan_job> job_;
  std::deque<plan_wish> asked_;
  std::map<std::uint64_t, result<std::uint64_t>> answered_;  // the last, by request
  std::uint64_t jobs_ = 0;                                   // ever
  std::uint64_t requests_ = 0;                               // likewise
};

}  // namespace atl::cluster
