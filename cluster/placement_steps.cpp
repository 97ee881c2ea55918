#include "cluster/placement_driver.hpp"
#include "runtime/base/assert.hpp"

#include <algorithm>
#include <tuple>
#include <unordered_map>

namespace atl::cluster {

namespace wire = transport::wire;

namespace {

// Each round of a step does what the one before made possible: a map, then releases, then orders.
// It ends as soon as a round changes nothing.
constexpr int rounds_max = 16;

}  // namespace

std::vector<placement_message> placement_driver::step(time_point_ns now) {
  now_ = std::max(now_, now);
  std::vector<placement_message> out = std::exchange(again_, {});
  if (!is_open_ || copies_.empty()) return out;
  expire(now_);
  for (int round = 0; round < rounds_max; ++round) {
    const std::size_t before = out.size();
    revive();
    // What is lost, or turned out to be there, is told at once; what is loaded takes its time.
    const bool may_publish = published_ != epoch{} || is_resumed_;
    if (std::exchange(has_found_, false) && may_publish) use_held();
    if (has_changed_ && may_publish) publish(out);
    if (is_stale_) plan();
    const bool is_news = published_ != epoch{} && coming() != told_coming_;
    if ((has_changed_ && may_publish) || is_news) publish(out);
    give_orders(now_, out);
    if (flip() || flip_lost()) publish(out);
    release(out);
    if (out.size() == before && !is_stale_) break;
  }
  return out;
}

/// A copy on its way out stays where its expert has no other.
void placement_driver::revive() {
  for (auto& list : copies_) {
    const bool is_held =
        std::any_of(list.begin(), list.end(), [](const copy& c) { return c.is == state::held; });
    const auto i = static_cast<std::size_t>(&list - copies_.data());
    if (is_held || wanted(i) == 0) continue;
    const auto at = std::find_if(
        list.begin(), list.end(), [](const copy& c) { return c.is == state::leaving; });
    if (at == list.end()) continue;
    const auto b = barred_.find({i, at->group});
    if (b != barred_.end() && b->second.is_final) continue;
    at->is = state::held;
    has_found_ = is_stale_ = true;
  }
}

/// Experts without a copy in the map get those that are there.
void placement_driver::use_held() {
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    if (!is_lost(i)) continue;
    for (copy& c : copies_[i]) {
      if (c.is != state::held) continue;
      c.is_mapped = true;
      has_changed_ = true;
    }
  }
}

void placement_driver::expire(time_point_ns now) {
  for (auto at = orders_.begin(); at != orders_.end();) {
    if (at->second.since + settings_.load_patience > now) {
      ++at;
      continue;
    }
    const order late = std::move(at->second);
    at = orders_.erase(at);
    put_off(silent_[late.message.group]);
    fail(late, {}, "no answer within " + std::to_string(seconds(settings_.load_patience)) + " s");
  }
  for (auto& [key, b] : barred_) {
    if (b.is_final || b.is_over || b.until > now) continue;
    b.is_over = true;
    is_stale_ = true;
  }
  for (auto& [group, b] : silent_) {
    if (b.is_over || b.until > now) continue;
    b.is_over = true;
    is_stale_ = true;
  }
}

/// Copies beyond the wanted ones, left by a plan that was given up half-way, go at once from the
/// fullest groups: their room may be needed for what the next plan loads. All that stay are used.
void placement_driver::trim() {
  std::map<group_id, std::size_t> held;
  for (const auto& list : copies_) {
    for (const copy& c : list) held[c.group] += c.is == state::held ? 1 : 0;
  }
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    if (goal_of(i) != nullptr) continue;  // the plan gives up what the goal does not name
    while (copy* surplus = surplus_of(i, held)) {
      --held[surplus->group];
      leave(*surplus);
    }
  }
}

/// Where something was asked for the expert, what is in use stays rather than what is not yet.
placement_driver::copy* placement_driver::surplus_of(std::size_t i,
                                                     const std::map<group_id, std::size_t>& held) {
  const expert_wish& wish = wish_of(i);
  const bool has_wish = wishes_.count(i) > 0;
  const auto is_among = [](const std::vector<node_id>& nodes, node_id node) {
    return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
  };
  const auto rank = [&](const copy& c) {
    const node_id node = seats_.at(c.group).who.node;
    return std::tuple{!is_among(wish.pins, node),
                      is_among(wish.unwanted, node),
                      has_wish && !c.is_mapped,
                      held.at(c.group)};
  };
  std::set<node_id> nodes;
  copy* worst = nullptr;
  for (copy& c : copies_[i]) {
    const holder& h = seats_.at(c.group).who;
    if (c.is != state::held || h.drains) continue;
    nodes.insert(h.node);
    if (worst == nullptr || rank(c) >= rank(*worst)) worst = &c;
  }
  return nodes.size() > wanted(i) ? worst : nullptr;
}

