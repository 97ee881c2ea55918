#include "cluster/placement_driver.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>
#include <array>

namespace atl::cluster {

namespace wire = transport::wire;

std::string_view to_string(copy_state state) noexcept {
  constexpr std::array<std::string_view, 4> names{"loading", "held", "serving", "leaving"};
  return names[static_cast<std::size_t>(state)];
}

placement_driver::placement_driver(driver_settings settings, epoch_source epochs)
    : settings_{std::move(settings)},
      epochs_{std::move(epochs)},
      copies_(settings_.shape.layers.size() * settings_.shape.experts),
      checks_(copies_.size()),
      target_(copies_.size()) {
  for (std::size_t i = 0; i < settings_.shape.layers.size(); ++i)
    row_of_layer_[settings_.shape.layers[i]] = i;
}

std::optional<std::size_t> placement_driver::index_of(layer_index layer,
                                                      std::uint32_t expert) const {
  const auto row = row_of_layer_.find(layer);
  if (row == row_of_layer_.end() || expert >= settings_.shape.experts) return std::nullopt;
  return row->second * settings_.shape.experts + expert;
}

layer_index placement_driver::layer_of(std::size_t i) const {
  return settings_.shape.layers[i / settings_.shape.experts];
}

std::uint32_t placement_driver::expert_of(std::size_t i) const {
  return static_cast<std::uint32_t>(i % settings_.shape.experts);
}

std::string placement_driver::named(std::size_t i) const {
  return "expert " + std::to_string(expert_of(i)) + " of layer " +
         std::to_string(layer_of(i).value);
}

const placement_driver::copy* placement_driver::find(std::size_t i, group_id group) const {
  for (const copy& c : copies_[i]) {
    if (c.group == group) return &c;
  }
  return nullptr;
}

placement_driver::copy* placement_driver::find(std::size_t i, group_id group) {
  return const_cast<copy*>(std::as_const(*this).find(i, group));
}

bool placement_driver::is_wanted(std::size_t i, group_id group) const {
  return std::any_of(target_[i].begin(), target_[i].end(), [&](const experts::replica& r) {
    return r.group == group;
  });
}

bool placement_driver::is_lost(std::size_t i) const {
  return std::none_of(
      copies_[i].begin(), copies_[i].end(), [](const copy& c) { return c.is_mapped; });
}

std::size_t placement_driver::nodes_holding(std::size_t i, node_id besides) const {
  std::set<node_id> nodes;
  for (const copy& c : copies_[i]) {
    const auto at = seats_.find(c.group);
    if (c.is == state::held && at != seats_.end() && at->second.who.node != besides)
      nodes.insert(at->second.who.node);
  }
  return nodes.size();
}

void placement_driver::set_seats(std::vector<seat> seats) {
  std::map<group_id, seat> next;
  for (seat& s : seats) next.emplace(s.who.group, std::move(s));
  for (auto at = seats_.begin(); at != seats_.end();) {
    const group_id group = at->first;
    ++at;
    if (next.count(group) == 0) forget(group);
  }
  const auto is_same = [](const auto& a, const auto& b) {
    const holder &x = a.second.who, &y = b.second.who;
    return a.first == b.first && x.node == y.node && x.capacity == y.capacity &&
           x.accepts_new == y.accepts_new && x.serves == y.serves && x.drains == y.drains;
  };
  if (!std::equal(next.begin(), next.end(), seats_.begin(), seats_.end(), is_same))
    is_stale_ = true;
  seats_ = std::move(next);
}

void placement_driver::forget(group_id group) {
  for (auto& list : copies_) {
    const auto at =
        std::find_if(list.begin(), list.end(), [&](const copy& c) { return c.group == group; });
    if (at == list.end()) continue;
    if (at->is_mapped) has_changed_ = true;
    list.erase(at);
  }
  for (auto at = orders_.begin(); at != orders_.end();)
    at = at->first.first == group ? orders_.erase(at) : std::next(at);
  for (auto at = barred_.begin(); at != barred_.end();)
    at = at->first.second == group ? barred_.erase(at) : std::next(at);
  silent_.erase(group);
  seats_.erase(group);
  is_stale_ = true;
}

/// Whether the group's answer to the check row is that of the other holders. If not, the group does
/// not get that expert again.
bool placement_driver::agrees(std::size_t i, group_id group, std::uint64_t check) {
  if (check == 0) return true;
  if (checks_[i] == 0) checks_[i] = check;
  if (checks_[i] == check) return true;
  const auto at = seats_.find(group);
  const std::string node =
      at == seats_.end() ? std::string{"?"} : std::to_string(at->second.who.node.value);
  news_.push_back("node " + node + " computes " + named(i) +
                  " differently from the other holders: its weights or its arithmetic are not "
                  "those of the cluster; it does not get that expert");
  barred_[{i, group}] = {.until = {}, .failures = 1, .is_final = true, .is_over = false};
  is_stale_ = true;
  return false;
}

/// Out of the map, if it was in it, and to be released.
void placement_driver::leave(copy& c) {
  c.is = state::leaving;
  // Before the first map there was none with it, unless one from before a restart is still used.
  const epoch without = published_ == epoch{} && !is_resumed_ ? epoch{1} : published_;
  c.out_since = c.is_mapped ? epoch{} : without;
  if (c.is_mapped) has_changed_ = true;
  c.is_mapped = false;
}

void placement_driver::note_held(std::size_t i, group_id group, std::uint64_t check) {
  copy* c = find(i, group);
  if (c == nullptr) c = &copies_[i].emplace_back(copy{.group = group});
  c->is = state::held;
  if (!agrees(i, group, check)) return leave(*c);
  is_stale_ = is_stale_ || !is_wanted(i, group);
}

void placement_driver::claimed(group_id group, std::span<const wire::checked_expert> held) {
  if (seats_.count(group) == 0) return;
  for (const wire::checked_expert& e : held) {
    if (const auto i = index_of(e.layer, e.expert)) note_held(*i, group, e.check);
  }
  has_found_ = is_stale_ = true;
}

void placement_driver::claimed_again(group_id group,
                                     std::span<const wire::checked_expert> held,
                                     time_point_ns now) {
  const auto at = seats_.find(group);
  if (at == seats_.end()) return;
  const node_id node = at->second.who.node;
  std::map<std::size_t, std::uint64_t> said;
  for (const wire::checked_expert& e : held) {
    if (const auto i = index_of(e.layer, e.expert)) said.emplace(*i, e.check);
  }
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    const copy* c = find(i, group);
    const auto is_there = said.find(i);
    if (c == nullptr && is_there != said.end()) {
      note_held(i, group, is_there->second);
      has_found_ = true;
    }
    if (c == nullptr) continue;
    if (c->is == state::released && is_there != said.end()) {
      again_.push_back({node, wire::release{published_, group, layer_of(i), {expert_of(i)}}});
    }
    const bool is_missing =
        (c->is == state::held || c->is == state::leaving) && is_there == said.end();
    if (!is_missing) continue;
    if (c->is_mapped) has_changed_ = true;
    copies_[i].erase(copies_[i].begin() + (c - copies_[i].data()));
    is_stale_ = true;
  }
  for (auto& [key, open] : orders_) {
    if (key.first != group) continue;
    open.since = now;
    again_.push_back({open.to, open.message});
  }
}

