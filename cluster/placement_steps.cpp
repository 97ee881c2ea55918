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
  counts().revivable().each([this](std::size_t i) {
    auto& list = copies_[i];
    const auto at = std::find_if(
        list.begin(), list.end(), [](const copy& c) { return c.is == state::leaving; });
    const auto b = barred_.find({i, at->group});
    if (b != barred_.end() && b->second.is_final) return;
    at->is = state::held;
    touch(i);
    has_found_ = is_stale_ = true;
  });
}

/// Experts without a copy in the map get those that are there.
void placement_driver::use_held() {
  counts().lost().each([this](std::size_t i) {
    for (copy& c : copies_[i]) {
      if (c.is != state::held) continue;
      c.is_mapped = true;
      has_changed_ = true;
      touch(i);
    }
  });
}

void placement_driver::expire(time_point_ns now) {
  if (!expiry_ || now < *expiry_) return;
  expiry_.reset();
  for (auto at = orders_.begin(); at != orders_.end();) {
    const time_point_ns until = at->second.since + settings_.load_patience;
    if (until > now) {
      expires_by(until);
      ++at;
      continue;
    }
    const order late = std::move(at->second);
    at = end_order(at);
    put_off(silent_[late.message.group]);
    fail(late, {}, "no answer within " + std::to_string(seconds(settings_.load_patience)) + " s");
  }
  const auto end_bar = [&](bar& b) {
    if (b.is_final || b.is_over) return;
    b.is_over = b.until <= now;
    if (b.is_over)
      is_stale_ = true;
    else
      expires_by(b.until);
  };
  for (auto& [key, b] : barred_) end_bar(b);
  for (auto& [group, b] : silent_) end_bar(b);
}

/// Copies beyond the wanted ones, left by a plan that was given up half-way, go at once from the
/// fullest groups: their room may be needed for what the next plan loads. All that stay are used.
void placement_driver::trim() {
  std::map<group_id, std::size_t> held;
  for (const auto& [group, s] : seats_) held[group] = counts().of(group).held;
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    // The plan gives up what the goal does not name.
    if (copies_[i].size() <= wanted(i) || goal_of(i) != nullptr) continue;
    while (copy* surplus = surplus_of(i, held)) {
      --held[surplus->group];
      leave(*surplus);
      touch(i);
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
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    for (const copy& c : copies_[i])
      if (c.is == state::held)
        input.present[i].push_back({.group = c.group, .share = goal_ ? c.share : 1});
  }
  for (const auto& [group, s] : seats_) {
    holder h = s.who;
    h.capacity -= std::min(h.capacity, counts().of(group).leaving);
    const auto mute = silent_.find(group);
    h.accepts_new = h.accepts_new && (mute == silent_.end() || mute->second.is_over);
    input.holders.push_back(h);
  }
  add_limits(input);
  add_goal(input);
  return input;
}

/// What was asked for one by one, and what is not to be made now.
void placement_driver::add_limits(repair_input& input) const {
  for (const auto& [key, b] : barred_) {
    if (b.is_over) continue;
    input.barred.push_back({key.second, layer_of(key.first), expert_index{expert_of(key.first)}});
  }
  bar_unfetchable(input);
  add_wishes(input);
}

