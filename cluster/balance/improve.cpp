#include "cluster/balance/improve.hpp"

#include "runtime/base/random.hpp"

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>

namespace atl::cluster::balancing {

namespace {

bool may_take(const layer_state& state, std::uint32_t j) {
  const place& p = state.problem().places[j];
  return p.takes && !p.drains && p.slots > 0;
}

std::vector<std::uint32_t> heaviest_first(const layer_problem& problem) {
  std::vector<std::uint32_t> order(problem.experts());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return problem.loads[a] > problem.loads[b];
  });
  return order;
}

/// A copy on a full node that makes way: one that others can do without and that carries least, or
/// `nowhere`.
enum class victims : std::uint8_t { any, covered, idle };

/// `covered`: cover stays as it is. `idle`: and it carries no load.
std::uint32_t victim_on(const layer_state& state, std::uint32_t j, victims which) {
  std::uint32_t best = nowhere;
  for (const std::uint32_t f : state.held_by(j)) {
    if (which == victims::any ? !state.may_drop(f, j) : !state.may_drop_covered(f, j)) continue;
    if (which == victims::idle && state.load_of(f, j) > tiny) continue;
    if (best == nowhere ||
        std::pair{state.load_of(f, j), f} < std::pair{state.load_of(best, j), best})
      best = f;
  }
  return best;
}

/// The node where a copy of e with that load finishes first, in a free slot, else in one that is
/// made free. `nowhere` if there is none that is `allowed`.
template <class Allowed>
std::uint32_t
place_copy(layer_state& state, std::uint32_t e, double load, victims which, Allowed&& allowed) {
  const layer_problem& problem = state.problem();
  std::uint32_t best = nowhere;
  bool best_is_free = false;
  for (std::uint32_t j = 0; j < problem.nodes(); ++j) {
    if (!may_take(state, j) || !state.may_come(e, j) || !allowed(j)) continue;
    const bool is_free = state.has_room(j);
    if (!is_free && (best_is_free || victim_on(state, j, which) == nowhere)) continue;
    const auto later = [&](std::uint32_t at) {
      return (state.load_at(at) + load) / problem.places[at].speed;
    };
    if (best == nowhere || (is_free && !best_is_free) || later(j) < later(best)) {
      best = j;
      best_is_free = is_free;
    }
  }
  if (best == nowhere) return nowhere;
  if (!best_is_free) state.remove(victim_on(state, best, which), best);
  state.add(e, best, load);
  return best;
}

/// Both nodes take experts, neither copy is pinned or doubled by it, and firm cover stays.
bool may_exchange(
    const layer_state& state, std::uint32_t e, std::uint32_t i, std::uint32_t f, std::uint32_t j) {
  if (!may_take(state, i) || !may_take(state, j)) return false;
  if (!state.may_come(f, i) || !state.may_come(e, j)) return false;
  if (state.is_pinned(e, i) || state.is_pinned(f, j)) return false;
  const auto stays_covered = [&](std::uint32_t x, std::uint32_t from, std::uint32_t to) {
    return !state.problem().is_cover_firm || state.is_covered(x, from, to) || !state.is_covered(x);
  };
  return stays_covered(e, i, j) && stays_covered(f, j, i);
}

void make_change(layer_state& state, const change& c) {
  if (c.i != nowhere) return state.exchange(c.e, c.i, c.f, c.j);
  if (c.f != nowhere) state.remove(c.f, c.j);
  state.add(c.e, c.j, 0);
}

constexpr std::size_t tries_of_a_step = 8;

class stepper {
public:
  stepper(layer_state& state, double enough, std::size_t moved_max)
      : state_{state}, enough_{enough}, moved_max_{moved_max} {}

  bool step();
  const change& last() const { return last_; }

private:
  /// e from node i (or, i = nowhere, a further copy of it) to j; f, if any, leaves j for i, or for
  /// where its other copies are.
  struct proposal {
    double gain = 0;  // of the finishing time, for each move; estimated
    std::uint32_t e = nowhere, i = nowhere, f = nowhere, j = nowhere;
    auto key() const { return std::tuple{e, i, f, j}; }
  };

