#include "cluster/repair_plan.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

namespace atl::cluster {

namespace {

constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

error bad(const std::string& what) { return {errc::invalid_argument, "repair plan: " + what}; }

result<void> check(const repair_input& input) {
  const auto& layers = input.shape.layers;
  if (input.copies == 0) return bad("at least one copy of each expert has to be wanted");
  if (layers.empty() || input.shape.experts == 0) return bad("there is no expert to place");
  for (std::size_t i = 1; i < layers.size(); ++i)
    if (layers[i] <= layers[i - 1]) return bad("layers are not ascending");
  const std::size_t count = layers.size() * input.shape.experts;
  if (input.present.size() != count) {
    return bad(std::to_string(input.present.size()) + " replica lists for " +
               std::to_string(count) + " experts");
  }
  if (!input.copies_of.empty() && input.copies_of.size() != count)
    return bad("wanted copies of " + std::to_string(input.copies_of.size()) + " experts for " +
               std::to_string(count));
  if (!input.goal.empty() && input.goal.size() != count)
    return bad("a goal for " + std::to_string(input.goal.size()) + " experts of " +
               std::to_string(count));
  return {};
}

/// Groups are indices g into holders (ascending by id), experts are indices i into replica lists.
class planner {
public:
  planner(const repair_input& input, std::vector<holder> holders);

  void place_fresh();
  void fill_holes();
  void place_pinned();
  void reach_wanted_copies();
  void place_goal();
  void finish_drains();
  void give_up_others();
  void balance();
  repair_plan outcome() const;

private:
  enum class asked : std::uint8_t { nothing, pinned, unwanted };
  struct copy_at {
    std::size_t expert;
    std::size_t group;
  };
  /// What there is to say of an expert in a group. Of most there is nothing.
  struct cell {
    std::size_t group = 0;
    std::uint32_t goal = 0;  // share, 0: none
    asked by_hand = asked::nothing;
    bool was = false;  // held now
    bool is = false;   // held in the target
    bool is_evicted = false;
    bool is_barred = false;  // not to be put there
  };

  std::size_t experts() const { return input_.present.size(); }
  std::size_t groups() const { return holders_.size(); }
  std::size_t layer_of(std::size_t i) const { return i / input_.shape.experts; }
  const cell& of(std::size_t i, std::size_t g) const;
  cell& make(std::size_t i, std::size_t g);
  bool was(std::size_t i, std::size_t g) const { return of(i, g).was; }
  bool is(std::size_t i, std::size_t g) const { return of(i, g).is; }
  std::size_t in_layer(std::size_t g, std::size_t layer) const {
    return in_layer_[g * input_.shape.layers.size() + layer];
  }
  bool accepts(std::size_t g) const {
    return holders_[g].accepts_new && holders_[g].serves && !holders_[g].drains;
  }

  /// Wanted without a goal.
  std::uint32_t base(std::size_t i) const {
    return input_.copies_of.empty() ? input_.copies : input_.copies_of[i];
  }
  std::size_t wanted(std::size_t i) const {
    return std::max<std::size_t>(base(i), has_goal() ? input_.goal[i].size() : 0);
  }
  std::size_t due(std::size_t i) const;
  bool has_goal() const { return !input_.goal.empty(); }
  /// The share of the copy by the goal, 0: it does not name it.
  std::uint32_t goal_share(std::size_t i, std::size_t g) const { return of(i, g).goal; }
  bool in_goal(std::size_t i, std::size_t g) const { return goal_share(i, g) > 0; }
  bool is_pinned(std::size_t i, std::size_t g) const { return of(i, g).by_hand == asked::pinned; }
  /// Whether the copy does not count, since it is to go.
  bool goes(const cell& c) const {
    return holders_[c.group].drains || c.by_hand == asked::unwanted;
  }
  /// Past the end where there is none.
  std::size_t index_of(group_id group) const;
  template <class Mark>
  void mark(const std::vector<expert_copy>& copies, Mark&& as);

