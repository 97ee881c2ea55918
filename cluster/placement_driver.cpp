#include "cluster/placement_driver.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>
#include <array>
#include <utility>

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
      target_(copies_.size()),
      index_{copies_.size()},
      is_touched_(copies_.size()) {
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

bool placement_driver::was_released(std::size_t i, group_id group) const {
  const auto at = released_.find(group);
  return at != released_.end() && at->second.has(i);
}

void placement_driver::touch(std::size_t i) const {
  if (is_touched_[i]) return;
  is_touched_[i] = true;
  touched_.push_back(i);
}

void placement_driver::refresh() const {
  for (const std::size_t i : touched_) {
    is_touched_[i] = false;
    index_.replace(i, digest_of(i));
  }
  touched_.clear();
}

const placement_index& placement_driver::counts() const {
  refresh();
  return index_;
}

expert_digest placement_driver::digest_of(std::size_t i) const {
  expert_digest d;
  std::size_t stay = 0;
  bool is_held = false;
  for (const copy& c : copies_[i]) {
    d.copies.push_back({c.group, c.is, c.is_mapped});
    d.is_first = d.is_first && c.is == state::leaving;
    is_held = is_held || c.is == state::held;
    const auto& seat = index_.of(c.group);
    stay += c.is == state::held && seat.is_here && !seat.drains ? 1 : 0;
  }
  for (const experts::replica& r : target_[i]) {
    const copy* c = find(i, r.group);
    if (c == nullptr) d.pending.push_back(r.group);
    d.left += c == nullptr || c->is != state::held ? 1 : 0;
    d.is_coming = d.is_coming || index_.of(r.group).is_here;
  }
  d.is_complete = d.left == 0;
  d.is_due = d.is_complete && is_due(i);
  d.is_revivable = !is_held && !d.copies.empty() && wanted(i) > 0 &&
                   std::any_of(d.copies.begin(), d.copies.end(), [](const auto& c) {
                     return c.is == state::leaving;
                   });
  const std::size_t asked = wish_of(i).copies.value_or(settings_.copies);
  d.is_short = stay < std::min(asked, target_[i].size());
  measure_goal(i, d);
  return d;
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

void placement_driver::touch_all() const {
  for (std::size_t i = 0; i < copies_.size(); ++i) touch(i);
}

void placement_driver::set_seats(std::vector<seat> seats) {
  std::map<group_id, seat> next;
  for (seat& s : seats) next.emplace(s.who.group, std::move(s));
  for (auto at = seats_.begin(); at != seats_.end();) {
    const group_id group = at->first;
    ++at;
    if (next.count(group) == 0) forget(group);
  }
  if (note_seats(next)) is_stale_ = true;
  seats_ = std::move(next);
}

/// Counts anew what seats decide of. False if none is other than before.
bool placement_driver::note_seats(const std::map<group_id, seat>& next) {
  bool is_new = false, has_effect = false;
  for (const auto& [group, s] : next) {
    const holder& h = s.who;
    const auto at = seats_.find(group);
    const bool is_same = at != seats_.end() && at->second.who.node == h.node &&
                         at->second.who.capacity == h.capacity &&
                         at->second.who.accepts_new == h.accepts_new &&
                         at->second.who.serves == h.serves && at->second.who.drains == h.drains;
    if (is_same) continue;
    is_new = true;
    index_.wake(group);
    has_effect |= index_.set_seat(group, true, h.accepts_new && h.serves && !h.drains, h.drains);
  }
  if (is_new) goal_knows_all_.reset();
  if (has_effect) touch_all();
  return is_new;
}

void placement_driver::forget(group_id group) {
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    auto& list = copies_[i];
    const auto at =
        std::find_if(list.begin(), list.end(), [&](const copy& c) { return c.group == group; });
    if (at == list.end()) continue;
    if (at->is_mapped) has_changed_ = true;
    list.erase(at);
    touch(i);
  }
  for (auto at = orders_.lower_bound({group, {}}); at != orders_.end() && at->first.first == group;)
    at = end_order(at);
  for (auto at = barred_.begin(); at != barred_.end();)
    at = at->first.second == group ? barred_.erase(at) : std::next(at);
  silent_.erase(group);
  released_.erase(group);
  if (seats_.erase(group) > 0) goal_knows_all_.reset();
  if (index_.set_seat(group, false, false, false)) touch_all();
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
  touch(i);
  copy* c = find(i, group);
  if (c == nullptr) c = &copies_[i].emplace_back(copy{.group = group});
  if (const auto at = released_.find(group); at != released_.end()) at->second.set(i, false);
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
      if (was_released(i, group)) {
        again_.push_back({node, wire::release{published_, group, layer_of(i), {expert_of(i)}}});
        continue;
      }
      note_held(i, group, is_there->second);
      has_found_ = true;
    }
    if (c == nullptr) continue;
    const bool is_missing =
        (c->is == state::held || c->is == state::leaving) && is_there == said.end();
    if (!is_missing) continue;
    if (c->is_mapped) has_changed_ = true;
    copies_[i].erase(copies_[i].begin() + (c - copies_[i].data()));
    touch(i);
    is_stale_ = true;
  }
  for (auto& [key, open] : orders_) {
    if (key.first != group) continue;
    open.since = now;
    again_.push_back({open.to, open.message});
  }
}

placement_driver::order_list::iterator placement_driver::end_order(order_list::iterator at) {
  index_.add_order(at->first.first, -1);
  return orders_.erase(at);
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
      if (!i || find(*i, answer.group) != nullptr || was_released(*i, answer.group)) continue;
      note_held(*i, answer.group, check);
      has_found_ = true;
    }
    return;
  }
  const order done = std::move(at->second);
  end_order(at);
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
  expires_by(b.until);
}

void placement_driver::expires_by(time_point_ns at) {
  expiry_ = expiry_ ? std::min(*expiry_, at) : at;
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
    touch(*i);
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
  if (expiry_) no_later(*expiry_);
  return next;
}

placement_summary placement_driver::summary() const {
  const placement_index& all = counts();
  placement_summary s;
  s.epoch = published_;
  s.experts = copies_.size();
  s.copies_least = all.mapped_least();
  s.unplaceable = unplaceable_;
  s.short_of = short_of_;
  s.loads_open = all.ordered();
  s.loads_left = all.left();
  s.without_copy = all.lost().size();
  return s;
}

node_copies placement_driver::copies_on(node_id node) const {
  node_copies n;
  for (const auto& [group, s] : seats_) {
    if (s.who.node != node) continue;
    const placement_index::tally& t = counts().of(group);
    n.held += t.held;
    n.mapped += t.mapped;
    n.leaving += t.leaving;
    n.loading += t.ordered;
  }
  return n;
}

std::vector<copy_view> placement_driver::copies_of(layer_index layer, expert_index expert) const {
  std::vector<copy_view> all;
  const auto i = index_of(layer, expert.value);
  if (!i) return all;
  for (const copy& c : copies_[*i]) {
    const auto at = seats_.find(c.group);
    if (at == seats_.end()) continue;
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
