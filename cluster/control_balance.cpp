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
/// A journal's record holds 1 MiB.
constexpr std::size_t goal_bytes_max = 900 << 10;
/// A plan for who came or went is worth it for less.
constexpr double hysteresis_of_members = 0.01;

error refused(const std::string& why) { return {errc::invalid_argument, why}; }

error unknown(std::uint64_t id) {
  return {errc::not_found, "there is no plan " + std::to_string(id)};
}

std::string named(const plan_record& p) { return "plan " + std::to_string(p.id); }

/// Who is suspected is taken for who it was: it is found dead, or heard again, within moments.
node_intake intake_of(const holder& h, const durable_state& kept) {
  if (h.drains) return node_intake::draining;
  return kept.nodes.at(h.node).is_cordoned ? node_intake::closed : node_intake::open;
}

balance_state::fleet fleet_of(const placement_driver& driver, const durable_state& kept) {
  balance_state::fleet all;
  for (const auto& [group, s] : driver.seats()) all.emplace_back(group, intake_of(s.who, kept));
  return all;
}

/// A goal that is where copies are, or should be by a plan.
placement_goal goal_of(const elastic_input& in, experts::replica_lists copies, std::uint64_t plan) {
  placement_goal goal{.copies = std::move(copies), .known = {}, .plan = plan};
  for (const elastic_group& g : in.groups) goal.known.push_back(g.group);
  std::sort(goal.known.begin(), goal.known.end());
  return goal;
}

plan_balance_figures figures(double hottest, std::optional<double> finish) {
  plan_balance_figures f;
  if (std::isfinite(hottest)) f.hottest = hottest;
  f.finish = finish;
  return f;
}

bool is_over(plan_state s) { return s != plan_state::advised && s != plan_state::applying; }

}  // namespace

/// All that a plan is made of.
elastic_input control::facts(time_point_ns now) const {
  elastic_input in = driver_.facts();
  for (elastic_group& g : in.groups) {
    const live_node& n = live_.at(g.node);
    const node_record& kept = kept_.nodes.at(g.node);
    g.name = kept.name.empty() ? "node " + std::to_string(g.node.value) : kept.name;
    g.speed = speed_of(g.node) / std::max(1U, n.said.groups);
    g.domain = domain_of(g.node);
    g.intake = intake_of(driver_.seats().at(g.group).who, kept_);
  }
  in.loads = loads_.all(now);
  in.expert_bytes = settings_.model.expert_bytes;
  if (settings_.moves_max > 0) in.limits.moved_experts_max = settings_.moves_max;
  return in;
}

/// Empty where a plan can be made.
std::string control::what_stops_planning() const {
  if (settings_.model.shape.layers.empty()) return "there are no experts to place";
  if (!driver_.is_open() || !driver_.is_in_force()) return "there is no placement in force yet";
  if (driver_.summary().without_copy > 0 || driver_.is_repairing())
    return "copies that were lost, or leave a draining node, are being made anew; try again when "
           "that is done";
  for (const auto& [id, n] : live_)
    if (n.is_suspect && (n.said.roles & wire::role_expert) != 0)
      return "node " + std::to_string(id.value) + " is suspected to be gone";
  return {};
}

