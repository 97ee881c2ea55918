#include "cluster/control.hpp"
#include "runtime/base/assert.hpp"

#include <algorithm>
#include <cmath>

namespace atl::cluster {

namespace wire = transport::wire;

namespace {

constexpr std::size_t plans_kept = 64;
/// What is only advised is not made anew more often.
constexpr duration_ns advice_gap = std::chrono::minutes{1};
/// The policy lets an operator's cancelling stand for so long.
constexpr duration_ns rest_after_cancel = std::chrono::minutes{1};
/// Rows are measured from when those of before have been reported.
constexpr duration_ns measure_after = std::chrono::seconds{2};
constexpr duration_ns measure_for = std::chrono::seconds{10};
/// Of a layer, below which its measured balance is an accident of small counts.
constexpr double rows_measured_min = 1000;

error refused(const std::string& why) { return {errc::invalid_argument, why}; }

error unknown(std::uint64_t id) {
  return {errc::not_found, "there is no plan " + std::to_string(id)};
}

std::string named(const plan_record& p) { return "plan " + std::to_string(p.id); }

bool is_over(plan_state s) { return s != plan_state::advised && s != plan_state::applying; }

}  // namespace

void control::set_goal(std::optional<placement_goal> goal, bool is_before) {
  effects_.emplace_back(record_effect{to_record(goal, is_before), false, true});
  if (!is_before) {
    driver_.set_goal(goal);
    ++balance_.orders;
  }
  (is_before ? kept_.goal_before : kept_.goal) = std::move(goal);
}

plan_record& control::keep_plan(plan_record p) {
  for (auto at = kept_.plans.begin();
       kept_.plans.size() >= plans_kept && at != kept_.plans.end();) {
    if (!is_over(at->second.state)) {
      ++at;
      continue;
    }
    record(forget_plan(at->first), false);
    at = kept_.plans.erase(at);
  }
  p.id = kept_.counters.plan_next++;
  record(to_record(kept_.counters), true);
  return kept_.plans[p.id] = std::move(p);
}

/// In place of the one that is applied, if there is one; its copies are where the new one begins.
void control::begin_plan(plan_record& p, placement_goal goal, time_point_ns now) {
  const std::uint64_t id = p.id;
  balance_.advised.erase(id);
  if (balance_.applying) {
    end_plan(kept_.plans.at(*balance_.applying),
             plan_state::superseded,
             named(p) + " took its place: " + p.reason);
  } else {
    const auto& before = driver_.goal();
    set_goal(before ? *before : goal_of(facts(now), driver_.facts().present, 0), true);
  }
  p.state = plan_state::applying;
  p.applied_unix_ms = unix_ms();
  record(to_record(p), false);
  set_goal(std::move(goal), false);
  balance_.applying = id;
  balance_.measure.reset();
  balance_.first = balance_.left = driver_.distance();
  balance_.moved_at = now;
  balance_.trouble.clear();
  balance_.loaded_before = driver_.copies_loaded();
  tell("plan", {}, named(p) + " is applied: " + p.reason);
}

void control::end_plan(plan_record& p, plan_state state, const std::string& detail) {
  const bool was_applied = p.state == plan_state::applying;
  p.state = state;
  p.detail = detail;
  p.ended_unix_ms = unix_ms();
  if (was_applied) {
    p.took_ms = std::max<std::int64_t>(0, p.ended_unix_ms - p.applied_unix_ms);
    p.bytes_moved =
        (driver_.copies_loaded() - balance_.loaded_before) * settings_.model.expert_bytes;
    balance_.applying.reset();
    if (state != plan_state::superseded) set_goal(std::nullopt, true);
  }
  balance_.advised.erase(p.id);
  record(to_record(p), false);
  tell("plan",
       {},
       named(p) + " " + std::string{to_string(state)} + (detail.empty() ? "" : ": " + detail));
}

void control::take_back(plan_record& p, plan_state state, const std::string& why) {
  if (p.state == plan_state::applying) set_goal(kept_.goal_before, false);
  end_plan(p, state, why);
}

/// Ends the plan that is applied when all of it is so, or nothing of it comes true any more.
bool control::follow_plan(time_point_ns now) {
  if (!balance_.applying) return false;
  plan_record& p = kept_.plans.at(*balance_.applying);
  const goal_distance left = driver_.distance();
  const bool is_closer = left.missing + left.extra != balance_.left.missing + balance_.left.extra;
  balance_.left = left;
  if (is_closer) balance_.moved_at = now;
  if (left.missing + left.extra == 0 && driver_.summary().loads_left == 0) {
    end_plan(p, plan_state::done, "");
    balance_.measure = balance_state::measuring{
        .plan = p.id, .from = now + measure_after, .until = now + measure_after + measure_for};
    return false;
  }
  if (now < balance_.moved_at + change_patience) return false;
  const std::string& trouble = balance_.trouble;
  const std::string cause = trouble.empty() ? std::string{} : " (" + trouble + ")";
  take_back(p, plan_state::failed, "it came no further" + cause + "; copies go back");
  return true;
}

/// What the nodes really computed since a plan was done: the hottest over the mean, by speed, of
/// the worst layer.
void control::measure(time_point_ns now) {
  if (!balance_.measure || now < balance_.measure->until) return;
  const balance_state::measuring m = *std::exchange(balance_.measure, std::nullopt);
  const auto p = kept_.plans.find(m.plan);
  if (p == kept_.plans.end()) return;
  for (const layer_index layer : settings_.model.shape.layers) {
    double rows = 0, speed = 0, last = 0;
    for (const auto& [id, n] : live_) {
      if ((n.said.roles & wire::role_expert) == 0) continue;
      const auto at = m.rows.find(id);
      const bool has = at != m.rows.end() && at->second.count(layer) > 0;
      const double here = has ? at->second.at(layer) : 0;
      rows += here;
      speed += speed_of(id);
      last = std::max(last, here / speed_of(id));
    }
    if (rows < rows_measured_min) continue;
    const double ratio = last / (rows / speed);
    p->second.measured_hottest = std::max(ratio, p->second.measured_hottest.value_or(0));
  }
  if (p->second.measured_hottest) record(to_record(p->second), false);
}

/// What the policy does about what it sees.
void control::look(time_point_ns now) {
  if (desk_.is_busy()) return;
  const bool is_new = driver_.goal() && !driver_.goal_knows_all();
  if (policy() == balance_policy::off || (!is_new && !balance_.is_due(now))) return;
  if (!what_stops_planning().empty() || !changes_.empty()) return;
  if (balance_.rests_until && now < *balance_.rests_until) return;
  balance_.looked_at = now;
  const bool is_auto = policy() == balance_policy::automatic;
  elastic_input in = facts(now);
  auto alarm = balance_.detector.look(in, now);
  if (!alarm && balance_.has_more && is_auto && !balance_.applying)
    alarm =
        elastic_alarm{.kind = alarm_kind::members, .reason = "the plan before it went half way"};
  if (!alarm && is_new)
    alarm = elastic_alarm{.kind = alarm_kind::members, .reason = "a node is here that has no part"};
  if (!alarm) return;
  const bool is_of_members = alarm->kind == alarm_kind::members;
  if (balance_.applying && !is_of_members) return;
  if (!is_auto) {
    const bool is_early = balance_.advised_at && now < *balance_.advised_at + advice_gap;
    if (balance_.applying || (is_early && !is_of_members)) return;
  }
  begin_planning({.is_policys = true,
                  .is_applied = is_auto,
                  .is_of_members = is_of_members,
                  .reason = alarm->reason},
                 std::move(in));
}

bool control::advance_balance(time_point_ns now) {
  if (!driver_.is_open() || settings_.model.shape.layers.empty()) return false;
  bool has_changed = follow_plan(now);
  measure(now);
  if (!balance_.advised.empty()) {
    const plan_premise::fleet fleet = fleet_of(driver_, kept_);
    std::vector<std::uint64_t> stale;
    for (const auto& [id, a] : balance_.advised)
      if (a.made_for != fleet) stale.push_back(id);
    for (const std::uint64_t id : stale)
      end_plan(kept_.plans.at(id), plan_state::superseded, "nodes have come, gone or changed");
  }
  const bool is_auto = policy() == balance_policy::automatic;
  if (is_auto && !driver_.goal() && changes_.empty() && what_stops_planning().empty() &&
      driver_.summary().loads_left == 0) {
    // From now on plans move copies, not their number.
    const elastic_input in = facts(now);
    set_goal(goal_of(in, in.present, 0), false);
  }
  look(now);
  if (!is_auto && driver_.goal() && !driver_.goal_knows_all()) {
    if (balance_.applying) {
      end_plan(kept_.plans.at(*balance_.applying), plan_state::superseded, "a node has joined");
      set_goal(std::nullopt, true);
    }
    set_goal(std::nullopt, false);
    has_changed = true;
  }
  return has_changed;
}

result<void> control::apply_plan(std::uint64_t id, time_point_ns now) {
  const auto known = kept_.plans.find(id);
  if (known == kept_.plans.end()) return unknown(id);
  plan_record& p = known->second;
  if (p.state != plan_state::advised)
    return refused(named(p) + " is " + std::string{to_string(p.state)} +
                   (p.detail.empty() ? "" : " (" + p.detail + ")") + "; make a new one");
  if (balance_.applying)
    return refused("plan " + std::to_string(*balance_.applying) +
                   " is being applied; wait for it, or cancel it");
  if (const std::string why = what_stops_planning(); !why.empty()) return refused(why);
  const auto at = balance_.advised.find(id);
  ATOLL_ASSERT(at != balance_.advised.end());
  if (at->second.made_for != fleet_of(driver_, kept_)) {
    end_plan(p, plan_state::superseded, "nodes have come, gone or changed");
    return refused(named(p) + " was made for other nodes; make a new one");
  }
  begin_plan(p, placement_goal{at->second.goal}, now);
  reconcile(now);
  return {};
}

result<void> control::cancel_plan(std::uint64_t id, time_point_ns now) {
  const auto known = kept_.plans.find(id);
  if (known == kept_.plans.end()) return unknown(id);
  plan_record& p = known->second;
  if (is_over(p.state))
    return refused(named(p) + " is " + std::string{to_string(p.state)} + " already");
  const bool was_applied = p.state == plan_state::applying;
  take_back(p, plan_state::cancelled, was_applied ? "copies go back to where they were" : "");
  balance_.rests_until = now + rest_after_cancel;
  balance_.has_more = false;
  reconcile(now);
  return {};
}

std::uint32_t control::percent_of(const plan_record& p) const {
  if (p.state == plan_state::done) return 100;
  if (p.state != plan_state::applying) return 0;
  const std::size_t all = balance_.first.missing + balance_.first.extra;
  const std::size_t left = std::min(all, balance_.left.missing + balance_.left.extra);
  return all == 0 ? 99 : std::min(99U, static_cast<std::uint32_t>(100 * (all - left) / all));
}

void control::set_policy(balance_policy policy, time_point_ns now) {
  if (policy == this->policy()) return;
  kept_.policy = policy;
  record(to_record(policy), true);
  tell("policy", {}, "the policy for uneven loads is " + std::string{to_string(policy)} + " now");
  for (auto& [id, p] : kept_.plans)
    if (p.is_policys && p.state == plan_state::advised)
      end_plan(p, plan_state::superseded, "the policy was changed");
  balance_.rests_until.reset();
  balance_.has_more = false;
  reconcile(now);
}

void control::journal_works(bool does) {
  const bool was_written = std::exchange(balance_.is_goal_written, does);
  if (was_written || !does) return;
  effects_.emplace_back(record_effect{to_record(kept_.goal, false), false, true});
  effects_.emplace_back(record_effect{to_record(kept_.goal_before, true), false, true});
}

/// After a start: the goal counts again, and a plan that was being applied goes on.
void control::restore_balance() {
  const std::size_t count = settings_.model.shape.layers.size() * settings_.model.shape.experts;
  for (auto* goal : {&kept_.goal, &kept_.goal_before})
    if (*goal && (*goal)->copies.size() != count) goal->reset();
  driver_.set_goal(kept_.goal);
  for (auto& [id, p] : kept_.plans) {
    if (is_over(p.state)) continue;
    const bool goes_on = p.state == plan_state::applying && kept_.goal && kept_.goal->plan == id &&
                         kept_.goal_before;
    if (goes_on) {
      balance_.applying = id;
      balance_.moved_at = started_;
      continue;
    }
    p.state = p.state == plan_state::advised ? plan_state::superseded : plan_state::failed;
    p.detail = "the coordinator was started anew";
    p.ended_unix_ms = unix_ms();
    record(to_record(p), false);
  }
}

}  // namespace atl::cluster