repair_input placement_driver::planning_input() const {
  repair_input input;
  input.shape = settings_.shape;
  input.copies = settings_.copies;
  input.moves_max = settings_.moves_max;
  input.present.resize(copies_.size());
  std::map<group_id, std::size_t> leaving;
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    for (const copy& c : copies_[i]) {
      if (c.is == state::held)
        input.present[i].push_back({.group = c.group, .share = goal_ ? c.share : 1});
      if (c.is == state::leaving) ++leaving[c.group];
    }
  }
  for (const auto& [group, s] : seats_) {
    holder h = s.who;
    h.capacity -= std::min(h.capacity, leaving[group]);
    const auto mute = silent_.find(group);
    h.accepts_new = h.accepts_new && (mute == silent_.end() || mute->second.is_over);
    input.holders.push_back(h);
  }
  for (const auto& [key, b] : barred_) {
    if (b.is_over) continue;
    input.barred.push_back({key.second, layer_of(key.first), expert_index{expert_of(key.first)}});
  }
  bar_unfetchable(input);
  add_wishes(input);
  add_goal(input);
  return input;
}

/// Who has no checkpoint waits until an expert is held somewhere. Where nobody has one, loads fail
/// and say so.
void placement_driver::bar_unfetchable(repair_input& input) const {
  std::vector<group_id> fetching;
  for (const auto& [group, s] : seats_)
    if (!s.has_weights) fetching.push_back(group);
  if (fetching.size() == seats_.size()) return;
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    const bool is_somewhere = std::any_of(copies_[i].begin(), copies_[i].end(), [](const copy& c) {
      return c.is == state::held || c.is == state::leaving;
    });
    if (is_somewhere) continue;
    for (const group_id group : fetching)
      input.barred.push_back({group, layer_of(i), expert_index{expert_of(i)}});
  }
}

void placement_driver::plan() {
  is_stale_ = false;
  trim();
  auto made = plan_repair(planning_input());
  if (made.has_error()) {
    news_.push_back(made.error().message());
    return;
  }
  const bool is_worse = made->unplaceable.size() > unplaceable_;
  unplaceable_ = made->unplaceable.size();
  short_of_ = made->short_of.size();
  if (is_worse) {
    news_.push_back("there is no memory for " + std::to_string(unplaceable_) + " of " +
                    std::to_string(copies_.size()) +
                    " experts: add expert nodes, or memory to those that are there");
  }
  target_ = std::move(made->target);
  for (const expert_copy& e : made->evictions) {
    const auto i = index_of(e.layer, e.expert.value);
    ATOLL_ASSERT(i);
    if (copy* c = find(*i, e.group); c != nullptr && c->is == state::held) leave(*c);
  }
  if (!made->loads.empty()) plan_epoch_ = epochs_();
}

/// Experts with a copy to order, of which `first_copies`: those without any that is held or
/// ordered.
std::vector<std::size_t> placement_driver::needs(bool first_copies) const {
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    const bool is_first = std::none_of(copies_[i].begin(), copies_[i].end(), [](const copy& c) {
      return c.is == state::held || c.is == state::ordered;
    });
    if (is_first != first_copies) continue;
    const bool is_complete =
        std::all_of(target_[i].begin(), target_[i].end(), [&](const experts::replica& r) {
          const copy* c = find(i, r.group);
          return c != nullptr && c->is != state::released;
        });
    if (!is_complete) all.push_back(i);
  }
  return all;
}

/// Other nodes with the weights, by number from the receiver's on, so that receivers spread.
std::vector<node_id> placement_driver::sources_of(std::size_t i, node_id to) const {
  std::set<node_id> after, before;
  for (const copy& c : copies_[i]) {
    const auto at = seats_.find(c.group);
    if ((c.is != state::held && c.is != state::leaving) || at == seats_.end()) continue;
    const node_id node = at->second.who.node;
    if (node > to) after.insert(node);
    if (node < to) before.insert(node);
  }
  std::vector<node_id> all{after.begin(), after.end()};
  all.insert(all.end(), before.begin(), before.end());
  constexpr std::size_t sources_max = 64;
  if (all.size() > sources_max) all.resize(sources_max);
  return all;
}

