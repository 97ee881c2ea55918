#include "cluster/control.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>

namespace atl::cluster {

namespace wire = transport::wire;

namespace {

driver_settings driver_settings_of(const control_settings& s) {
  driver_settings d;
  d.shape = s.model.shape;
  d.copies = s.copies;
  d.moves_max = s.moves_max;
  d.load_patience = s.load_patience;
  return d;
}

}  // namespace

control::control(control_settings settings, durable_state restored, time_point_ns now)
    : chronicle{std::move(restored), settings.unix_ms},
      settings_{tuned(std::move(settings), kept_.tuned)},
      loads_{settings_.model.shape},
      driver_{driver_settings_of(settings_), [this] { return next_epoch(); }},
      started_{now} {
  is_resumed_ = kept_.counters.has_placed &&
                std::any_of(kept_.nodes.begin(), kept_.nodes.end(), [](const auto& n) {
                  return n.second.life > n.second.life_over;
                });
  for (const auto& [id, o] : kept_.operations)
    if (o.change && o.state == operation_state::running) changes_[id] = now + change_patience;
  std::vector<expert_key> asked;
  for (const auto& [of, rule] : kept_.rules) asked.push_back(of);
  for (const auto& [id, until] : changes_) {
    const expert_change& c = *kept_.operations.at(id).change;
    asked.emplace_back(c.layer, c.expert);
  }
  for (const expert_key& of : asked)
    if (check_expert(of).has_value()) wish(of);
  restore_balance();
}

void control::placed(transport::node_identity from, const wire::placed& p, time_point_ns now) {
  if (!speaks(from, now)) return;
  const auto at = driver_.seats().find(p.group);
  if (at == driver_.seats().end() || at->second.who.node != from.node) return;
  driver_.answered(p, now);
  reconcile(now);
}

void control::adopted(transport::node_identity from, const wire::adopted& a, time_point_ns now) {
  if (!speaks(from, now)) return;
  live_.at(from.node).used = a.epoch;
  driver_.adopted(from.node, a.epoch, a.oldest);
  reconcile(now);
}

void control::reported(transport::node_identity from,
                       const wire::load_report& r,
                       time_point_ns now) {
  if (!speaks(from, now)) return;
  live_node& n = live_.at(from.node);
  now_ = std::max(now_, now);
  for (const auto& c : r.counts) loads_.add(c.layer, c.expert, c.rows, now);
  n.load = r;
  n.load.counts.clear();
  n.reported_at = now;
  if (balance_.measure && now >= balance_.measure->from)
    for (const auto& c : r.counts)
      balance_.measure->rows[from.node][c.layer] += static_cast<double>(c.rows);
  if (drains_.count(from.node) > 0 || (policy() != balance_policy::off && balance_.is_due(now)))
    reconcile(now);
}

void control::tick(time_point_ns now) { reconcile(now); }

bool control::is_settled(time_point_ns now) const {
  if (!is_resumed_) {
    const auto experts = std::count_if(live_.begin(), live_.end(), [](const auto& n) {
      return (n.second.said.roles & wire::role_expert) != 0;
    });
    return settings_.model.shape.layers.empty() || experts >= settings_.expert_nodes_min;
  }
  const bool all_here = std::all_of(kept_.nodes.begin(), kept_.nodes.end(), [&](const auto& n) {
    return n.second.life <= n.second.life_over || live_.count(n.first) > 0;
  });
  return all_here || now >= settled_at();
}

/// Where nobody else has said join yet, the others get twice the time.
time_point_ns control::settled_at() const {
  return first_join_ ? *first_join_ + settings_.settle : started_ + 2 * settings_.settle;
}

/// Opens the placement once those are here that it has to know of.
void control::settle(time_point_ns now) {
  if (driver_.is_open() || !is_settled(now)) return;
  for (auto& [id, n] : kept_.nodes) {
    if (n.life <= n.life_over || live_.count(id) > 0) continue;
    n.life_over = n.life;
    record(to_record(n), false);
    tell("died", id, "node " + std::to_string(id.value) + " did not come back after a restart");
    end_operations(id, "the node did not come back after a restart");
  }
  driver_.open(is_resumed_);
  news_.told_at.reset();  // who is here gets experts with all others
  if (kept_.counters.has_placed) return;
  kept_.counters.has_placed = true;
  record(to_record(kept_.counters), true);
}

void control::tell_placement(epoch before) {
  latest_news_.clear();
  for (const std::string& text : driver_.take_news()) {
    trouble_ = latest_news_ = balance_.trouble = text;
    tell("placement", {}, text);
  }
  const placement_summary now = driver_.summary();
  if (now.unplaceable == 0 && now.loads_left == 0) trouble_.clear();
  if (now.epoch == before) return;
  tell("placement",
       {},
       "epoch " + std::to_string(now.epoch.value) + ": each expert has " +
           std::to_string(now.copies_least) + " or more copies in use, " +
           std::to_string(now.without_copy) + " of " + std::to_string(now.experts) + " have none");
}

/// Draws the consequences of what has changed: members first, so that a placement names nobody
/// unheard of; then copies; then what waited for them.
void control::reconcile(time_point_ns now) {
  now_ = std::max(now_, now);
  settle(now);
  judge_again(now);
  bool has_more = true;
  while (has_more) {
    if (const auto due = list_due(); due && *due <= now) tell_members(now);
    if (std::exchange(news_.are_seats_stale, false)) driver_.set_seats(seats());
    const epoch before = driver_.published();
    auto messages = driver_.step(now);
    const bool has_map = std::any_of(messages.begin(), messages.end(), [](const auto& m) {
      return std::holds_alternative<wire::place>(m.body);
    });
    if (has_map && news_.is_untold) tell_members(now);
    for (auto& m : messages) {
      const auto at = live_.find(m.to);
      ATOLL_ASSERT(at != live_.end());
      std::visit(
          [&](auto& body) {
            effects_.emplace_back(send_effect{{m.to, at->second.life}, std::move(body)});
          },
          m.body);
    }
    tell_placement(before);
    const bool has_ended = advance_changes(now);
    has_more = advance_drains(now) || fence(now) || has_ended;
    if (!has_more) has_more = advance_balance(now);
  }
  if (is_ready_ || !driver_.is_open()) return;
  is_ready_ = settings_.model.shape.layers.empty() ||
              (driver_.is_in_force() && driver_.summary().without_copy == 0);
}

std::optional<time_point_ns> control::next_due() const {
  std::optional<time_point_ns> next = driver_.next_due();
  const auto no_later = [&](time_point_ns t) { next = next ? std::min(*next, t) : t; };
  if (!driver_.is_open() && is_resumed_) no_later(settled_at());
  if (judged_again_at_) no_later(*judged_again_at_);
  if (const auto due = list_due()) no_later(*due);
  for (const auto& [node, d] : drains_) no_later(d.deadline);
  for (const auto& [id, until] : changes_) no_later(until);
  if (balance_.applying) no_later(balance_.moved_at + change_patience);
  if (balance_.measure) no_later(balance_.measure->until);
  for (const path_loss& l : losses_) {
    no_later(l.repeated + loss_patience);
    if (l.since + verdict_settle_time > now_) no_later(l.since + verdict_settle_time);
  }
  return next;
}

}  // namespace atl::cluster