void control::set_goal(std::optional<placement_goal> goal, bool is_before) {
  effects_.emplace_back(record_effect{to_record(goal, is_before), false, true});
  if (!is_before) driver_.set_goal(goal);
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

/// 0 where the policy finds that nothing is to be gained.
result<std::uint64_t>
control::make_plan(const plan_wish& why, elastic_input in, time_point_ns now) {
  if (why.is_of_members) in.limits.hysteresis = hysteresis_of_members;
  const auto made = plan_elastic(in);
  if (made.has_error()) return made.error();
  if (why.is_policys || why.is_applied) balance_.detector.planned(in, *made, now);
  if (why.is_policys && !made->has_work()) {
    // Who joined is known from now on, and has nothing to do.
    if (why.is_applied && driver_.goal())
      set_goal(goal_of(in, driver_.goal()->copies, driver_.goal()->plan), false);
    return std::uint64_t{0};
  }
  plan_record p;
  p.is_policys = why.is_policys;
  p.reason = why.reason;
  p.created_unix_ms = settings_.unix_ms ? settings_.unix_ms() : 0;
  p.epoch = driver_.published().value;
  p.before = figures(made->hottest_before(), made->finish_before);
  p.after = figures(made->hottest_after(), made->finish_after);
  p.bytes = made->bytes;
  p.moves = made->moves.size();
  p.drops = made->drops.size();
  const auto add_steps = [&](const std::vector<elastic_move>& all, bool is_made) {
    for (const elastic_move& m : all) {
      if (p.steps.size() >= plan_record::steps_max) return;
      p.steps.push_back({.is_made = is_made,
                         .layer = m.what.layer,
                         .expert = m.what.expert,
                         .node = driver_.seats().at(m.what.group).who.node,
                         .percent = static_cast<std::uint32_t>(std::lround(m.share * 100)),
                         .reason = to_string(m.reason)});
    }
  };
  add_steps(made->moves, true);
  add_steps(made->drops, false);
  p.sentences = made->sentences;
  if (p.sentences.size() > plan_record::sentences_max)
    p.sentences.resize(plan_record::sentences_max);
  const bool has_more = std::any_of(made->layers.begin(), made->layers.end(), [](const auto& l) {
    return l.best < l.after * (1 - hysteresis_of_members);
  });
  if (why.is_applied) balance_.has_more = has_more;
  plan_record& kept = keep_plan(std::move(p));
  const bool has_work = made->has_work();
  placement_goal goal = goal_of(in, made->target, kept.id);
  if (to_record(goal, false).size() > goal_bytes_max) {
    end_plan(kept, plan_state::failed, "the goal is too large for the coordinator's journal");
  } else if (why.is_applied && !has_work) {
    end_plan(kept, plan_state::done, "there is nothing to gain");
  } else if (why.is_applied) {
    begin_plan(kept, std::move(goal), now);
  } else {
    record(to_record(kept), !why.is_policys);
    balance_.advised[kept.id] = {.goal = std::move(goal), .made_for = fleet_of(driver_, kept_)};
    if (why.is_policys) tell("plan", {}, named(kept) + " is advised: " + kept.reason);
  }
  return kept.id;
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
  p.applied_unix_ms = settings_.unix_ms ? settings_.unix_ms() : 0;
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
  p.ended_unix_ms = settings_.unix_ms ? settings_.unix_ms() : 0;
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
bool control::look(time_point_ns now) {
  const bool is_new = driver_.goal() && !driver_.goal_knows_all();
  if (policy() == balance_policy::off || (!is_new && !balance_.is_due(now))) return false;
  if (!what_stops_planning().empty() || !changes_.empty()) return false;
  if (balance_.rests_until && now < *balance_.rests_until) return false;
  balance_.looked_at = now;
  const bool is_auto = policy() == balance_policy::automatic;
  elastic_input in = facts(now);
  auto alarm = balance_.detector.look(in, now);
  if (!alarm && balance_.has_more && is_auto && !balance_.applying)
    alarm =
        elastic_alarm{.kind = alarm_kind::members, .reason = "the plan before it went half way"};
  if (!alarm && is_new)
    alarm = elastic_alarm{.kind = alarm_kind::members, .reason = "a node is here that has no part"};
  if (!alarm) return false;
  const bool is_of_members = alarm->kind == alarm_kind::members;
  if (balance_.applying && !is_of_members) return false;
  if (!is_auto) {
    const bool is_early = balance_.advised_at && now < *balance_.advised_at + advice_gap;
    if (balance_.applying || (is_early && !is_of_members)) return false;
    balance_.advised_at = now;
    for (auto& [id, p] : kept_.plans)
      if (p.is_policys && p.state == plan_state::advised)
        end_plan(p, plan_state::superseded, "it is looked at anew");
  }
  balance_.has_more = false;
  const auto made = make_plan({.is_policys = true,
                               .is_applied = is_auto,
                               .is_of_members = is_of_members,
                               .reason = alarm->reason},
                              std::move(in),
                              now);
  if (made.has_error()) {
    tell("plan", {}, "no plan could be made: " + made.error().message());
    if (is_new) set_goal(std::nullopt, false);
  }
  return is_auto;
}

bool control::advance_balance(time_point_ns now) {
  if (!driver_.is_open() || settings_.model.shape.layers.empty()) return false;
  bool has_changed = follow_plan(now);
  measure(now);
  if (!balance_.advised.empty()) {
    const balance_state::fleet fleet = fleet_of(driver_, kept_);
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
  has_changed = look(now) || has_changed;
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

result<std::uint64_t> control::rebalance(bool is_dry_run, time_point_ns now) {
  if (const std::string why = what_stops_planning(); !why.empty()) return refused(why);
  if (!is_dry_run && balance_.applying)
    return refused("plan " + std::to_string(*balance_.applying) +
                   " is being applied; wait for it, or cancel it");
  ATOLL_ASSIGN(const auto id,
               make_plan({.is_policys = false,
                          .is_applied = !is_dry_run,
                          .is_of_members = true,
                          .reason = "an operator asked for it"},
                         facts(now),
                         now));
  reconcile(now);
  return id;
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
    p.ended_unix_ms = settings_.unix_ms ? settings_.unix_ms() : 0;
    record(to_record(p), false);
  }
}

}  // namespace atl::cluster
