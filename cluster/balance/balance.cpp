#include "cluster/balance/balance.hpp"

#include "cluster/balance/check.hpp"
#include "cluster/balance/fill.hpp"
#include "cluster/balance/improve.hpp"
#include "runtime/base/assert.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>
#include <utility>

namespace atl::cluster {

using namespace balancing;

namespace {

/// One layer on its way to a plan.
struct layer_work {
  layer_problem problem;
  double total = 0;              // load
  double bound = 0;              // of the finishing time, as fractions of the load
  std::optional<double> before;  // finishing time, likewise
  std::optional<layer_state> present;
  std::size_t missing = 0;          // copies made for want of any
  bool is_empty = false;            // nothing is placed
  std::vector<milestone> path;      // of balance, from present
  std::optional<layer_state> anew;  // placed from nothing, where that is better
  // What was decided.
  std::size_t steps = 0;
  bool takes_anew = false;
  rest_reason rest = rest_reason::balanced;
  double left = 0;
};

bool may_rebuild(const layer_work& w) {
  if (!w.problem.is_barred.empty() || !w.problem.is_fixed.empty()) return false;
  for (std::uint32_t j = 0; j < w.problem.nodes(); ++j) {
    const place& p = w.problem.places[j];
    if ((!p.takes || p.drains) && !w.present->held_by(j).empty()) return false;
    for (const std::uint32_t e : w.present->held_by(j))
      if (w.present->is_pinned(e, j)) return false;
  }
  return true;
}

/// Names nodes of equal speed and slots so that as many copies as possible are where they were.
std::vector<std::uint32_t> matched_names(const layer_state& filled, const layer_state& present) {
  const layer_problem& problem = filled.problem();
  const auto nodes = static_cast<std::uint32_t>(problem.nodes());
  std::vector<std::uint32_t> name(nodes, nowhere);
  std::vector<char> is_used(nodes, 0);
  std::vector<std::tuple<std::size_t, std::uint32_t, std::uint32_t>> pairs;  // by falling overlap
  for (std::uint32_t a = 0; a < nodes; ++a) {
    for (std::uint32_t b = 0; b < nodes; ++b) {
      const place& p = problem.places[a];
      const place& q = problem.places[b];
      if (p.speed != q.speed || p.slots != q.slots || p.takes != q.takes) continue;
      std::size_t common = 0;
      for (const std::uint32_t e : filled.held_by(a)) common += present.was_held(e, b) ? 1 : 0;
      pairs.emplace_back(problem.experts() - common, a, b);
    }
  }
  std::sort(pairs.begin(), pairs.end());
  for (const auto& [rank, a, b] : pairs) {
    if (name[a] != nowhere || is_used[b] != 0) continue;
    name[a] = b;
    is_used[b] = 1;
  }
  return name;
}

/// Cover with what balance leaves. Other shares can leave more: again while something changes.
void cover_late(layer_state& state, std::size_t moved_max) {
  constexpr int rounds_most = 8;
  for (int round = 0; round < rounds_most; ++round) {
    const std::size_t moved = state.moved();
    cover(state, moved_max);
    state.settle();
    if (state.moved() == moved) return;
  }
}

/// Rounds of search: few where there are many experts and nodes, for they take long and gain
/// little.
std::size_t search_rounds(const layer_problem& problem) {
  constexpr std::size_t effort = 30'000;
  constexpr std::size_t most = 200;
  return std::min(most, effort / (problem.experts() * problem.nodes()));
}

std::optional<layer_state> build_anew(const layer_work& w) {
  const std::optional<layer_state> filled = fill(w.problem, w.bound);
  if (!filled) return std::nullopt;
  layer_state state = *w.present;
  state.clear();
  std::vector<std::uint32_t> name(w.problem.nodes());
  std::iota(name.begin(), name.end(), 0);
  if (!w.is_empty) name = matched_names(*filled, *w.present);
  for (std::uint32_t e = 0; e < w.problem.experts(); ++e)
    for (const copy_of_expert& c : filled->copies(e)) state.add(e, name[c.node], c.load);
  if (w.problem.is_cover_firm) cover(state, no_limit);
  constexpr double enough = 1 + 1e-4;
  balance(state, w.bound * enough, no_limit, w.problem.experts() + w.problem.nodes());
  search(state, w.bound * enough, search_rounds(w.problem));
  prune(state);
  if (!w.problem.is_cover_firm) cover_late(state, no_limit);
  state.settle();
  return state;
}

/// From what is there, with so many steps of balance. The first milestone is before them. Steps of
/// a path that is known are not looked for again.
std::optional<layer_state> run(const layer_work& w,
                               double enough,
                               std::size_t moved_max,
                               std::size_t steps_max,
                               std::size_t late_moves,
                               std::vector<milestone>* path,
                               bool is_known = false) {
  layer_state state = *w.present;
  if (!place_missing(state)) return std::nullopt;
  drain(state, moved_max);
  if (w.problem.is_cover_firm) cover(state, moved_max);
  std::vector<milestone> reached;
  if (is_known)
    repeat(state, w.path, steps_max);
  else
    reached = balance(state, enough, moved_max, steps_max);
  prune(state);
  const std::size_t moved = state.moved();
  if (!w.problem.is_cover_firm)
    cover_late(state, late_moves > no_limit - moved ? no_limit : moved + late_moves);
  if (path != nullptr) *path = std::move(reached);
  return state;
}

/// What each layer could become, whatever it costs.
result<void> explore(const balance_input& input, layer_work& w, std::size_t layer) {
  const double enough = 1 + input.options.tolerance;
  w.bound = lower_bound(w.problem);
  const auto no_room = [&] {
    return error{errc::invalid_argument,
                 "layer " + std::to_string(layer) +
                     ": no memory for a copy of every expert on nodes that take experts; add "
                     "nodes or memory"};
  };
  if (w.is_empty) {
    w.anew = build_anew(w);
    w.takes_anew = true;
    if (!w.anew) return no_room();
    return {};
  }
  const std::size_t steps = w.problem.experts() + w.problem.nodes();
  const auto improved = run(w, w.bound * enough, no_limit, steps, 0, &w.path);
  if (!improved) return no_room();
  layer_state whole = *w.present;
  place_missing(whole);
  w.missing = whole.moved();
  if (improved->finish() > w.bound * enough && may_rebuild(w)) {
    w.anew = build_anew(w);
    if (w.anew && w.anew->finish() * enough >= improved->finish()) w.anew.reset();
  }
  // Steps that come within the tolerance of the best are enough.
  std::size_t least = w.path.size() - 1;
  while (least > 0 && w.path[least - 1].finish <= w.path.back().finish * enough) --least;
  w.path.resize(least + 1);
  return {};
}

/// What may still be gained in a layer, by a number of steps (or by building anew, one more than
/// the last), for each expert moved.
struct offer {
  double gain = 0;  // load / speed; for each move
  std::size_t layer = 0;
  std::size_t moves = 0;
  std::size_t steps = 0;
};

std::size_t moves_at(const layer_work& w, std::size_t steps) {
  return steps < w.path.size() ? w.path[steps].moved : w.anew->moved();
}

double finish_at(const layer_work& w, std::size_t steps) {
  return steps < w.path.size() ? w.path[steps].finish : w.anew->finish();
}

std::size_t last_step(const layer_work& w) { return w.path.size() - (w.anew ? 0 : 1); }

/// The best next decision for a layer within so many moves.
std::optional<offer>
next_offer(const layer_work& w, std::size_t layer, std::size_t moves_left, double hysteresis) {
  std::optional<offer> best;
  const double worst = w.path.front().finish * (1 - hysteresis);
  for (std::size_t s = w.steps + 1; s <= last_step(w); ++s) {
    const double gain = (finish_at(w, w.steps) - finish_at(w, s)) * w.total;
    if (gain <= 0 || finish_at(w, s) >= worst) continue;
    const std::size_t moves = moves_at(w, s) - std::min(moves_at(w, s), moves_at(w, w.steps));
    if (moves > moves_left) continue;
    const double each = gain / static_cast<double>(std::max<std::size_t>(moves, 1));
    if (!best || each > best->gain)
      best = offer{.gain = each, .layer = layer, .moves = moves, .steps = s};
  }
  return best;
}

/// Spends the moves where they gain most; those that are left.
std::size_t decide(std::vector<layer_work>& work, std::size_t moves, double hysteresis) {
  std::vector<std::optional<offer>> offers(work.size());
  for (std::size_t l = 0; l < work.size(); ++l)
    if (!work[l].is_empty) offers[l] = next_offer(work[l], l, moves, hysteresis);
  while (true) {
    const offer* best = nullptr;
    for (std::size_t l = 0; l < work.size(); ++l) {
      if (offers[l] && offers[l]->moves > moves)
        offers[l] = next_offer(work[l], l, moves, hysteresis);
      if (offers[l] && (best == nullptr || offers[l]->gain > best->gain)) best = &*offers[l];
    }
    if (best == nullptr) break;
    const offer taken = *best;
    moves -= taken.moves;
    work[taken.layer].steps = taken.steps;
    offers[taken.layer] = next_offer(work[taken.layer], taken.layer, moves, hysteresis);
  }
  for (layer_work& w : work) {
    if (w.is_empty) continue;
    w.takes_anew = w.steps >= w.path.size();
    const double most = finish_at(w, last_step(w));
    if (most >= finish_at(w, w.steps)) continue;
    const bool is_small = w.steps == 0 && most >= w.path.front().finish * (1 - hysteresis);
    w.rest = is_small ? rest_reason::hysteresis : rest_reason::budget;
    w.left = most;
  }
  return moves;
}

/// The copies of a layer as decided.
layer_state carry_out(const layer_work& w, double enough, std::size_t moved_max, std::size_t late) {
  if (w.takes_anew) return *w.anew;
  std::optional<layer_state> state =
      run(w, w.bound * enough, moved_max, w.steps, late, nullptr, moved_max == no_limit);
  ATOLL_ASSERT(state.has_value());
  return *state;
}

/// `present`: what there was, as far as memory holds it.
move_reason
reason_of(const layer_state& present, const layer_state& state, std::uint32_t e, std::uint32_t j) {
  const layer_problem& problem = state.problem();
  const auto before = present.copies(e);
  const bool is_replaced = std::all_of(
      before.begin(), before.end(), [&](const auto& c) { return problem.places[c.node].drains; });
  if (is_replaced) {
    // The first new copy with the most load stands for what was there.
    const copy_of_expert* first = nullptr;
    for (const copy_of_expert& c : state.copies(e)) {
      if (!state.is_new(e, c.node)) continue;
      if (first == nullptr || c.load > first->load) first = &c;
    }
    if (first->node == j) return before.empty() ? move_reason::missing : move_reason::drain;
  }
  const bool covers = problem.wants_cover && state.is_covered(e) && !state.is_covered(e, j);
  return covers ? move_reason::cover : move_reason::balance;
}

void tell(const layer_work& w, const layer_state& state, std::uint32_t layer, balance_plan& plan) {
  const layer_problem& problem = w.problem;
  layer_plan out;
  double speed = 0;
  for (const place& p : problem.places) speed += p.speed;
  for (std::uint32_t e = 0; e < problem.experts(); ++e) {
    std::vector<copy_of_expert> copies(state.copies(e).begin(), state.copies(e).end());
    std::sort(
        copies.begin(), copies.end(), [](const auto& a, const auto& b) { return a.node < b.node; });
    double load = 0;
    for (const copy_of_expert& c : copies) load += c.load;
    for (const copy_of_expert& c : copies) {
      const double share = load > 0 ? c.load / load : 1 / static_cast<double>(copies.size());
      out.replicas.push_back(
          {.expert = e, .node = c.node, .share = share, .is_pinned = c.is_pinned});
      if (!state.is_new(e, c.node)) continue;
      plan.moves.push_back({.layer = layer,
                            .expert = e,
                            .to = c.node,
                            .share = share,
                            .reason = reason_of(*w.present, state, e, c.node)});
    }
    if (!state.is_covered(e)) ++out.uncovered;
    for (std::uint32_t j = 0; j < problem.nodes(); ++j)
      if (state.was_held(e, j) && !state.holds(j, e))
        plan.drops.push_back({.layer = layer, .expert = e, .from = j});
  }
  if (w.before) out.finish_before = *w.before * w.total;
  out.finish = state.finish() * w.total;
  out.bound = w.bound * w.total;
  out.mean = w.total / speed;
  out.rest = w.rest;
  out.finish_left = w.rest == rest_reason::balanced ? out.finish : w.left * w.total;
  plan.moved_experts += state.moved();
  plan.layers.push_back(std::move(out));
}

/// Experts that may be moved.
std::size_t moves_most(const balance_input& input) {
  const balance_options& o = input.options;
  const bool is_unbound = o.moved_bytes_max == std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t each = std::max<std::uint64_t>(input.expert_bytes, 1);
  return is_unbound ? o.moved_experts_max
                    : std::min<std::uint64_t>(o.moved_experts_max, o.moved_bytes_max / each);
}

/// The layer with what is placed now, as far as it is within the slots.
void set_present(const balance_input& input, std::size_t layer, layer_work& w) {
  const layer_problem& problem = w.problem;
  w.present.emplace(problem);
  const bool has_rules = !problem.is_barred.empty() || !problem.is_fixed.empty();
  const bool is_bound = moves_most(input) < no_limit;
  w.is_empty = !has_rules && (input.present.empty() || (!is_bound && input.present[layer].empty()));
  if (w.is_empty || input.present.empty()) return;
  std::vector<double> shares(problem.experts(), 0);
  std::vector<std::size_t> copies(problem.experts(), 0);
  for (const balance_copy& c : input.present[layer]) {
    shares[c.expert] += c.share;
    ++copies[c.expert];
  }
  for (const balance_copy& c : input.present[layer]) {
    const double part = shares[c.expert] > 0 ? c.share / shares[c.expert]
                                             : 1 / static_cast<double>(copies[c.expert]);
    w.present->add_present(c.expert, c.node, part * problem.loads[c.expert], c.is_pinned);
  }
  if (std::find(copies.begin(), copies.end(), 0) == copies.end()) {
    w.before = 0;
    for (std::uint32_t j = 0; j < problem.nodes(); ++j)
      w.before = std::max(*w.before, w.present->load_at(j) / problem.places[j].speed);
  }
  shed(*w.present);
}

}  // namespace

result<balance_plan> plan_balance(const balance_input& input) {
  ATOLL_TRY(check(input));
  const std::vector<layer_problem> problems = problems_of(input);
  std::vector<layer_work> work(input.loads.size());
  std::size_t moves = moves_most(input);
  std::size_t base = 0;
  std::size_t missing = 0;
  for (std::size_t l = 0; l < work.size(); ++l) {
    layer_work& w = work[l];
    w.problem = problems[l];
    w.total = std::accumulate(input.loads[l].begin(), input.loads[l].end(), 0.0);
    set_present(input, l, w);
    ATOLL_TRY(explore(input, w, l));
    if (!w.is_empty) base += w.path.front().moved;
    missing += w.missing;
  }
  const bool is_short = base > moves;
  // What is built anew cannot stop half-way.
  for (layer_work& w : work)
    if (is_short && !w.is_empty) w.anew.reset();
  std::size_t late = decide(work, is_short ? 0 : moves - base, input.options.hysteresis);
  balance_plan plan;
  for (std::size_t l = 0; l < work.size(); ++l) {
    const layer_work& w = work[l];
    // What is missing in the layers to come is kept for them.
    missing -= w.missing;
    const std::size_t here = std::max(w.missing, moves - std::min(moves, missing));
    const layer_state state =
        carry_out(w, 1 + input.options.tolerance, is_short ? here : no_limit, is_short ? 0 : late);
    if (!w.is_empty) {
      moves -= std::min(moves, state.moved());
      const std::size_t planned = moves_at(w, w.steps);
      late -= std::min(late, state.moved() - std::min(state.moved(), planned));
    }
    tell(w, state, static_cast<std::uint32_t>(l), plan);
  }
  plan.moved_bytes = plan.moved_experts * input.expert_bytes;
  return plan;
}

}  // namespace atl::cluster