  void read_goal();
  void put(std::size_t i, std::size_t g);
  void take(std::size_t i, std::size_t g);
  bool has_room(const cell& c) const;
  bool node_holds(std::size_t i, node_id node, std::size_t except = none) const;
  std::size_t nodes_with(std::size_t i, bool draining_too) const;
  bool is_better(std::size_t layer, std::size_t a, std::size_t b) const;
  bool place(std::size_t i);
  bool place_by_eviction(std::size_t i);
  std::optional<copy_at> next_doubled();
  bool may_move(std::size_t i, std::size_t from, std::size_t to) const;
  bool try_move(std::size_t layer, std::size_t from, std::size_t to);
  bool even_out(std::size_t layer);
  bool even_out_totals();
  std::uint32_t share_of(std::size_t i, std::size_t g) const;
  bool is_out_of_moves() const { return input_.moves_max > 0 && moves_ >= input_.moves_max; }
  /// Nothing can be moved from there any more.
  bool is_stuck(std::size_t g) const { return is_out_of_moves() && fresh_[g] == 0; }

  const repair_input& input_;
  std::vector<holder> holders_;
  std::vector<std::vector<cell>> cells_;  // by expert, each by ascending group
  std::vector<std::size_t> in_layer_;     // groups x layers: held in the target
  std::vector<std::size_t> total_;        // held in the target
  std::vector<std::size_t> peak_;         // held while the plan is carried out
  std::vector<std::size_t> fresh_;        // of the target, not held now
  std::vector<std::uint32_t> share_of_new_;
  std::vector<char> blocked_;  // layers x from x to: had nothing to move in this round of balance()
  std::size_t moves_ = 0;
  std::size_t doubled_copies_;  // where next_doubled() goes on
  std::size_t doubled_from_ = 0;
};

planner::planner(const repair_input& input, std::vector<holder> holders)
    : input_{input},
      holders_{std::move(holders)},
      cells_(experts()),
      in_layer_(groups() * input.shape.layers.size()),
      total_(groups()),
      peak_(groups()),
      fresh_(groups()),
      share_of_new_(experts(), 1),
      doubled_copies_{groups()} {
  for (std::size_t i = 0; i < experts(); ++i) {
    std::uint64_t shares = 0;
    std::uint64_t copies = 0;
    for (const experts::replica& copy : input.present[i]) {
      const std::size_t g = index_of(copy.group);
      if (g == groups() || !holders_[g].serves || is(i, g)) continue;
      put(i, g);
      make(i, g).was = true;
      --fresh_[g];
      shares += copy.share;
      ++copies;
    }
    if (copies > 0)
      share_of_new_[i] = static_cast<std::uint32_t>(std::max<std::uint64_t>(1, shares / copies));
  }
  mark(input.barred, [](cell& c) { c.is_barred = true; });
  mark(input.pinned, [](cell& c) { c.by_hand = asked::pinned; });
  mark(input.unwanted, [](cell& c) {
    c.by_hand = asked::unwanted;
    c.is_barred = c.is_barred || !c.was;
  });
  read_goal();
}

void planner::read_goal() {
  if (!has_goal()) return;
  for (std::size_t i = 0; i < experts(); ++i) {
    std::uint64_t shares = 0;
    for (const experts::replica& copy : input_.goal[i]) {
      shares += copy.share;
      const std::size_t g = index_of(copy.group);
      if (g < groups()) make(i, g).goal = std::max<std::uint32_t>(1, copy.share);
    }
    if (!input_.goal[i].empty())
      share_of_new_[i] =
          static_cast<std::uint32_t>(std::max<std::uint64_t>(1, shares / input_.goal[i].size()));
  }
}

/// Copies that are to be there whatever room the goal's groups have: all that are wanted but those
/// of groups that are here and will get theirs.
std::size_t planner::due(std::size_t i) const {
  if (!has_goal()) return base(i);
  std::size_t waited_for = 0;
  for (const cell& c : cells_[i]) {
    const holder& h = holders_[c.group];
    waited_for += c.goal > 0 && !c.is && h.serves && !h.drains ? 1 : 0;
  }
  return std::max<std::size_t>(base(i), wanted(i) - std::min(waited_for, wanted(i)));
}

template <class Mark>
void planner::mark(const std::vector<expert_copy>& copies, Mark&& as) {
  for (const expert_copy& c : copies) {
    const auto& layers = input_.shape.layers;
    const auto row = std::lower_bound(layers.begin(), layers.end(), c.layer);
    const std::size_t g = index_of(c.group);
    if (row == layers.end() || *row != c.layer || g == groups()) continue;
    const auto i = static_cast<std::size_t>(row - layers.begin()) * input_.shape.experts;
    as(make(i + c.expert.value, g));
  }
}

std::size_t planner::index_of(group_id group) const {
  const auto at =
      std::lower_bound(holders_.begin(), holders_.end(), group, [](const holder& h, group_id id) {
        return h.group < id;
      });
  return at != holders_.end() && at->group == group
             ? static_cast<std::size_t>(at - holders_.begin())
             : groups();
}

const planner::cell& planner::of(std::size_t i, std::size_t g) const {
  static const cell nothing;
  const auto& cells = cells_[i];
  const auto at = std::lower_bound(
      cells.begin(), cells.end(), g, [](const cell& c, std::size_t id) { return c.group < id; });
  return at != cells.end() && at->group == g ? *at : nothing;
}

planner::cell& planner::make(std::size_t i, std::size_t g) {
  auto& cells = cells_[i];
  const auto at = std::lower_bound(
      cells.begin(), cells.end(), g, [](const cell& c, std::size_t id) { return c.group < id; });
  if (at != cells.end() && at->group == g) return *at;
  return *cells.insert(at, cell{.group = g});
}

void planner::put(std::size_t i, std::size_t g) {
  cell& c = make(i, g);
  c.is = true;
  ++in_layer_[g * input_.shape.layers.size() + layer_of(i)];
  ++total_[g];
  if (c.was) return;
  ++peak_[g];
  ++fresh_[g];
}

void planner::take(std::size_t i, std::size_t g) {
  cell& c = make(i, g);
  c.is = false;
  --in_layer_[g * input_.shape.layers.size() + layer_of(i)];
  --total_[g];
  if (c.was) return;
  --peak_[g];
  --fresh_[g];
}

bool planner::has_room(const cell& c) const {
  return c.was || (peak_[c.group] < holders_[c.group].capacity && !c.is_barred);
}

/// Whether a group of that node that does not drain, other than `except`, is to hold the expert.
bool planner::node_holds(std::size_t i, node_id node, std::size_t except) const {
  return std::any_of(cells_[i].begin(), cells_[i].end(), [&](const cell& c) {
    return c.group != except && c.is && holders_[c.group].node == node && !goes(c);
  });
}

std::size_t planner::nodes_with(std::size_t i, bool draining_too) const {
  std::size_t nodes = 0;
  const auto counts = [&](const cell& c) { return c.is && (draining_too || !goes(c)); };
  for (auto c = cells_[i].begin(); c != cells_[i].end(); ++c) {
    const bool is_known = std::any_of(cells_[i].begin(), c, [&](const cell& other) {
      return counts(other) && holders_[other.group].node == holders_[c->group].node;
    });
    nodes += counts(*c) && !is_known ? 1 : 0;
  }
  return nodes;
}

/// Whether a new expert of the layer should rather go to a than to b, a < b.
bool planner::is_better(std::size_t layer, std::size_t a, std::size_t b) const {
  if (in_layer(a, layer) != in_layer(b, layer)) return in_layer(a, layer) < in_layer(b, layer);
  // free / capacity, compared without division; both have room, so capacities are not 0.
  const std::size_t free_a = holders_[a].capacity - std::min(holders_[a].capacity, total_[a]);
  const std::size_t free_b = holders_[b].capacity - std::min(holders_[b].capacity, total_[b]);
  return free_a * holders_[b].capacity >= free_b * holders_[a].capacity;
}

/// Adds a copy of the expert where there is room. False if there is none on a further node.
bool planner::place(std::size_t i) {
  std::size_t best = none;
  bool is_best_in_goal = false;
  auto next = cells_[i].begin();
  for (std::size_t g = 0; g < groups(); ++g) {
    const bool is_known = next != cells_[i].end() && next->group == g;
    const cell c = is_known ? *next++ : cell{.group = g};
    if (!accepts(g) || c.is || !has_room(c)) continue;
    const bool is_in_goal = c.goal > 0;
    const bool is_first = best == none || (is_in_goal && !is_best_in_goal);
    const bool is_equal = best != none && is_in_goal == is_best_in_goal;
    if (!is_first && (!is_equal || is_better(layer_of(i), best, g))) continue;
    if (node_holds(i, holders_[g].node)) continue;
    best = g;
    is_best_in_goal = is_in_goal;
  }
  if (best == none) return false;
  put(i, best);
  return true;
}

/// The copy to give up for an expert that has none: of the experts with the most copies, in a full
/// group that accepts. Experts lose copies only by this, so one walk from the most copies down to
/// two meets them all.
std::optional<planner::copy_at> planner::next_doubled() {
  for (; doubled_copies_ >= 2; --doubled_copies_, doubled_from_ = 0) {
    while (doubled_from_ < experts()) {
      const std::size_t i = doubled_from_++;
      std::vector<std::size_t> holding;
      for (const cell& c : cells_[i])
        if (c.is && c.was) holding.push_back(c.group);
      if (holding.size() != doubled_copies_) continue;
      std::size_t best = none;
      for (const std::size_t g : holding) {
        if (!accepts(g) || peak_[g] > holders_[g].capacity || is_pinned(i, g)) continue;
        if (best == none || node_holds(i, holders_[g].node, g)) best = g;
      }
      if (best != none) return copy_at{i, best};
    }
  }
  return std::nullopt;
}

bool planner::place_by_eviction(std::size_t i) {
  const std::optional<copy_at> doubled = next_doubled();
  if (!doubled || of(i, doubled->group).is_barred) return false;
  take(doubled->expert, doubled->group);
  cell& given_up = make(doubled->expert, doubled->group);
  given_up.was = false;
  given_up.is_evicted = true;
  --peak_[doubled->group];
  put(i, doubled->group);
  return true;
}

/// As experts::spread_evenly does over the groups that accept, if all is empty and it fits.
void planner::place_fresh() {
  if (std::any_of(total_.begin(), total_.end(), [](std::size_t held) { return held != 0; })) return;
  if (!input_.barred.empty() || has_goal()) return;
  std::vector<experts::group_place> places;
  std::vector<std::size_t> group_at;
  for (std::size_t g = 0; g < groups(); ++g) {
    if (!accepts(g)) continue;
    places.push_back(
        {.group = group_id{static_cast<std::uint32_t>(places.size())}, .node = holders_[g].node});
    group_at.push_back(g);
  }
  const auto copies =
      static_cast<std::uint32_t>(std::min<std::size_t>(input_.copies, places.size()));
  const auto map = experts::spread_evenly(epoch{}, input_.shape, places, copies);
  if (map.has_error()) return;  // no group at all: everything is unplaceable
  const auto each = [&](auto&& does) {
    for (std::size_t i = 0; i < experts(); ++i) {
      const expert_index expert{static_cast<std::uint32_t>(i % input_.shape.experts)};
      for (const auto& copy : map->replicas(input_.shape.layers[layer_of(i)], expert))
        does(i, copy.group.value);
    }
  };
  std::vector<std::size_t> held(group_at.size());
  each([&](std::size_t, std::size_t at) { ++held[at]; });
  for (std::size_t at = 0; at < group_at.size(); ++at)
    if (held[at] > holders_[group_at[at]].capacity) return;
  each([&](std::size_t i, std::size_t at) { put(i, group_at[at]); });
}

void planner::fill_holes() {
  for (std::size_t i = 0; i < experts(); ++i)
    if (wanted(i) > 0 && nodes_with(i, true) == 0 && !place(i)) place_by_eviction(i);
}

void planner::place_pinned() {
  for (std::size_t i = 0; i < experts(); ++i) {
    for (std::size_t at = 0; at < cells_[i].size(); ++at) {
      const cell c = cells_[i][at];
      const bool is_due = c.by_hand == asked::pinned && !c.is && accepts(c.group) && has_room(c);
      if (!is_due || node_holds(i, holders_[c.group].node)) continue;
      put(i, c.group);
      // In place of a copy that this plan put elsewhere.
      for (std::size_t other = 0; other < cells_[i].size(); ++other) {
        const cell& o = cells_[i][other];
        const bool is_spare = o.is && !o.was && o.by_hand != asked::pinned;
        if (is_spare && nodes_with(i, false) > wanted(i)) take(i, o.group);
      }
    }
  }
}

void planner::reach_wanted_copies() {
  std::size_t most = input_.copies;
  for (std::size_t i = 0; i < experts(); ++i) most = std::max(most, wanted(i));
  for (std::size_t copies = 0; copies < most; ++copies) {
    for (std::size_t i = 0; i < experts(); ++i) {
      if (copies >= wanted(i) || nodes_with(i, false) != copies) continue;
      if (copies >= due(i)) continue;
      const bool is_move = nodes_with(i, true) >= wanted(i);
      if (is_move && is_out_of_moves()) continue;
      if (place(i) && is_move) ++moves_;
    }
  }
}

void planner::place_goal() {
  if (!has_goal()) return;
  for (std::size_t i = 0; i < experts(); ++i) {
    for (const experts::replica& copy : input_.goal[i]) {
      if (is_out_of_moves()) return;
      const std::size_t g = index_of(copy.group);
      if (g == groups()) continue;
      const cell& c = of(i, g);
      const bool is_free = accepts(g) && !c.is && c.by_hand != asked::unwanted &&
                           (c.was || (peak_[g] < holders_[g].capacity && !c.is_barred));
      if (!is_free || node_holds(i, holders_[g].node)) continue;
      put(i, g);
      ++moves_;
    }
  }
}

/// Copies that the goal does not name, where there are enough without them.
void planner::give_up_others() {
  if (!has_goal()) return;
  for (std::size_t i = 0; i < experts(); ++i) {
    if (input_.goal[i].empty()) continue;
    for (std::size_t at = cells_[i].size(); at-- > 0;) {
      const cell& c = cells_[i][at];
      if (!c.is || c.goal > 0 || c.by_hand == asked::pinned || goes(c)) continue;
      take(i, c.group);
      if (nodes_with(i, false) < wanted(i)) put(i, c.group);
    }
  }
}

void planner::finish_drains() {
  for (std::size_t i = 0; i < experts(); ++i) {
    const std::size_t kept = nodes_with(i, false);
    const bool is_enough = kept >= wanted(i);
    const bool may_drain = is_enough || (kept > 0 && !is_out_of_moves());
    for (const cell& c : cells_[i]) {
      const bool leaves =
          (holders_[c.group].drains && may_drain) || (c.by_hand == asked::unwanted && is_enough);
      if (leaves && c.is) take(i, c.group);
    }
  }
}

bool planner::may_move(std::size_t i, std::size_t from, std::size_t to) const {
  const cell& here = of(i, from);
  if (!here.is || (here.was && is_out_of_moves()) || here.by_hand != asked::nothing) return false;
  const cell& there = of(i, to);
  const bool has_room = there.was || (peak_[to] < holders_[to].capacity && !there.is_barred);
  return there.by_hand == asked::nothing && !there.is && has_room &&
         !node_holds(i, holders_[to].node, from);
}

bool planner::try_move(std::size_t layer, std::size_t from, std::size_t to) {
  if (is_stuck(from)) return false;
  char& is_blocked = blocked_[(layer * groups() + from) * groups() + to];
  if (is_blocked != 0) return false;
  for (std::size_t e = 0; e < input_.shape.experts; ++e) {
    const std::size_t i = layer * input_.shape.experts + e;
    if (!may_move(i, from, to)) continue;
    if (was(i, from)) ++moves_;
    take(i, from);
    put(i, to);
    return true;
  }
  is_blocked = 1;
  return false;
}

/// Moves one expert of the layer from a fuller to an emptier group. False if nothing is to be done.
bool planner::even_out(std::size_t layer) {
  std::vector<std::size_t> order(groups());
  for (std::size_t g = 0; g < groups(); ++g) order[g] = g;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::tuple{in_layer(a, layer), total_[a], a} <
           std::tuple{in_layer(b, layer), total_[b], b};
  });
  for (std::size_t high = groups(); high-- > 0;) {
    const std::size_t from = order[high];
    if (holders_[from].drains || is_stuck(from)) continue;
    for (const std::size_t to : order) {
      if (in_layer(from, layer) <= in_layer(to, layer) + input_.copies) break;
      if (accepts(to) && try_move(layer, from, to)) return true;
    }
  }
  return false;
}

