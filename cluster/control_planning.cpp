// Plans from the wish for one to its record: what they are made of, which one is being made, and
// whether what comes back still counts.
#include "cluster/control.hpp"
#include "runtime/base/assert.hpp"

#include <algorithm>
#include <cmath>

namespace atl::cluster {

namespace wire = transport::wire;

namespace {

/// An operator is told after so many that were out of date when they were there.
constexpr std::uint32_t attempts_max = 5;
/// A journal's record holds 1 MiB.
constexpr std::size_t goal_bytes_max = 900 << 10;
/// A plan for who came or went is worth it for less.
constexpr double hysteresis_of_members = 0.01;

error refused(const std::string& why) { return {errc::invalid_argument, why}; }

/// Who is suspected is taken for who it was: it is found dead, or heard again, within moments.
node_intake intake_of(const holder& h, const durable_state& kept) {
  if (h.drains) return node_intake::draining;
  return kept.nodes.at(h.node).is_cordoned ? node_intake::closed : node_intake::open;
}

plan_balance_figures figures(double hottest, std::optional<double> finish) {
  plan_balance_figures f;
  if (std::isfinite(hottest)) f.hottest = hottest;
  f.finish = finish;
  return f;
}

}  // namespace

plan_premise::fleet fleet_of(const placement_driver& driver, const durable_state& kept) {
  plan_premise::fleet all;
  for (const auto& [group, s] : driver.seats()) all.emplace_back(group, intake_of(s.who, kept));
  return all;
}

placement_goal goal_of(const elastic_input& in, experts::replica_lists copies, std::uint64_t plan) {
  placement_goal goal{.copies = std::move(copies), .known = {}, .plan = plan};
  for (const elastic_group& g : in.groups) goal.known.push_back(g.group);
  std::sort(goal.known.begin(), goal.known.end());
  return goal;
}

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

/// Why none can be made and applied for the wish, now that it is there or about to be made.
std::string control::what_stops(const plan_wish& why) const {
  if (std::string stops = what_stops_planning(); !stops.empty()) return stops;
  if (!why.is_policys && why.is_applied && balance_.applying)
    return "plan " + std::to_string(*balance_.applying) +
           " is being applied; wait for it, or cancel it";
  return {};
}

plan_premise control::premise() const {
  plan_premise p{.groups = fleet_of(driver_, kept_),
                 .orders = balance_.orders,
                 .applying = balance_.applying,
                 .map = {}};
  if (!balance_.applying) p.map = driver_.published();
  return p;
}

void control::begin_planning(plan_wish why, elastic_input in) {
  if (why.is_of_members) in.limits.hysteresis = hysteresis_of_members;
  if (why.attempts == 0) why.asked_unix_ms = unix_ms();
  const auto input = std::make_shared<const elastic_input>(std::move(in));
  effects_.emplace_back(plan_effect{desk_.begin(std::move(why), input, premise()), input});
}

/// Of operators: the next one that can be made.
void control::plan_next(time_point_ns now) {
  while (auto why = desk_.next()) {
    if (const std::string stops = what_stops(*why); !stops.empty())
      desk_.answer(why->request, refused(stops));
    else
      begin_planning(std::move(*why), facts(now));
  }
}

result<std::uint64_t> control::rebalance(bool is_dry_run, time_point_ns now) {
  plan_wish why{
      .is_applied = !is_dry_run, .is_of_members = true, .reason = "an operator asked for it"};
  if (const std::string stops = what_stops(why); !stops.empty()) return refused(stops);
  ATOLL_ASSIGN(const std::uint64_t request, desk_.ask(std::move(why)));
  plan_next(now);
  return request;
}

void control::planned(std::uint64_t job, const result<elastic_plan>& made, time_point_ns now) {
  auto p = desk_.end(job);
  if (!p) return;
  now_ = std::max(now_, now);
  if (p->why.is_policys)
    take_policys(*p, made, now);
  else
    take_operators(std::move(*p), made, now);
  plan_next(now);
  reconcile(now);
}

void control::take_operators(plan_job p, const result<elastic_plan>& made, time_point_ns now) {
  const std::uint64_t request = p.why.request;
  if (const std::string stops = what_stops(p.why); !stops.empty())
    return desk_.answer(request, refused(stops));
  if (p.made_for != premise()) {
    if (++p.why.attempts >= attempts_max)
      return desk_.answer(request,
                          refused("nodes or copies kept changing meanwhile; try again later"));
    return desk_.ask_again(std::move(p.why));
  }
  if (made.has_error()) return desk_.answer(request, made.error());
  desk_.answer(request, take_plan(p, *made, now));
}

/// What is out of date is made anew by looking again.
void control::take_policys(const plan_job& p, const result<elastic_plan>& made, time_point_ns now) {
  const bool is_auto = policy() == balance_policy::automatic;
  const bool is_wanted = policy() != balance_policy::off && p.why.is_applied == is_auto &&
                         !(balance_.rests_until && now < *balance_.rests_until);
  if (!is_wanted || p.made_for != premise() || !changes_.empty() || !what_stops(p.why).empty())
    return balance_.looked_at.reset();
  balance_.has_more = false;
  if (!is_auto) {
    balance_.advised_at = now;
    for (auto& [id, before] : kept_.plans)
      if (before.is_policys && before.state == plan_state::advised)
        end_plan(before, plan_state::superseded, "it is looked at anew");
  }
  if (made.has_value() && made->has_work()) {
    take_plan(p, *made, now);
  } else if (made.has_value()) {
    balance_.detector.planned(*p.input, *made, now);
    // Who joined is known from now on, and has nothing to do.
    if (is_auto && driver_.goal())
      set_goal(goal_of(*p.input, driver_.goal()->copies, driver_.goal()->plan), false);
  } else {
    tell("plan", {}, "no plan could be made: " + made.error().message());
    if (driver_.goal() && !driver_.goal_knows_all()) set_goal(std::nullopt, false);
  }
}

plan_record control::record_of(const plan_wish& why, const elastic_plan& made) const {
  plan_record p;
  p.is_policys = why.is_policys;
  p.reason = why.reason;
  p.created_unix_ms = why.asked_unix_ms;
  p.epoch = driver_.published().value;
  p.before = figures(made.hottest_before(), made.finish_before);
  p.after = figures(made.hottest_after(), made.finish_after);
  p.bytes = made.bytes;
  p.moves = made.moves.size();
  p.drops = made.drops.size();
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
  add_steps(made.moves, true);
  add_steps(made.drops, false);
  p.sentences = made.sentences;
  if (p.sentences.size() > plan_record::sentences_max)
    p.sentences.resize(plan_record::sentences_max);
  return p;
}

/// Keeps it, and applies it where that is wished.
std::uint64_t control::take_plan(const plan_job& p, const elastic_plan& made, time_point_ns now) {
  const plan_wish& why = p.why;
  if (why.is_policys || why.is_applied) balance_.detector.planned(*p.input, made, now);
  if (why.is_applied)
    balance_.has_more = std::any_of(made.layers.begin(), made.layers.end(), [](const auto& l) {
      return l.best < l.after * (1 - hysteresis_of_members);
    });
  plan_record& kept = keep_plan(record_of(why, made));
  if (why.by) note_plan_key(kept.id, *why.by);
  placement_goal goal = goal_of(*p.input, made.target, kept.id);
  if (to_record(goal, false).size() > goal_bytes_max) {
    end_plan(kept, plan_state::failed, "the goal is too large for the coordinator's journal");
  } else if (why.is_applied && !made.has_work()) {
    end_plan(kept, plan_state::done, "there is nothing to gain");
  } else if (why.is_applied) {
    begin_plan(kept, std::move(goal), now);
  } else {
    record(to_record(kept), !why.is_policys);
    balance_.advised[kept.id] = {.goal = std::move(goal), .made_for = p.made_for.groups};
    if (why.is_policys)
      tell("plan", {}, "plan " + std::to_string(kept.id) + " is advised: " + kept.reason);
  }
  return kept.id;
}

}  // namespace atl::cluster