/// Whether that is the answer to this order, not a second one to an order before it that was
/// repeated. An agent that names nothing has all that was ordered.
bool placement_driver::answers(const wire::load& order,
                               const wire::placed& answer,
                               const std::map<std::uint32_t, std::uint64_t>& held) {
  if (order.epoch != answer.epoch) return false;
  if (answer.cause || held.empty()) return true;
  return std::all_of(order.experts.begin(), order.experts.end(), [&](std::uint32_t e) {
    return held.count(e) > 0;
  });
}

void placement_driver::answered(const wire::placed& answer, time_point_ns now) {
  now_ = std::max(now_, now);
  if (seats_.count(answer.group) == 0) return;
  std::map<std::uint32_t, std::uint64_t> held;
  for (const wire::checked_expert& e : answer.held) {
    if (e.layer == answer.layer) held.emplace(e.expert, e.check);
  }
  const auto at = orders_.find({answer.group, answer.layer});
  silent_.erase(answer.group);
  const bool is_known = at != orders_.end() && answers(at->second.message, answer, held);
  if (!is_known) {
    // The answer to an order that was given up. What is there may be of use.
    for (const auto& [expert, check] : held) {
      const auto i = index_of(answer.layer, expert);
      if (!i || find(*i, answer.group) != nullptr) continue;
      note_held(*i, answer.group, check);
      has_found_ = true;
    }
    return;
  }
  const order done = std::move(at->second);
  orders_.erase(at);
  std::set<std::uint32_t> taken;
  for (const std::uint32_t expert : done.message.experts) {
    const auto check = held.find(expert);
    if (answer.cause && check == held.end()) continue;
    taken.insert(expert);
    const auto i = index_of(answer.layer, expert);
    ATOLL_ASSERT(i);
    barred_.erase({*i, answer.group});
    ++copies_loaded_;
    note_held(*i, answer.group, check == held.end() ? 0 : check->second);
  }
  if (answer.cause) fail(done, taken, answer.cause->text);
}

void placement_driver::put_off(bar& b) {
  const auto wait = settings_.retry_first * (std::int64_t{1} << std::min(b.failures, 16U));
  b.until = now_ + std::min<duration_ns>(wait, settings_.retry_max);
  b.is_over = false;
  ++b.failures;
}