  struct held {
    std::uint32_t expert = 0;
    double load = 0;
  };

  const layer_problem& problem() const { return state_.problem(); }
  bool is_critical(std::uint32_t j) const { return state_.is_critical()[j] != 0; }
  double slack(std::uint32_t j) const {
    return state_.finish() * problem().places[j].speed - state_.load_at(j);
  }
  void offer(proposal p);
  void propose_copies();
  void propose_exchanges();
  void propose_exchange(const held& e, std::uint32_t i, std::uint32_t j);
  bool is_beaten(double gain) const {
    return best_.size() == tries_of_a_step && gain <= best_.back().gain;
  }
  std::uint32_t dispensable_on(std::uint32_t j) const;
  double shared_finish(std::uint32_t j) const;
  bool apply(const proposal& p);

  layer_state& state_;
  double enough_;
  std::size_t moved_max_;
  std::vector<std::vector<held>> held_;  // by node
  std::vector<double> gain_most_;        // by node: of an exchange with it
  std::vector<proposal> best_;           // by falling gain
  change last_;                          // made
  double load_ = 0, speed_ = 0;          // of the critical nodes
};

void stepper::offer(proposal p) {
  if (p.gain <= tiny * state_.finish()) return;
  const auto is_before = [](const proposal& a, const proposal& b) {
    return a.gain != b.gain ? a.gain > b.gain : a.key() < b.key();
  };
  if (best_.size() == tries_of_a_step && !is_before(p, best_.back())) return;
  best_.insert(std::upper_bound(best_.begin(), best_.end(), p, is_before), p);
  if (best_.size() > tries_of_a_step) best_.pop_back();
}

/// The copy on a full node that would be missed least: its load fits on its other copies, and is
/// smallest.
std::uint32_t stepper::dispensable_on(std::uint32_t j) const {
  std::uint32_t best = nowhere;
  for (const std::uint32_t f : state_.held_by(j)) {
    if (!(problem().is_cover_firm ? state_.may_drop_covered(f, j) : state_.may_drop(f, j)))
      continue;
    double room = 0;
    for (const copy_of_expert& c : state_.copies(f))
      if (c.node != j && !is_critical(c.node)) room += slack(c.node);
    const double load = state_.load_of(f, j);
    if (load > room + tiny) continue;
    if (best == nowhere || std::pair{load, f} < std::pair{state_.load_of(best, j), best}) best = f;
  }
  return best;
}

/// When the critical nodes and j would finish if they could share everything.
double stepper::shared_finish(std::uint32_t j) const {
  return (load_ + state_.load_at(j)) / (speed_ + problem().places[j].speed);
}

void stepper::propose_copies() {
  if (state_.moved() >= moved_max_) return;
  std::vector<std::uint32_t> experts;
  for (std::uint32_t i = 0; i < problem().nodes(); ++i) {
    if (!is_critical(i)) continue;
    for (const std::uint32_t e : state_.held_by(i))
      if (state_.load_of(e, i) > tiny && !problem().fixes(e)) experts.push_back(e);
  }
  std::sort(experts.begin(), experts.end());
  experts.erase(std::unique(experts.begin(), experts.end()), experts.end());
  for (std::uint32_t j = 0; j < problem().nodes(); ++j) {
    const place& p = problem().places[j];
    if (is_critical(j) || !may_take(state_, j)) continue;
    std::uint32_t f = nowhere;
    if (!state_.has_room(j)) {
      f = dispensable_on(j);
      if (f == nowhere) continue;
    }
    const double freed = f == nowhere ? 0 : state_.load_of(f, j);
    const double even = shared_finish(j) * p.speed - state_.load_at(j);
    for (const std::uint32_t e : experts) {
      if (e == f || !state_.may_come(e, j)) continue;
      const double shifted = std::min(problem().loads[e], even + freed);
      offer({.gain = shifted / speed_, .e = e, .i = nowhere, .f = f, .j = j});
    }
  }
}