void placement_driver::give_orders(time_point_ns now, std::vector<placement_message>& out) {
  // Most calls find all groups busy: that is seen before anything is looked up in a tree.
  struct burden {
    std::size_t used = 0, open = 0, made = 0;
  };
  std::unordered_map<group_id, burden> burdens;
  const auto weigh = [&] {
    for (const auto& list : copies_)
      for (const copy& c : list) burdens[c.group].used += c.is == state::released ? 0 : 1;
    for (const auto& [key, o] : orders_) ++burdens[key.first].open;
  };
  std::map<slot_key, wire::load> made;
  for (const bool first_copies : {true, false}) {
    const std::vector<std::size_t> needy = needs(first_copies);
    if (!needy.empty() && burdens.empty()) weigh();
    for (const std::size_t i : needy) {
      for (const experts::replica& r : target_[i]) {
        burden& b = burdens[r.group];
        if (b.open >= settings_.orders_open && b.made == 0) continue;
        copy* c = find(i, r.group);
        if (c != nullptr && c->is != state::released) continue;
        const auto at = seats_.find(r.group);
        if (at == seats_.end() || b.used >= at->second.who.capacity) continue;
        const slot_key key{r.group, layer_of(i)};
        if (orders_.count(key) > 0) continue;
        const auto sources = sources_of(i, at->second.who.node);
        const auto known = made.find(key);
        if (known == made.end()) {
          if (b.open >= settings_.orders_open) continue;
          ++b.open;
          ++b.made;
          made.emplace(key, wire::load{plan_epoch_, r.group, layer_of(i), {}, sources});
        } else if (known->second.sources != sources ||
                   known->second.experts.size() >= settings_.order_experts) {
          continue;
        }
        made.at(key).experts.push_back(expert_of(i));
        ++b.used;
        if (c == nullptr) c = &copies_[i].emplace_back(copy{.group = r.group});
        *c = copy{.group = r.group, .is = state::ordered};
        if (first_copies) break;
      }
    }
  }
  for (auto& [key, message] : made) {
    std::sort(message.experts.begin(), message.experts.end());
    const node_id to = seats_.at(key.first).who.node;
    out.push_back({to, message});
    orders_.emplace(key, order{std::move(message), to, now});
  }
}

bool placement_driver::is_complete(std::size_t i) const {
  return std::all_of(target_[i].begin(), target_[i].end(), [&](const experts::replica& r) {
    const copy* c = find(i, r.group);
    return c != nullptr && c->is == state::held;
  });
}

bool placement_driver::is_complete() const {
  for (std::size_t i = 0; i < copies_.size(); ++i)
    if (!is_complete(i)) return false;
  return true;
}

/// Whether use_target() would change the map.
bool placement_driver::is_due(std::size_t i) const {
  return std::any_of(copies_[i].begin(), copies_[i].end(), [&](const copy& c) {
    if (c.is != state::held) return false;
    const auto at = std::find_if(
        target_[i].begin(), target_[i].end(), [&](const auto& r) { return r.group == c.group; });
    if (at == target_[i].end()) return c.is_mapped;
    return !c.is_mapped || c.share != at->share;
  });
}

/// The target of an expert becomes its part of the map. False if it is already.
bool placement_driver::use_target(std::size_t i) {
  bool is_new = false;
  for (copy& c : copies_[i]) {
    if (c.is != state::held) continue;
    const auto at = std::find_if(
        target_[i].begin(), target_[i].end(), [&](const auto& r) { return r.group == c.group; });
    if (at == target_[i].end()) {
      is_new = is_new || c.is_mapped;
      leave(c);
      continue;
    }
    if (c.is_mapped && c.share == at->share) continue;
    c.is_mapped = true;
    c.share = at->share;
    is_new = true;
  }
  has_changed_ = has_changed_ || is_new;
  return is_new;
}

/// Experts of which all copies are held get their place in the map: all at once where nothing is
/// open, or for the first map; otherwise now and then, so that a copy serves soon and maps are few.
bool placement_driver::flip() {
  flip_due_.reset();
  const bool is_last = is_complete();
  const bool is_first = published_ == epoch{} && !is_resumed_;
  if (is_first && !is_last) return false;
  const bool is_early = !is_last && flipped_at_ && now_ < *flipped_at_ + settings_.flip_gap;
  bool is_new = false;
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    if (!is_last && !is_complete(i)) continue;
    if (is_early && is_due(i)) flip_due_ = *flipped_at_ + settings_.flip_gap;
    if (!is_early) is_new = use_target(i) || is_new;
  }
  if (is_new) flipped_at_ = now_;
  // A plan is bounded; there may be more to do.
  is_stale_ = is_stale_ || (is_last && has_changed_);
  return has_changed_;
}