/// The experts of an order, `but` for some, are not there. They are not tried again there for a
/// while, so that the plan looks for other places.
void placement_driver::fail(const order& failed,
                            const std::set<std::uint32_t>& but,
                            const std::string& why) {
  const group_id group = failed.message.group;
  for (const std::uint32_t expert : failed.message.experts) {
    if (but.count(expert) > 0) continue;
    const auto i = index_of(failed.message.layer, expert);
    ATOLL_ASSERT(i);
    const copy* c = find(*i, group);
    if (c != nullptr && c->is == state::ordered)
      copies_[*i].erase(copies_[*i].begin() + (c - copies_[*i].data()));
    put_off(barred_[{*i, group}]);
  }
  is_stale_ = true;
  news_.push_back("node " + std::to_string(failed.to.value) + " could not load experts of layer " +
                  std::to_string(failed.message.layer.value) + ": " + why);
}

void placement_driver::add_reader(node_id node, epoch in_use) {
  const auto [at, is_new] = readers_.try_emplace(node);
  if (is_new) at->second = {.uses_none = in_use == epoch{}, .used = in_use, .oldest = {}};
  if (published_ == epoch{}) return;
  if (at->second.uses_none) {
    at->second.uses_none = false;
    at->second.oldest = published_;
  }
  again_.push_back({node, map_message()});
}

void placement_driver::remove_reader(node_id node) { readers_.erase(node); }

void placement_driver::adopted(node_id node, epoch used, epoch oldest) {
  const auto at = readers_.find(node);
  if (at == readers_.end() || used > published_) return;
  at->second.used = std::max(at->second.used, used);
  at->second.oldest = std::max(at->second.oldest, std::min(oldest, used));
}

void placement_driver::open(bool is_resumed) {
  is_open_ = true;
  is_resumed_ = is_resumed;
}

std::optional<time_point_ns> placement_driver::next_due() const {
  std::optional<time_point_ns> next;
  if (is_stale_ && is_open_ && !copies_.empty()) next = now_;
  const auto no_later = [&](time_point_ns t) { next = next ? std::min(*next, t) : t; };
  if (flip_due_) no_later(*flip_due_);
  for (const auto& [key, open] : orders_) no_later(open.since + settings_.load_patience);
  for (const auto& [key, b] : barred_) {
    if (!b.is_final && !b.is_over) no_later(b.until);
  }
  for (const auto& [group, b] : silent_) {
    if (!b.is_over) no_later(b.until);
  }
  return next;
}

placement_summary placement_driver::summary() const {
  placement_summary s;
  s.epoch = published_;
  s.experts = copies_.size();
  s.copies_least = copies_.empty() ? 0 : copies_.front().size();
  s.unplaceable = unplaceable_;
  s.short_of = short_of_;
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    std::size_t mapped = 0;
    for (const copy& c : copies_[i]) {
      mapped += c.is_mapped ? 1 : 0;
      s.loads_open += c.is == state::ordered ? 1 : 0;
    }
    s.copies_least = std::min(s.copies_least, mapped);
    s.without_copy += mapped == 0 ? 1 : 0;
    for (const experts::replica& r : target_[i]) {
      const copy* c = find(i, r.group);
      s.loads_left += c == nullptr || c->is != state::held ? 1 : 0;
    }
  }
  return s;
}

node_copies placement_driver::copies_on(node_id node) const {
  node_copies n;
  for (const auto& list : copies_) {
    for (const copy& c : list) {
      const auto at = seats_.find(c.group);
      if (at == seats_.end() || at->second.who.node != node) continue;
      n.held += c.is == state::held ? 1 : 0;
      n.mapped += c.is_mapped ? 1 : 0;
      n.leaving += c.is == state::leaving ? 1 : 0;
      n.loading += c.is == state::ordered ? 1 : 0;
    }
  }
  return n;
}

std::vector<copy_view> placement_driver::copies_of(layer_index layer, expert_index expert) const {
  std::vector<copy_view> all;
  const auto i = index_of(layer, expert.value);
  if (!i) return all;
  for (const copy& c : copies_[*i]) {
    const auto at = seats_.find(c.group);
    if (c.is == state::released || at == seats_.end()) continue;
    const copy_state is = c.is == state::ordered   ? copy_state::loading
                          : c.is == state::leaving ? copy_state::leaving
                          : c.is_mapped            ? copy_state::serving
                                                   : copy_state::held;
    all.push_back({c.group, at->second.who.node, is, c.share});
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.group < b.group; });
  return all;
}

bool placement_driver::is_in_force() const {
  return first_published_ != epoch{} && !readers_.empty() &&
         std::all_of(readers_.begin(), readers_.end(), [&](const auto& r) {
           return r.second.used >= first_published_;
         });
}

std::vector<experts::expert_map::held_expert> placement_driver::only_on(node_id node) const {
  std::vector<experts::expert_map::held_expert> alone;
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    const bool is_here = std::any_of(copies_[i].begin(), copies_[i].end(), [&](const copy& c) {
      const auto at = seats_.find(c.group);
      return c.is == state::held && at != seats_.end() && at->second.who.node == node;
    });
    if (is_here && nodes_holding(i, node) == 0)
      alone.push_back({layer_of(i), expert_index{expert_of(i)}});
  }
  return alone;
}

}  // namespace atl::cluster