/// The same over all layers. Moves only where the layer itself does not become less even.
bool planner::even_out_totals() {
  std::vector<std::size_t> order(groups());
  for (std::size_t g = 0; g < groups(); ++g) order[g] = g;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::tuple{total_[a], a} < std::tuple{total_[b], b};
  });
  for (std::size_t high = groups(); high-- > 0;) {
    const std::size_t from = order[high];
    if (holders_[from].drains || is_stuck(from)) continue;
    for (const std::size_t to : order) {
      if (total_[from] <= total_[to] + input_.copies) break;
      if (!accepts(to)) continue;
      for (std::size_t layer = 0; layer < input_.shape.layers.size(); ++layer)
        if (in_layer(from, layer) > in_layer(to, layer) && try_move(layer, from, to)) return true;
    }
  }
  return false;
}

/// Ends: a move makes the sum of squares of the layers' counts smaller, or leaves it and makes that
/// of the totals smaller. A last round in which nothing was moved has tried all pairs of groups.
void planner::balance() {
  bool has_moved = !has_goal();
  while (has_moved) {
    has_moved = false;
    blocked_.assign(input_.shape.layers.size() * groups() * groups(), 0);
    for (std::size_t layer = 0; layer < input_.shape.layers.size(); ++layer)
      while (even_out(layer)) has_moved = true;
    while (even_out_totals()) has_moved = true;
  }
}

