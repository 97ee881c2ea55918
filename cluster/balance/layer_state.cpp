#include "cluster/balance/layer_state.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>

namespace atl::cluster::balancing {

layer_state::layer_state(const layer_problem& problem)
    : problem_{&problem},
      copies_(problem.experts()),
      held_by_(problem.nodes()),
      is_held_(problem.experts() * problem.nodes()),
      was_held_(problem.experts() * problem.nodes()),
      node_load_(problem.nodes()),
      is_critical_(problem.nodes()),
      reached_(problem.nodes()),
      is_reached_(problem.nodes()) {
  queue_.reserve(problem.nodes());
}

copy_of_expert* layer_state::find(std::uint32_t e, std::uint32_t j) {
  for (copy_of_expert& c : copies_[e])
    if (c.node == j) return &c;
  return nullptr;
}

double layer_state::load_of(std::uint32_t e, std::uint32_t j) const {
  for (const copy_of_expert& c : copies_[e])
    if (c.node == j) return c.load;
  return 0;
}

void layer_state::put(std::uint32_t e, std::uint32_t j, double load, bool is_pinned) {
  ATOLL_ASSERT(!holds(j, e));
  copies_[e].push_back({.node = j, .load = load, .is_pinned = is_pinned});
  held_by_[j].push_back(e);
  is_held_[e * nodes() + j] = 1;
  node_load_[j] += load;
}

void layer_state::take(std::uint32_t e, std::uint32_t j) {
  auto& copies = copies_[e];
  const auto at = std::find_if(
      copies.begin(), copies.end(), [&](const copy_of_expert& c) { return c.node == j; });
  ATOLL_ASSERT(at != copies.end());
  node_load_[j] -= at->load;
  copies.erase(at);
  auto& held = held_by_[j];
  held.erase(std::find(held.begin(), held.end(), e));
  is_held_[e * nodes() + j] = 0;
}

void layer_state::add_present(std::uint32_t e, std::uint32_t j, double load, bool is_pinned) {
  put(e, j, load, is_pinned);
  was_held_[e * nodes() + j] = 1;
}

void layer_state::add(std::uint32_t e, std::uint32_t j, double load) {
  put(e, j, load, false);
  if (was_held_[e * nodes() + j] == 0) ++moved_;
}

void layer_state::add_load(std::uint32_t e, std::uint32_t j, double load) {
  find(e, j)->load += load;
  node_load_[j] += load;
}

void layer_state::remove(std::uint32_t e, std::uint32_t j) {
  const double load = load_of(e, j);
  take(e, j);
  if (was_held_[e * nodes() + j] == 0) --moved_;
  if (copies_[e].empty()) return;
  add_load(e, copies_[e].front().node, load);
}

void layer_state::exchange(std::uint32_t e, std::uint32_t i, std::uint32_t f, std::uint32_t j) {
  const double load_e = load_of(e, i);
  const double load_f = load_of(f, j);
  take(e, i);
  if (was_held_[e * nodes() + i] == 0) --moved_;
  take(f, j);
  if (was_held_[f * nodes() + j] == 0) --moved_;
  add(e, j, load_e);
  add(f, i, load_f);
}

bool layer_state::is_covered(std::uint32_t e, std::uint32_t without, std::uint32_t with) const {
  std::uint32_t first = with == nowhere ? nowhere : problem_->places[with].domain;
  for (const copy_of_expert& c : copies_[e]) {
    if (c.node == without) continue;
    const std::uint32_t domain = problem_->places[c.node].domain;
    if (first == nowhere) first = domain;
    if (domain != first) return true;
  }
  for (std::uint32_t d = 0; d < problem_->is_cold.size(); ++d)
    if (d != first && problem_->is_cold[d] != 0) return first != nowhere;
  return false;
}

bool layer_state::is_pinned(std::uint32_t e, std::uint32_t j) const {
  for (const copy_of_expert& c : copies_[e])
    if (c.node == j) return c.is_pinned;
  return false;
}

void layer_state::clear() {
  for (auto& copies : copies_) copies.clear();
  for (auto& held : held_by_) held.clear();
  std::fill(is_held_.begin(), is_held_.end(), 0);
  std::fill(node_load_.begin(), node_load_.end(), 0.0);
  moved_ = 0;
}

/// Moves load along the way on which node `end` was reached, as much as it has room for. False
/// where ways that were taken meanwhile have left nothing.
bool layer_state::augment(std::uint32_t end, double finish) {
  double amount = finish * problem_->places[end].speed - node_load_[end];
  std::uint32_t at = end;
  for (; reached_[at].from != nowhere; at = reached_[at].from)
    amount = std::min(amount, find(reached_[at].expert, reached_[at].from)->load);
  amount = std::min(amount, node_load_[at] - finish * problem_->places[at].speed);
  if (amount <= 0) return false;
  node_load_[at] -= amount;
  node_load_[end] += amount;
  for (at = end; reached_[at].from != nowhere; at = reached_[at].from) {
    find(reached_[at].expert, reached_[at].from)->load -= amount;
    find(reached_[at].expert, at)->load += amount;
  }
  return true;
}

/// From nodes that finish later than `finish` straight to nodes with room that hold a copy of the
/// same expert: most of what there is to shift, without a search.
void layer_state::shift_to_neighbours(double finish) {
  for (std::uint32_t j = 0; j < nodes(); ++j) {
    const double most = finish * problem_->places[j].speed;
    if (node_load_[j] <= most + tiny) continue;
    for (const std::uint32_t e : held_by_[j]) {
      if (copies_[e].size() < 2) continue;
      copy_of_expert& here = *find(e, j);
      for (copy_of_expert& there : copies_[e]) {
        const double room = finish * problem_->places[there.node].speed - node_load_[there.node];
        const double amount = std::min({room, here.load, node_load_[j] - most});
        if (&there == &here || amount <= tiny) continue;
        here.load -= amount;
        there.load += amount;
        node_load_[j] -= amount;
        node_load_[there.node] += amount;
      }
      if (node_load_[j] <= most + tiny) break;
    }
  }
}

/// Breadth-first from the nodes that finish later than `finish`, over copies with load, to those
/// with room; load goes there, by all ways that one search finds. False if none can be reached;
/// then the reached nodes are marked.
bool layer_state::shift_to_slack(double finish) {
  bool has_shifted = false;
  queue_.clear();
  std::fill(is_reached_.begin(), is_reached_.end(), 0);
  for (std::uint32_t j = 0; j < nodes(); ++j) {
    if (node_load_[j] <= finish * problem_->places[j].speed + tiny) continue;
    is_reached_[j] = 1;
    reached_[j] = {};
    queue_.push_back(j);
  }
  for (std::size_t head = 0; head < queue_.size(); ++head) {
    const std::uint32_t i = queue_[head];
    for (const std::uint32_t e : held_by_[i]) {
      if (copies_[e].size() < 2 || load_of(e, i) < tiny / 16) continue;  // rounding, not load
      for (const copy_of_expert& c : copies_[e]) {
        if (is_reached_[c.node] != 0) continue;
        reached_[c.node] = {.from = i, .expert = e};
        if (node_load_[c.node] < finish * problem_->places[c.node].speed - tiny) {
          has_shifted = augment(c.node, finish) || has_shifted;
          continue;
        }
        is_reached_[c.node] = 1;
        queue_.push_back(c.node);
      }
    }
  }
  return has_shifted;
}

void layer_state::settle(double enough) {
  // Newton's method on the finishing time, from below: what cannot leave a set of nodes sets the
  // next time, until everything fits.
  double total = 0;
  double speed = 0;
  for (std::uint32_t j = 0; j < nodes(); ++j) {
    total += node_load_[j];
    speed += problem_->places[j].speed;
  }
  double finish = std::max(total / speed, enough);
  is_critical_.assign(nodes(), 1);
  while (true) {
    shift_to_neighbours(finish);
    while (shift_to_slack(finish)) {
    }
    if (queue_.empty()) break;
    double load = 0;
    speed = 0;
    for (const std::uint32_t j : queue_) {
      load += node_load_[j];
      speed += problem_->places[j].speed;
    }
    is_critical_.assign(is_reached_.begin(), is_reached_.end());
    if (load / speed <= finish) break;
    finish = load / speed;
  }
  critical_count_ =
      static_cast<std::size_t>(std::count(is_critical_.begin(), is_critical_.end(), 1));
  finish_ = 0;
  for (std::uint32_t j = 0; j < nodes(); ++j)
    finish_ = std::max(finish_, node_load_[j] / problem_->places[j].speed);
}

}  // namespace atl::cluster::balancing