void stepper::propose_exchange(const held& e, std::uint32_t i, std::uint32_t j) {
  const double speed = problem().places[j].speed;
  for (const held& f : held_[j]) {
    const double less = e.load - f.load;
    if (less <= tiny) continue;
    const double here = state_.finish() - less / speed_;
    const double there = (state_.load_at(j) + less) / speed;
    const double gain = (state_.finish() - std::max(here, there)) / 2;
    if (gain <= 0 || is_beaten(gain)) continue;
    if (!may_exchange(state_, e.expert, i, f.expert, j)) continue;
    offer({.gain = gain, .e = e.expert, .i = i, .f = f.expert, .j = j});
  }
}

void stepper::propose_exchanges() {
  if (moved_max_ - std::min(moved_max_, state_.moved()) < 2) return;
  const auto nodes = static_cast<std::uint32_t>(problem().nodes());
  held_.resize(nodes);
  for (std::uint32_t j = 0; j < nodes; ++j) {
    held_[j].clear();
    if (!may_take(state_, j)) continue;
    for (const std::uint32_t e : state_.held_by(j)) held_[j].push_back({e, state_.load_of(e, j)});
  }
  // The most that any exchange with a node can gain: where both finish together.
  gain_most_.assign(nodes, 0);
  for (std::uint32_t j = 0; j < nodes; ++j) {
    const double ends_apart = state_.finish() - state_.load_at(j) / problem().places[j].speed;
    gain_most_[j] = ends_apart / (1 + speed_ / problem().places[j].speed) / 2;
  }
  for (std::uint32_t i = 0; i < nodes; ++i) {
    if (!is_critical(i)) continue;
    for (const held& e : held_[i]) {
      if (is_beaten(e.load / speed_ / 2)) continue;
      for (std::uint32_t j = 0; j < nodes; ++j) {
        if (is_critical(j) || state_.holds(j, e.expert) || is_beaten(gain_most_[j])) continue;
        propose_exchange(e, i, j);
      }
    }
  }
}

/// False, and the copies are where they were, if it made nothing better.
bool stepper::apply(const proposal& p) {
  const double finish = state_.finish();
  const std::size_t critical = state_.critical_count();
  const auto undo = [&] {
    if (p.i != nowhere) return state_.exchange(p.e, p.j, p.f, p.i);
    state_.remove(p.e, p.j);
    if (p.f != nowhere) state_.add(p.f, p.j, 0);
  };
  last_ = {.e = p.e, .i = p.i, .f = p.f, .j = p.j};
  make_change(state_, last_);
  if (state_.moved() <= moved_max_) {
    state_.settle(enough_);
    const double least = tiny * finish;
    if (state_.finish() < finish - least) return true;
    if (state_.finish() < finish + least && state_.critical_count() < critical) return true;
  }
  undo();
  state_.settle(enough_);
  return false;
}

bool stepper::step() {
  best_.clear();
  load_ = 0;
  speed_ = 0;
  for (std::uint32_t j = 0; j < problem().nodes(); ++j) {
    if (!is_critical(j)) continue;
    load_ += state_.load_at(j);
    speed_ += problem().places[j].speed;
  }
  propose_copies();
  if (best_.empty()) propose_exchanges();
  const std::vector<proposal> tries = best_;
  for (const proposal& p : tries)
    if (apply(p)) return true;
  if (tries.empty() || tries.front().i != nowhere) return false;
  best_.clear();
  propose_exchanges();
  for (const proposal& p : std::vector<proposal>{best_})
    if (apply(p)) return true;
  return false;
}

}  // namespace