/// Who has no checkpoint waits until an expert is held somewhere. Where nobody has one, loads fail
/// and say so.
void placement_driver::bar_unfetchable(repair_input& input) const {
  std::vector<group_id> fetching;
  for (const auto& [group, s] : seats_)
    if (!s.has_weights) fetching.push_back(group);
  if (fetching.empty() || fetching.size() == seats_.size()) return;
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
  for (std::size_t i = 0; i < copies_.size(); ++i)
    if (target_[i] != made->target[i]) touch(i);
  target_ = std::move(made->target);
  for (const expert_copy& e : made->evictions) {
    const auto i = index_of(e.layer, e.expert.value);
    ATOLL_ASSERT(i);
    if (copy* c = find(*i, e.group); c != nullptr && c->is == state::held) {
      leave(*c);
      touch(*i);
    }
  }
  if (!made->loads.empty()) plan_epoch_ = epochs_();
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

/// Only groups for which something has changed are looked at: the others are as busy, or as full,
/// as they were. Experts without any copy come first, each with one.
void placement_driver::give_orders(time_point_ns now, std::vector<placement_message>& out) {
  refresh();
  std::vector<std::pair<std::size_t, group_id>> waiting;
  for (const group_id group : index_.take_woken())
    index_.pending(group).each([&](std::size_t i) { waiting.emplace_back(i, group); });
  std::sort(waiting.begin(), waiting.end());
  std::map<slot_key, wire::load> made;
  for (const bool first_copies : {true, false}) {
    std::optional<std::size_t> has_one;
    for (const auto& [i, group] : waiting) {
      if (first_copies && (!index_.of(i).is_first || has_one == i)) continue;
      if (add_order(i, group, made)) has_one = i;
    }
  }
  for (auto& [key, message] : made) {
    std::sort(message.experts.begin(), message.experts.end());
    const node_id to = seats_.at(key.first).who.node;
    out.push_back({to, message});
    orders_.emplace(key, order{std::move(message), to, now});
    index_.add_order(key.first, 1);
    expires_by(now + settings_.load_patience);
  }
}

bool placement_driver::add_order(std::size_t i,
                                 group_id group,
                                 std::map<slot_key, wire::load>& made) {
  const auto at = seats_.find(group);
  const slot_key key{group, layer_of(i)};
  if (find(i, group) != nullptr || at == seats_.end() || orders_.count(key) > 0) return false;
  std::size_t ordered = 0, opened = 0;
  for (auto m = made.lower_bound({group, {}}); m != made.end() && m->first.first == group; ++m) {
    ordered += m->second.experts.size();
    ++opened;
  }
  const placement_index::tally& has = index_.of(group);
  if (has.used() + ordered >= at->second.who.capacity) return false;
  const auto sources = sources_of(i, at->second.who.node);
  const auto known = made.find(key);
  if (known == made.end()) {
    if (has.orders + opened >= settings_.orders_open) return false;
    made.emplace(key, wire::load{plan_epoch_, group, layer_of(i), {}, sources});
  } else if (known->second.sources != sources ||
             known->second.experts.size() >= settings_.order_experts) {
    return false;
  }
  made.at(key).experts.push_back(expert_of(i));
  if (const auto gone = released_.find(group); gone != released_.end()) gone->second.set(i, false);
  copies_[i].push_back({.group = group});
  touch(i);
  return true;
}

/// Maps take time to build and to send: some 20 ns an entry and reader, of which there may be a
/// million; so large ones are a fiftieth of the time.
duration_ns placement_driver::flip_gap() const {
  const auto entries = static_cast<std::int64_t>(counts().mapped() * readers_.size());
  return std::max(settings_.flip_gap, duration_ns{1000 * entries});
}

/// Whether use_target() would change something.
bool placement_driver::is_due(std::size_t i) const {
  return std::any_of(copies_[i].begin(), copies_[i].end(), [&](const copy& c) {
    if (c.is != state::held) return false;
    const auto at = std::find_if(
        target_[i].begin(), target_[i].end(), [&](const auto& r) { return r.group == c.group; });
    return at == target_[i].end() || !c.is_mapped || c.share != at->share;
  });
}

/// The target of an expert becomes its part of the map. False if it is already.
bool placement_driver::use_target(std::size_t i) {
  bool is_new = false;
  touch(i);
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
  const bool is_early = !is_last && flipped_at_ && now_ < *flipped_at_ + flip_gap();
  bool is_new = false;
  if (is_early && !counts().due().is_empty()) flip_due_ = *flipped_at_ + flip_gap();
  if (!is_early) counts().due().each([&](std::size_t i) { is_new = use_target(i) || is_new; });
  if (is_new) flipped_at_ = now_;
  // A plan is bounded; there may be more to do.
  is_stale_ = is_stale_ || (is_last && has_changed_);
  return has_changed_;
}

/// Experts without a copy in the map do not wait for the whole plan, only for each other.
bool placement_driver::flip_lost() {
  if (published_ == epoch{} && !is_resumed_) return false;
  std::vector<std::pair<std::size_t, copy*>> loaded;
  bool is_waiting = false;
  counts().lost().each([&](std::size_t i) {
    bool is_held = false;
    bool is_coming = false;
    for (copy& c : copies_[i]) {
      is_coming = is_coming || c.is == state::ordered;
      if (c.is != state::held || !is_wanted(i, c.group)) continue;
      is_held = true;
      loaded.emplace_back(i, &c);
    }
    is_waiting = is_waiting || (is_coming && !is_held);
  });
  if (is_waiting) return false;
  for (const auto& [i, c] : loaded) {
    c->is_mapped = true;
    touch(i);
  }
  has_changed_ = has_changed_ || !loaded.empty();
  return !loaded.empty();
}

/// Experts without a copy in the map that are to have one.
std::vector<wire::expert_name> placement_driver::coming() const {
  std::vector<wire::expert_name> all;
  counts().coming().each([&](std::size_t i) { all.push_back({layer_of(i), expert_of(i)}); });
  return all;
}

wire::place placement_driver::map_message() const {
  wire::place message;
  message.epoch = published_;
  const placement_index& all = counts();
  message.entries.reserve(all.mapped());
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    const auto first = static_cast<std::ptrdiff_t>(message.entries.size());
    for (const copy& c : copies_[i])
      if (c.is_mapped)
        message.entries.push_back(
            {layer_of(i), expert_of(i), c.group, static_cast<float>(c.share)});
    std::sort(message.entries.begin() + first,
              message.entries.end(),
              [](const auto& a, const auto& b) { return a.group < b.group; });
  }
  for (const auto& [group, s] : seats_)
    if (all.of(group).mapped > 0) message.groups.push_back({group, s.who.node, s.slot});
  message.coming = coming();
  return message;
}

void placement_driver::publish(std::vector<placement_message>& out) {
  use_held();
  has_changed_ = false;
  published_ = plan_epoch_ > published_ ? plan_epoch_ : epochs_();
  if (first_published_ == epoch{}) first_published_ = published_;
  counts().leaving().each([this](std::size_t i) {
    for (copy& c : copies_[i])
      if (c.is == state::leaving && c.out_since == epoch{}) c.out_since = published_;
  });
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
  std::optional<epoch> oldest;  // that a reader still uses
  for (const auto& [node, r] : readers_)
    if (!r.uses_none) oldest = oldest ? std::min(*oldest, r.oldest) : r.oldest;
  counts().leaving().each([&](std::size_t i) {
    std::erase_if(copies_[i], [&](const copy& c) {
      const bool is_out = c.is == state::leaving && c.out_since != epoch{};
      if (!is_out || (oldest && *oldest < c.out_since)) return false;
      released_.try_emplace(c.group, copies_.size()).first->second.set(i, true);
      made[{c.group, layer_of(i)}].experts.push_back(expert_of(i));
      needs_plan = needs_plan || is_wanted(i, c.group);
      touch(i);
      return true;
    });
  });
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