/// Experts without a copy in the map do not wait for the whole plan, only for each other.
bool placement_driver::flip_lost() {
  if (published_ == epoch{} && !is_resumed_) return false;
  std::vector<copy*> loaded;
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    if (!is_lost(i)) continue;
    bool is_held = false;
    bool is_coming = false;
    for (copy& c : copies_[i]) {
      is_coming = is_coming || c.is == state::ordered;
      if (c.is != state::held || !is_wanted(i, c.group)) continue;
      is_held = true;
      loaded.push_back(&c);
    }
    if (is_coming && !is_held) return false;
  }
  for (copy* c : loaded) c->is_mapped = true;
  has_changed_ = has_changed_ || !loaded.empty();
  return !loaded.empty();
}

/// Experts without a copy in the map that are to have one.
std::vector<wire::expert_name> placement_driver::coming() const {
  std::vector<wire::expert_name> all;
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    if (!is_lost(i)) continue;
    const auto can_hold = [&](const experts::replica& r) { return seats_.count(r.group) > 0; };
    if (std::any_of(target_[i].begin(), target_[i].end(), can_hold))
      all.push_back({layer_of(i), expert_of(i)});
  }
  return all;
}

wire::place placement_driver::map_message() const {
  wire::place message;
  message.epoch = published_;
  std::set<group_id> groups;
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    std::vector<wire::placement_entry> entries;
    for (const copy& c : copies_[i]) {
      if (!c.is_mapped) continue;
      entries.push_back({layer_of(i), expert_of(i), c.group, static_cast<float>(c.share)});
      groups.insert(c.group);
    }
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
      return a.group < b.group;
    });
    message.entries.insert(message.entries.end(), entries.begin(), entries.end());
  }
  for (const group_id group : groups) {
    const seat& s = seats_.at(group);
    message.groups.push_back({group, s.who.node, s.slot});
  }
  message.coming = coming();
  return message;
}

void placement_driver::publish(std::vector<placement_message>& out) {
  use_held();
  has_changed_ = false;
  published_ = plan_epoch_ > published_ ? plan_epoch_ : epochs_();
  if (first_published_ == epoch{}) first_published_ = published_;
  for (auto& list : copies_) {
    for (copy& c : list) {
      if (c.is == state::leaving && c.out_since == epoch{}) c.out_since = published_;
    }
  }
  const wire::place message = map_message();
  told_coming_ = message.coming;
  for (auto& [node, r] : readers_) {
    if (r.uses_none) {
      r.uses_none = false;
      r.oldest = published_;
    }
    out.push_back({node, message});
  }
}

void placement_driver::release(std::vector<placement_message>& out) {
  std::map<slot_key, wire::release> made;
  // A plan is carried out as a whole. An order that is older than a release would be refused.
  bool needs_plan = unplaceable_ > 0 || is_complete();
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    for (copy& c : copies_[i]) {
      if (c.is != state::leaving || c.out_since == epoch{}) continue;
      const bool is_used = std::any_of(readers_.begin(), readers_.end(), [&](const auto& r) {
        return !r.second.uses_none && r.second.oldest < c.out_since;
      });
      if (is_used) continue;
      c.is = state::released;
      auto& message = made[{c.group, layer_of(i)}];
      message.experts.push_back(expert_of(i));
      needs_plan = needs_plan || is_wanted(i, c.group);
    }
  }
  for (auto& [key, message] : made) {
    message.epoch = published_;
    message.group = key.first;
    message.layer = key.second;
    out.push_back({seats_.at(key.first).who.node, std::move(message)});
    is_stale_ = is_stale_ || needs_plan;
  }
}

std::vector<experts::expert_map::held_expert> placement_driver::stuck_on(node_id node) const {
  repair_input input = planning_input();
  input.moves_max = 0;
  for (holder& h : input.holders) {
    if (h.node == node) h.drains = true;
  }
  const auto made = plan_repair(input);
  std::vector<experts::expert_map::held_expert> stuck;
  if (made.has_error()) return stuck;
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    const bool is_only_here =
        !made->target[i].empty() &&
        std::all_of(made->target[i].begin(), made->target[i].end(), [&](const auto& r) {
          return seats_.at(r.group).who.node == node;
        });
    if (is_only_here) stuck.push_back({layer_of(i), expert_index{expert_of(i)}});
  }
  return stuck;
}

}  // namespace atl::cluster