bool place_missing(layer_state& state) {
  for (const std::uint32_t e : heaviest_first(state.problem())) {
    if (!state.copies(e).empty()) continue;
    const auto anywhere = [](std::uint32_t) { return true; };
    if (place_copy(state, e, state.problem().loads[e], victims::any, anywhere) == nowhere)
      return false;
  }
  return true;
}

void drain(layer_state& state, std::size_t moved_max) {
  const layer_problem& problem = state.problem();
  for (const std::uint32_t e : heaviest_first(problem)) {
    const auto drains = [&](const copy_of_expert& c) { return problem.places[c.node].drains; };
    const auto copies = state.copies(e);
    if (std::none_of(copies.begin(), copies.end(), drains)) continue;
    const bool is_elsewhere = !std::all_of(copies.begin(), copies.end(), drains);
    const auto anywhere = [](std::uint32_t) { return true; };
    if (!is_elsewhere &&
        (state.moved() >= moved_max || place_copy(state, e, 0, victims::any, anywhere) == nowhere))
      continue;
    std::vector<std::uint32_t> from;
    for (const copy_of_expert& c : state.copies(e))
      if (drains(c) && !c.is_pinned) from.push_back(c.node);
    for (const std::uint32_t j : from) state.remove(e, j);
  }
}

namespace {

/// For an expert that no free slot in another domain covers: copies move on from node to node until
/// such a slot is free. Breadth-first from the nodes that would cover it to one with a free slot,
/// or with a copy that others can do without.
class cover_chain {
public:
  cover_chain(layer_state& state, std::uint32_t e, victims which)
      : state_{state},
        e_{e},
        which_{which},
        hop_(state.problem().nodes()),
        is_reached_(hop_.size(), 0) {}

  void make(std::size_t moved_max);

private:
  /// The copy of `expert` leaves node `by` for the node reached.
  struct hop {
    std::uint32_t by = nowhere;
    std::uint32_t expert = nowhere;
  };

  bool may_go(std::uint32_t g, std::uint32_t from, std::uint32_t to) const {
    return state_.may_come(g, to) && !state_.is_pinned(g, from) &&
           (!state_.is_covered(g) || state_.is_covered(g, from, to));
  }
  void reach_from(std::uint32_t j);
  bool try_end(std::uint32_t end, std::size_t moved_max);

  layer_state& state_;
  std::uint32_t e_;
  victims which_;
  std::vector<hop> hop_;
  std::vector<char> is_reached_;
  std::vector<std::uint32_t> queue_;
};

void cover_chain::reach_from(std::uint32_t j) {
  for (const std::uint32_t g : state_.held_by(j)) {
    if (g == e_) continue;
    for (std::uint32_t k = 0; k < hop_.size(); ++k) {
      if (is_reached_[k] != 0 || !may_take(state_, k) || !may_go(g, j, k)) continue;
      is_reached_[k] = 1;
      hop_[k] = {.by = j, .expert = g};
      queue_.push_back(k);
    }
  }
}

/// Makes the moves that end on that node, if it has a slot, the budget allows it, and no expert
/// takes part twice.
bool cover_chain::try_end(std::uint32_t end, std::size_t moved_max) {
  const std::uint32_t victim = state_.has_room(end) ? nowhere : victim_on(state_, end, which_);
  if (!state_.has_room(end) && victim == nowhere) return false;
  std::vector<std::uint32_t> experts{victim};
  std::size_t moved = state_.moved() + 1;
  for (std::uint32_t k = end; hop_[k].by != nowhere; k = hop_[k].by) {
    experts.push_back(hop_[k].expert);
    moved += state_.is_new(hop_[k].expert, hop_[k].by) ? 0 : 1;
  }
  std::sort(experts.begin(), experts.end());
  const bool is_simple = std::adjacent_find(experts.begin(), experts.end()) == experts.end();
  if (!is_simple || moved > moved_max) return false;
  if (victim != nowhere) state_.remove(victim, end);
  std::uint32_t k = end;
  for (; hop_[k].by != nowhere; k = hop_[k].by) {
    state_.add(hop_[k].expert, k, 0);
    state_.remove(hop_[k].expert, hop_[k].by);
  }
  state_.add(e_, k, 0);
  return true;
}

void cover_chain::make(std::size_t moved_max) {
  for (std::uint32_t j = 0; j < hop_.size(); ++j) {
    if (!may_take(state_, j) || !state_.may_come(e_, j) || !state_.is_covered(e_, nowhere, j))
      continue;
    is_reached_[j] = 1;
    queue_.push_back(j);
  }
  for (std::size_t head = 0; head < queue_.size(); ++head) {
    if (try_end(queue_[head], moved_max)) return;
    reach_from(queue_[head]);
  }
}

/// No node has a slot for one more copy, or one that it could make free.
bool is_full(const layer_state& state, victims which) {
  for (std::uint32_t j = 0; j < state.problem().nodes(); ++j)
    if (may_take(state, j) && (state.has_room(j) || victim_on(state, j, which) != nowhere))
      return false;
  return true;
}

}  // namespace

