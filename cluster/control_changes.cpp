#include "cluster/control.hpp"
#include "runtime/base/assert.hpp"

#include <algorithm>

namespace atl::cluster {

namespace wire = transport::wire;

namespace {

std::string named(node_id node) { return "node " + std::to_string(node.value); }

std::string named(expert_key of) {
  return "layer " + std::to_string(of.first.value) + " expert " + std::to_string(of.second.value);
}

error refused(const std::string& why) { return {errc::invalid_argument, why}; }

bool is_among(const std::vector<node_id>& nodes, node_id node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

void add_pin(expert_rule& rule, node_id node) {
  if (is_among(rule.pins, node)) return;
  rule.pins.insert(std::upper_bound(rule.pins.begin(), rule.pins.end(), node), node);
}

/// Whether a copy is there, or comes.
bool has_copy(const std::vector<copy_view>& copies, node_id node) {
  return std::any_of(copies.begin(), copies.end(), [node](const copy_view& c) {
    return c.node == node && c.state != copy_state::leaving;
  });
}

bool serves(const std::vector<copy_view>& copies, node_id node) {
  return std::any_of(copies.begin(), copies.end(), [node](const copy_view& c) {
    return c.node == node && c.state == copy_state::serving;
  });
}

std::size_t serving_nodes(const std::vector<copy_view>& copies) {
  std::vector<node_id> nodes;
  for (const copy_view& c : copies)
    if (c.state == copy_state::serving && !is_among(nodes, c.node)) nodes.push_back(c.node);
  return nodes.size();
}

/// Of a copy's way into use.
std::uint32_t percent_at(const std::vector<copy_view>& copies, node_id node) {
  std::uint32_t best = 0;
  for (const copy_view& c : copies) {
    if (c.node != node) continue;
    const std::uint32_t far = c.state == copy_state::serving ? 100
                              : c.state == copy_state::held  ? 75
                                                             : 25;
    if (c.state != copy_state::leaving) best = std::max(best, far);
  }
  return best;
}

}  // namespace

result<void> control::check_expert(expert_key of) const {
  const auto& shape = driver_.shape();
  if (!std::binary_search(shape.layers.begin(), shape.layers.end(), of.first))
    return error{errc::not_found, "layer " + std::to_string(of.first.value) + " has no experts"};
  if (of.second.value >= shape.experts)
    return error{errc::not_found,
                 "there is no expert " + std::to_string(of.second.value) + "; a layer has " +
                     std::to_string(shape.experts)};
  return {};
}

std::uint32_t control::copies_wanted(expert_key of) const {
  return rule_of(of).copies.value_or(settings_.copies);
}

expert_rule control::rule_of(expert_key of) const {
  const auto at = kept_.rules.find(of);
  return at == kept_.rules.end() ? expert_rule{} : at->second;
}

void control::set_rule(expert_key of, expert_rule rule) {
  record(to_record(of, rule), true);
  kept_.rules.erase(of);
  if (!rule.is_empty()) kept_.rules.emplace(of, std::move(rule));
}

/// Hands on what is asked for the expert by now.
void control::wish(expert_key of) {
  const expert_rule rule = rule_of(of);
  expert_wish w{.copies = rule.copies, .pins = rule.pins, .unwanted = {}};
  for (const auto& [id, until] : changes_) {
    const expert_change& c = *kept_.operations.at(id).change;
    if (expert_key{c.layer, c.expert} == of && c.from) w.unwanted.push_back(*c.from);
  }
  driver_.set_wish(of.first, of.second, std::move(w));
  ++balance_.orders;
}

/// Whether the node may get a copy of the expert.
result<void> control::check_target(expert_key of, node_id node, bool needs_room) const {
  const auto kept = kept_.nodes.find(node);
  if (kept == kept_.nodes.end() || kept->second.is_removed)
    return error{errc::not_found, "there is no " + named(node)};
  const auto at = live_.find(node);
  if (at == live_.end()) return refused(named(node) + " is not here");
  if ((at->second.said.roles & wire::role_expert) == 0)
    return refused(named(node) + " holds no experts: it has not the role expert");
  if (at->second.is_suspect) return refused(named(node) + " is suspected to be gone");
  if (drains_.count(node) > 0) return refused(named(node) + " is being drained");
  if (kept->second.is_drained) return refused(named(node) + " is drained; uncordon it first");
  if (kept->second.is_cordoned) return refused(named(node) + " is cordoned; uncordon it first");
  if (has_copy(driver_.copies_of(of.first, of.second), node)) return {};
  if (needs_room && driver_.room_on(node) == 0)
    return refused(named(node) + " is full: its memory takes " +
                   std::to_string(experts_max(at->second)) + " experts, and it holds " +
                   std::to_string(driver_.copies_on(node).held));
  return {};
}

result<std::uint64_t> control::begin_change(operation_kind kind,
                                            expert_key of,
                                            node_id node,
                                            std::optional<node_id> from,
                                            const expert_rule& next,
                                            bool force,
                                            time_point_ns now) {
  if (!driver_.is_open() || driver_.published() == epoch{})
    return refused("there is no placement yet");
  for (const auto& [id, until] : changes_) {
    const expert_change& c = *kept_.operations.at(id).change;
    if (expert_key{c.layer, c.expert} == of)
      return refused("operation " + std::to_string(id) + " changes " + named(of) +
                     " already; wait for it, or cancel it");
  }
  operation& o = begin(kind, node, force);
  o.change = expert_change{
      .layer = of.first,
      .expert = of.second,
      .from = from,
      .copies = kind == operation_kind::replicate ? next.copies.value_or(settings_.copies) : 0,
      .before = rule_of(of)};
  o.deadline_unix_ms =
      o.created_unix_ms +
      std::chrono::duration_cast<std::chrono::milliseconds>(change_patience).count();
  record(to_record(o), true);
  set_rule(of, next);
  const std::uint64_t id = o.id;
  changes_[id] = now + change_patience;
  wish(of);
  tell("operation", node, subject_of(o) + " began");
  reconcile(now);
  return id;
}

result<std::uint64_t>
control::move(expert_key of, node_id to, std::optional<node_id> from, time_point_ns now) {
  ATOLL_TRY(check_expert(of));
  ATOLL_TRY(check_target(of, to));
  expert_rule next = rule_of(of);
  const auto copies = driver_.copies_of(of.first, of.second);
  if (has_copy(copies, to)) return refused(named(to) + " has " + named(of) + " already");
  if (from) ATOLL_TRY(find_node(*from));
  if (from && !has_copy(copies, *from))
    return refused(named(*from) + " has no copy of " + named(of));
  if (from && is_among(next.pins, *from))
    return refused(named(of) + " is pinned to " + named(*from) + "; unpin it there first");
  if (!from) {
    // From the fullest.
    for (const copy_view& c : copies) {
      if (c.state == copy_state::leaving || is_among(next.pins, c.node)) continue;
      if (!from || driver_.copies_on(c.node).held > driver_.copies_on(*from).held) from = c.node;
    }
  }
  if (!from)
    return refused("each copy of " + named(of) + " is pinned where it is; unpin one first");
  add_pin(next, to);
  return begin_change(operation_kind::move, of, to, from, next, false, now);
}

result<std::uint64_t> control::replicate(expert_key of, std::uint32_t copies, time_point_ns now) {
  ATOLL_TRY(check_expert(of));
  if (copies == 0) return refused("an expert keeps a copy; drop the last one with force");
  expert_rule next = rule_of(of);
  if (copies < next.pins.size())
    return refused(named(of) + " is pinned to " + std::to_string(next.pins.size()) +
                   " nodes; unpin it from some first");
  const auto there = driver_.copies_of(of.first, of.second);
  std::size_t possible = 0;
  for (const auto& [node, n] : live_)
    possible += has_copy(there, node) || check_target(of, node).has_value() ? 1 : 0;
  if (copies > possible)
    return refused(std::to_string(copies) +
                   " copies need as many expert nodes that have one or "
                   "have room for one; there are " +
                   std::to_string(possible));
  next.copies = copies;
  if (copies == settings_.copies) next.copies.reset();
  return begin_change(operation_kind::replicate, of, {}, std::nullopt, next, false, now);
}

result<std::uint64_t> control::drop(expert_key of, node_id node, bool force, time_point_ns now) {
  ATOLL_TRY(check_expert(of));
  ATOLL_TRY(find_node(node));
  const auto copies = driver_.copies_of(of.first, of.second);
  if (!has_copy(copies, node)) return refused(named(node) + " has no copy of " + named(of));
  expert_rule next = rule_of(of);
  if (is_among(next.pins, node))
    return refused(named(of) + " is pinned to " + named(node) + "; unpin it there first");
  const std::size_t others = serving_nodes(copies) - (serves(copies, node) ? 1 : 0);
  if (others == 0 && !force)
    return refused(named(node) + " has the only copy of " + named(of) +
                   "; without it every request whose tokens are routed to that expert fails. Use "
                   "force to drop it all the same");
  next.copies = static_cast<std::uint32_t>(others);
  if (next.pins.size() > others) next.copies = static_cast<std::uint32_t>(next.pins.size());
  if (next.copies == settings_.copies) next.copies.reset();
  return begin_change(operation_kind::drop, of, {}, node, next, force, now);
}

result<std::uint64_t> control::pin(expert_key of, node_id node, time_point_ns now) {
  ATOLL_TRY(check_expert(of));
  ATOLL_TRY(check_target(of, node));
  expert_rule next = rule_of(of);
  if (is_among(next.pins, node))
    return refused(named(of) + " is pinned to " + named(node) + " already");
  if (next.pins.size() >= copies_wanted(of))
    return refused(named(of) + " has " + std::to_string(copies_wanted(of)) +
                   " copies, and each is pinned; unpin one, or replicate it first");
  std::optional<node_id> from;
  const auto copies = driver_.copies_of(of.first, of.second);
  if (!has_copy(copies, node) && serving_nodes(copies) >= copies_wanted(of)) {
    for (const copy_view& c : copies)
      if (!is_among(next.pins, c.node) && c.state != copy_state::leaving) from = c.node;
  }
  add_pin(next, node);
  return begin_change(operation_kind::pin, of, node, from, next, false, now);
}

result<std::uint64_t>
control::unpin(expert_key of, std::optional<node_id> node, time_point_ns now) {
  ATOLL_TRY(check_expert(of));
  if (node) ATOLL_TRY(find_node(*node));
  expert_rule next = rule_of(of);
  if (node && !is_among(next.pins, *node))
    return refused(named(of) + " is not pinned to " + named(*node));
  if (next.pins.empty()) return refused(named(of) + " is not pinned");
  if (node) {
    next.pins.erase(std::find(next.pins.begin(), next.pins.end(), *node));
  } else {
    next.pins.clear();
  }
  return begin_change(
      operation_kind::unpin, of, node.value_or(node_id{}), std::nullopt, next, false, now);
}

/// Whether the placement is as the operation wants it.
bool control::is_changed_now(const operation& o) const {
  const expert_change& c = *o.change;
  const auto copies = driver_.copies_of(c.layer, c.expert);
  if (c.from && has_copy(copies, *c.from)) return false;
  switch (o.kind) {
  case operation_kind::move:
  case operation_kind::pin: return serves(copies, o.node);
  case operation_kind::replicate: return serving_nodes(copies) == c.copies;
  default: return true;
  }
}

/// Why it will not come to be; empty while it may.
std::string control::what_stops(const operation& o) const {
  if (!driver_.is_open()) return {};
  const expert_change& c = *o.change;
  const std::string cause = latest_news_.empty() ? std::string{} : ": " + latest_news_;
  const auto planned = driver_.planned_for(c.layer, c.expert);
  const bool goes_there = o.kind == operation_kind::move || o.kind == operation_kind::pin;
  if (goes_there && live_.count(o.node) == 0) return named(o.node) + " is gone";
  if (goes_there && !is_among(planned, o.node))
    return named(o.node) + " cannot take it now" + cause;
  if (o.kind == operation_kind::replicate && planned.size() < c.copies)
    return "there is no further node that can take it now" + cause;
  return {};
}

void control::roll_back(operation& o, operation_state state, const std::string& why) {
  const expert_key of{o.change->layer, o.change->expert};
  changes_.erase(o.id);
  set_rule(of, o.change->before);
  wish(of);
  end(o, state, why);
}

bool control::advance_changes(time_point_ns now) {
  if (!driver_.is_open()) return false;
  bool has_ended = false;
  const auto under_way = changes_;
  for (const auto& [id, until] : under_way) {
    operation& o = kept_.operations.at(id);
    const expert_key of{o.change->layer, o.change->expert};
    const std::string against = what_stops(o);
    if (is_changed_now(o)) {
      changes_.erase(id);
      wish(of);
      const bool is_last =
          o.kind == operation_kind::drop && o.change->from && copies_wanted(of) == 0;
      end(o,
          operation_state::done,
          is_last
              ? "it has no copy now: requests whose tokens are routed to it fail with 503 until "
                "it is replicated again"
              : "");
    } else if (!against.empty() || now >= until) {
      roll_back(o,
                operation_state::failed,
                (against.empty() ? "it took too long" : against) + "; all is as before");
    } else {
      continue;
    }
    has_ended = true;
  }
  return has_ended;
}

result<void> control::cancel(std::uint64_t id, time_point_ns now) {
  const auto at = kept_.operations.find(id);
  if (at == kept_.operations.end())
    return error{errc::not_found, "there is no operation " + std::to_string(id)};
  operation& o = at->second;
  if (o.state != operation_state::running)
    return refused("operation " + std::to_string(id) + " is " + std::string{to_string(o.state)} +
                   " already");
  if (!o.change) return cancel_drain(o.node, now);
  roll_back(o, operation_state::cancelled, "all is as before");
  reconcile(now);
  return {};
}

std::uint32_t control::percent_of(const operation& o) const {
  if (o.state == operation_state::done) return 100;
  if (o.state != operation_state::running) return 0;
  if (!o.change) {
    const auto d = drains_.find(o.node);
    if (d == drains_.end() || d->second.copies == 0) return 0;
    const std::size_t left = std::min(driver_.copies_on(o.node).held, d->second.copies);
    return static_cast<std::uint32_t>(100 * (d->second.copies - left) / d->second.copies);
  }
  const auto copies = driver_.copies_of(o.change->layer, o.change->expert);
  if (o.node != node_id{}) return std::min(99U, percent_at(copies, o.node));
  if (o.kind != operation_kind::replicate || o.change->copies == 0) return 0;
  std::uint32_t sum = 0;
  for (const node_id node : driver_.planned_for(o.change->layer, o.change->expert))
    sum += percent_at(copies, node);
  return std::min(99U, sum / o.change->copies);
}

std::optional<operation> control::made_by(const std::string& idempotency_key) const {
  for (const auto& [id, o] : kept_.operations)
    if (o.idempotency_key == idempotency_key) return *find_operation(id);
  return std::nullopt;
}

void control::note_key(std::uint64_t id,
                       const std::string& idempotency_key,
                       const std::string& digest) {
  const auto at = kept_.operations.find(id);
  ATOLL_ASSERT(at != kept_.operations.end());
  at->second.idempotency_key = idempotency_key;
  at->second.request_digest = digest;
  record(to_record(at->second), true);
}

}  // namespace atl::cluster