std::uint32_t planner::share_of(std::size_t i, std::size_t g) const {
  if (in_goal(i, g)) return goal_share(i, g);
  const bool keeps = was(i, g) && (!has_goal() || input_.goal[i].empty());
  const auto& present = input_.present[i];
  const auto kept = std::find_if(present.begin(), present.end(), [&](const experts::replica& r) {
    return r.group == holders_[g].group;
  });
  return keeps && kept != present.end() ? kept->share : share_of_new_[i];
}

repair_plan planner::outcome() const {
  repair_plan plan;
  plan.target.resize(experts());
  for (std::size_t i = 0; i < experts(); ++i) {
    const layer_index layer = input_.shape.layers[layer_of(i)];
    const expert_index expert{static_cast<std::uint32_t>(i % input_.shape.experts)};
    for (const cell& c : cells_[i]) {
      const expert_copy copy{.group = holders_[c.group].group, .layer = layer, .expert = expert};
      if (c.is_evicted) plan.evictions.push_back(copy);
      if (c.is && !c.was) plan.loads.push_back(copy);
      if (!c.is && c.was) plan.releases.push_back(copy);
      if (!c.is) continue;
      plan.target[i].push_back({.group = copy.group, .share = share_of(i, c.group)});
    }
    const std::size_t kept = nodes_with(i, false);
    if (plan.target[i].empty() && wanted(i) > 0)
      plan.unplaceable.push_back({.layer = layer, .expert = expert});
    if (kept < base(i)) {
      plan.short_of.push_back({.layer = layer,
                               .expert = expert,
                               .short_by = static_cast<std::uint32_t>(base(i) - kept)});
    }
  }
  for (auto* list : {&plan.evictions, &plan.loads, &plan.releases})
    std::sort(list->begin(), list->end());
  return plan;
}

}  // namespace

result<repair_plan> plan_repair(const repair_input& input) {
  ATOLL_TRY(check(input));
  std::vector<holder> holders = input.holders;
  std::sort(holders.begin(), holders.end(), [](const holder& a, const holder& b) {
    return a.group < b.group;
  });
  for (std::size_t g = 1; g < holders.size(); ++g) {
    if (holders[g].group == holders[g - 1].group)
      return bad("group " + std::to_string(holders[g].group.value) + " is named twice");
  }
  planner plan{input, std::move(holders)};
  plan.place_fresh();
  plan.fill_holes();
  plan.place_pinned();
  plan.reach_wanted_copies();
  plan.place_goal();
  plan.finish_drains();
  plan.give_up_others();
  plan.balance();
  return plan.outcome();
}

}  // namespace atl::cluster