void cover(layer_state& state, std::size_t moved_max) {
  if (!state.problem().wants_cover) return;
  const victims which = state.problem().is_cover_firm ? victims::covered : victims::idle;
  for (const std::uint32_t e : heaviest_first(state.problem())) {
    if (state.is_covered(e) || state.problem().fixes(e)) continue;
    if (state.moved() >= moved_max) return;
    const auto covers = [&](std::uint32_t j) { return state.is_covered(e, nowhere, j); };
    if (place_copy(state, e, 0, which, covers) != nowhere) continue;
    if (is_full(state, which)) return;
    cover_chain{state, e, which}.make(moved_max);
  }
}

std::vector<milestone>
balance(layer_state& state, double enough, std::size_t moved_max, std::size_t steps_max) {
  state.settle(enough);
  std::vector<milestone> reached{{.moved = state.moved(), .finish = state.finish()}};
  stepper steps{state, enough, moved_max};
  while (reached.size() <= steps_max && state.finish() > enough && steps.step())
    reached.push_back({.moved = state.moved(), .finish = state.finish(), .last = steps.last()});
  state.settle();
  return reached;
}

void repeat(layer_state& state, const std::vector<milestone>& path, std::size_t steps) {
  for (std::size_t s = 1; s <= steps; ++s) make_change(state, path[s].last);
  state.settle();
}

void search(layer_state& state, double enough, std::size_t rounds) {
  random_source random{1};
  const auto nodes = static_cast<std::uint32_t>(state.problem().nodes());
  layer_state best = state;
  for (std::size_t round = 0; round < rounds && best.finish() > enough; ++round) {
    state = best;
    for (std::size_t kick = 0; kick < 2 + round % 2; ++kick) {
      const auto i = static_cast<std::uint32_t>(random.below(nodes));
      const auto j = static_cast<std::uint32_t>(random.below(nodes));
      const auto at = [&](std::uint32_t node) {
        const auto held = state.held_by(node);
        return held.empty() ? nowhere : held[random.below(held.size())];
      };
      const std::uint32_t e = at(i);
      const std::uint32_t f = at(j);
      if (e == nowhere || f == nowhere || !may_exchange(state, e, i, f, j)) continue;
      state.exchange(e, i, f, j);
    }
    balance(state, enough, no_limit, state.problem().experts());
    if (state.finish() < best.finish()) best = state;
  }
  state = best;
}

void prune(layer_state& state) {
  for (std::uint32_t e = 0; e < state.problem().experts(); ++e) {
    std::vector<std::uint32_t> idle;
    for (const copy_of_expert& c : state.copies(e))
      if (c.load < tiny && state.is_new(e, c.node)) idle.push_back(c.node);
    for (const std::uint32_t j : idle)
      if (state.problem().wants_cover ? state.may_drop_covered(e, j) : state.may_drop(e, j))
        state.remove(e, j);
  }
}

}  // namespace atl::cluster::balancing
