// Each node in turn takes experts until it is full for a finishing time T: the last of them only in
// part, the rest of it stays for the nodes after it, so no node meets an expert twice. With n
// experts left in order of load, a node of s slots takes s neighbours in that order, the first ones
// whose sum reaches what it can do (the sliding window of Kling et al., "Sharing is caring", SPAA
// 2017). With equal nodes and experts + nodes - 1 slots this never fails at the mean load: the s -
// 1 smallest left are below it, the s largest are not. T is bisected where slots are scarcer, over
// several ways to choose.
#include "cluster/balance/fill.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

namespace atl::cluster::balancing {

namespace {

struct piece {
  std::uint32_t expert = 0;
  std::uint32_t node = 0;
  double load = 0;
};

struct item {
  double load = 0;
  std::uint32_t expert = 0;
};

bool is_less(const item& a, const item& b) {
  return a.load != b.load ? a.load < b.load : a.expert < b.expert;
}

enum class choice : std::uint8_t {
  tight,   // fill each node to T, splitting wherever slots allow
  frugal,  // split only where a node would otherwise lose more than its part of the slack
  giants   // first those too large for a node beside the smallest, then the largest first, whole
};

struct way {
  choice by;
  bool slow_first;
  bool even_slots;  // as many as the node's speed asks for, not all it has
};

constexpr std::array<way, 7> ways{{{choice::tight, false, true},
                                   {choice::tight, false, false},
                                   {choice::tight, true, false},
                                   {choice::giants, false, false},
                                   {choice::giants, true, false},
                                   {choice::frugal, false, false},
                                   {choice::frugal, true, false}}};

class filler {
public:
  explicit filler(const layer_problem& problem);

  bool try_at(double finish, const way& how);
  const std::vector<piece>& pieces() const { return pieces_; }

private:
  void order_nodes(const way& how);
  void set_slots(bool even);
  void sum_up();
  bool has_giant(std::uint32_t j, double capacity) const;
  bool spread_rest(double finish);
  std::size_t whole_least() const;
  bool fill_node(std::uint32_t j, double capacity, choice by);
  void take(std::uint32_t j, std::size_t first, std::size_t count, double capacity, bool split);
  void take_whole(std::uint32_t j, std::size_t first, std::size_t count, double capacity);
  std::size_t window_of(std::size_t count, double capacity) const;
  double sum(std::size_t first, std::size_t count) const {
    return prefix_[first + count] - prefix_[first];
  }

  const layer_problem& problem_;
  std::vector<item> sorted_;
  std::vector<item> left_;
  std::vector<double> prefix_;
  std::vector<std::uint32_t> order_;
  std::vector<std::size_t> slots_;
  std::vector<piece> pieces_;
  std::size_t slots_after_ = 0;  // of the nodes after this one
  double capacity_after_ = 0;
  std::size_t nodes_after_ = 0;
};

bool may_fill(const place& p) { return p.takes && !p.drains && p.slots > 0; }

filler::filler(const layer_problem& problem) : problem_{problem}, slots_(problem.nodes()) {
  for (std::uint32_t e = 0; e < problem.experts(); ++e) sorted_.push_back({problem.loads[e], e});
  std::sort(sorted_.begin(), sorted_.end(), is_less);
}

/// By speed a slot; equal ones in turn from different domains, so that the experts they share are
/// in two.
void filler::order_nodes(const way& how) {
  order_.clear();
  std::vector<std::uint32_t> seen_of_domain(problem_.nodes() + 1, 0);
  std::vector<std::uint32_t> round(problem_.nodes(), 0);
  for (std::uint32_t j = 0; j < problem_.nodes(); ++j) {
    const place& p = problem_.places[j];
    if (!may_fill(p)) continue;
    round[j] = seen_of_domain[p.domain]++;
    order_.push_back(j);
  }
  std::sort(order_.begin(), order_.end(), [&](std::uint32_t a, std::uint32_t b) {
    const place& p = problem_.places[a];
    const place& q = problem_.places[b];
    const double x = p.speed * static_cast<double>(slots_[b]);
    const double y = q.speed * static_cast<double>(slots_[a]);
    if (x != y) return how.slow_first ? x < y : x > y;
    return round[a] != round[b] ? round[a] < round[b] : a < b;
  });
}

/// Even: experts + nodes - 1 slots over all nodes, in proportion to speed as far as they have them;
/// what rounding leaves goes to nodes with room, in order.
void filler::set_slots(bool even) {
  double speed = 0;
  std::size_t all = 0;
  std::size_t count = 0;
  for (std::uint32_t j = 0; j < problem_.nodes(); ++j) {
    const place& p = problem_.places[j];
    slots_[j] = may_fill(p) ? p.slots : 0;
    all += slots_[j];
    speed += may_fill(p) ? p.speed : 0;
    count += may_fill(p) ? 1 : 0;
  }
  const std::size_t wanted = problem_.experts() + count - 1;
  if (!even || all <= wanted) return;
  std::size_t given = 0;
  for (std::uint32_t j = 0; j < problem_.nodes(); ++j) {
    if (slots_[j] == 0) continue;
    const double part = static_cast<double>(wanted) * problem_.places[j].speed / speed;
    slots_[j] = std::min(slots_[j], static_cast<std::size_t>(part) + 1);
    given += slots_[j];
  }
  for (std::size_t j = 0; given < wanted; j = (j + 1) % problem_.nodes()) {
    if (!may_fill(problem_.places[j]) || slots_[j] >= problem_.places[j].slots) continue;
    ++slots_[j];
    ++given;
  }
}

bool filler::try_at(double finish, const way& how) {
  set_slots(how.even_slots);
  order_nodes(how);
  left_ = sorted_;
  pieces_.clear();
  slots_after_ = std::accumulate(slots_.begin(), slots_.end(), std::size_t{0});
  capacity_after_ = 0;
  for (const std::uint32_t j : order_) capacity_after_ += finish * problem_.places[j].speed;
  nodes_after_ = order_.size();
  for (const std::uint32_t j : order_) {
    if (left_.empty()) break;
    const double capacity = finish * problem_.places[j].speed;
    sum_up();
    if (how.by == choice::giants && !has_giant(j, capacity)) return spread_rest(finish);
    slots_after_ -= slots_[j];
    capacity_after_ -= capacity;
    --nodes_after_;
    if (how.by == choice::giants) {
      if (slots_[j] <= whole_least()) return false;
      take(j, 0, std::min(slots_[j], left_.size()) - 1, capacity, true);
    } else if (!fill_node(j, capacity, how.by)) {
      return false;
    }
  }
  return left_.empty();
}

void filler::sum_up() {
  prefix_.assign(1, 0);
  for (const item& x : left_) prefix_.push_back(prefix_.back() + x.load);
}

/// Whether the largest one left is too much for the node even beside the smallest.
bool filler::has_giant(std::uint32_t j, double capacity) const {
  const std::size_t beside = std::min(slots_[j], left_.size()) - 1;
  return left_.back().load + sum(0, beside) > capacity + tiny && sum(0, beside) < capacity - tiny;
}

/// The largest first, each to the node that would finish it first. False if that is too late.
bool filler::spread_rest(double finish) {
  std::vector<double> load(problem_.nodes(), 0);
  std::vector<std::size_t> held(problem_.nodes(), 0);
  for (; !left_.empty(); left_.pop_back()) {
    const item& x = left_.back();
    std::uint32_t best = nowhere;
    double best_time = 0;
    for (std::size_t i = order_.size() - nodes_after_; i < order_.size(); ++i) {
      const std::uint32_t j = order_[i];
      if (held[j] >= slots_[j]) continue;
      const double time = (load[j] + x.load) / problem_.places[j].speed;
      if (best != nowhere && time >= best_time) continue;
      best = j;
      best_time = time;
    }
    if (best == nowhere || best_time > finish * (1 + tiny)) return false;
    load[best] += x.load;
    ++held[best];
    pieces_.push_back({x.expert, best, x.load});
  }
  return true;
}

/// So many have to be taken whole for the rest to find a slot after this node.
std::size_t filler::whole_least() const {
  return left_.size() > slots_after_ ? left_.size() - slots_after_ : 0;
}

/// The first of `count` neighbours whose sum reaches the capacity; past the end if none do.
std::size_t filler::window_of(std::size_t count, double capacity) const {
  std::size_t first = 0;
  while (first + count <= left_.size() && sum(first, count) < capacity - tiny) ++first;
  return first;
}

bool filler::fill_node(std::uint32_t j, double capacity, choice by) {
  const std::size_t slots = std::min(slots_[j], left_.size());
  const std::size_t least = whole_least();
  if (least > slots) return false;
  if (slots == left_.size() && sum(0, slots) <= capacity + tiny) {
    take(j, 0, slots, capacity, false);
    return true;
  }
  const std::size_t first = window_of(slots, capacity);
  if (first == 0) {
    // The smallest are too many: fewer of them.
    std::size_t count = 0;
    while (count < slots && sum(0, count + 1) <= capacity + tiny) ++count;
    if (count < least) return false;
    take(j, 0, count, capacity, true);
    return true;
  }
  const double slack = capacity + capacity_after_ - prefix_.back();
  const double loss = capacity - sum(first - 1, slots);
  const bool must_not_split = least == slots || first + slots > left_.size();
  const bool need_not_split =
      by != choice::tight && loss * static_cast<double>(nodes_after_ + 1) <= slack;
  if (must_not_split || need_not_split) {
    take_whole(j, first - 1, slots, capacity);
    return true;
  }
  take(j, first, slots - 1, capacity, true);
  return true;
}

/// `count` neighbours whole, and what then fits of the next one, or with giants of the last.
void filler::take(
    std::uint32_t j, std::size_t first, std::size_t count, double capacity, bool split) {
  double room = capacity;
  for (std::size_t i = first; i < first + count; ++i) {
    pieces_.push_back({left_[i].expert, j, left_[i].load});
    room -= left_[i].load;
  }
  item rest{};
  bool has_rest = false;
  std::size_t split_at = left_.size();
  if (split && room > tiny) {
    const bool is_neighbour = first + count < left_.size() && left_[first + count].load >= room;
    split_at = is_neighbour ? first + count : left_.size() - 1;
    const item& divided = left_[split_at];
    const double part = std::min(room, divided.load);
    pieces_.push_back({divided.expert, j, part});
    rest = {divided.load - part, divided.expert};
    has_rest = rest.load > tiny;
    left_.erase(left_.begin() + static_cast<std::ptrdiff_t>(split_at));
  }
  left_.erase(left_.begin() + static_cast<std::ptrdiff_t>(first),
              left_.begin() + static_cast<std::ptrdiff_t>(first + count));
  if (has_rest) left_.insert(std::upper_bound(left_.begin(), left_.end(), rest, is_less), rest);
}

/// `count` neighbours, below the capacity, one of them exchanged for what brings them nearest to
/// it.
void filler::take_whole(std::uint32_t j, std::size_t first, std::size_t count, double capacity) {
  const double room = capacity - sum(first, count);
  std::size_t out = first;
  std::size_t in = first;
  for (std::size_t i = first; i < first + count; ++i) {
    // The largest of those after the neighbours that fits in place of i.
    item most{left_[i].load + room + tiny, ~std::uint32_t{0}};
    const auto end = std::upper_bound(
        left_.begin() + static_cast<std::ptrdiff_t>(first + count), left_.end(), most, is_less);
    const auto at = static_cast<std::size_t>(end - left_.begin());
    if (at == first + count) continue;
    if (in == out || left_[at - 1].load - left_[i].load > left_[in].load - left_[out].load) {
      out = i;
      in = at - 1;
    }
  }
  if (in != out) {
    // Where the neighbours begin, the one that stays takes its place, in order.
    const item stays = left_[out];
    pieces_.push_back({left_[in].expert, j, left_[in].load});
    left_.erase(left_.begin() + static_cast<std::ptrdiff_t>(in));
    left_.erase(left_.begin() + static_cast<std::ptrdiff_t>(out));
    take(j, first, count - 1, capacity, false);
    left_.insert(std::upper_bound(left_.begin(), left_.end(), stays, is_less), stays);
    return;
  }
  take(j, first, count, capacity, false);
}

layer_state state_of(const layer_problem& problem, const std::vector<piece>& pieces) {
  layer_state state{problem};
  for (const piece& p : pieces) state.add(p.expert, p.node, p.load);
  state.settle();
  return state;
}

/// One copy more for the expert with the most load a copy, while there are slots; then the largest
/// part first, to the node that would finish it first among those with a slot and without the
/// expert. What does not find such a node stays with the others.
std::optional<layer_state> fill_greedily(const layer_problem& problem) {
  std::size_t slots = 0;
  std::size_t nodes = 0;
  for (const place& p : problem.places) {
    if (!may_fill(p)) continue;
    slots += p.slots;
    ++nodes;
  }
  std::vector<std::size_t> copies(problem.experts(), 1);
  const auto part = [&](std::uint32_t e) {
    return problem.loads[e] / static_cast<double>(copies[e]);
  };
  const auto is_below = [&](std::uint32_t a, std::uint32_t b) {
    return part(a) != part(b) ? part(a) < part(b) : a > b;
  };
  std::vector<std::uint32_t> heap(problem.experts());
  std::iota(heap.begin(), heap.end(), 0);
  std::make_heap(heap.begin(), heap.end(), is_below);
  for (std::size_t used = problem.experts(); used < slots && !heap.empty();) {
    std::pop_heap(heap.begin(), heap.end(), is_below);
    const std::uint32_t e = heap.back();
    if (copies[e] >= nodes || part(e) <= tiny) {
      heap.pop_back();
      continue;
    }
    ++copies[e];
    ++used;
    std::push_heap(heap.begin(), heap.end(), is_below);
  }
  std::vector<item> parts;
  for (std::uint32_t e = 0; e < problem.experts(); ++e)
    for (std::size_t c = 0; c < copies[e]; ++c) parts.push_back({part(e), e});
  std::stable_sort(
      parts.begin(), parts.end(), [](const item& a, const item& b) { return a.load > b.load; });
  layer_state state{problem};
  for (const item& x : parts) {
    std::uint32_t best = nowhere;
    for (std::uint32_t j = 0; j < problem.nodes(); ++j) {
      const place& p = problem.places[j];
      if (!may_fill(p) || !state.has_room(j) || state.holds(j, x.expert)) continue;
      const auto finish = [&](std::uint32_t at) {
        return (state.load_at(at) + x.load) / problem.places[at].speed;
      };
      if (best == nowhere || finish(j) < finish(best)) best = j;
    }
    if (best == nowhere) {
      if (state.copies(x.expert).empty()) return std::nullopt;
      state.add_load(x.expert, state.copies(x.expert).front().node, x.load);
      continue;
    }
    state.add(x.expert, best, x.load);
  }
  state.settle();
  return state;
}

}  // namespace

namespace {

/// With H the h largest experts: they are on m nodes, at most as many as h and the slots to spare,
/// and those hold besides what the slots of the others cannot. Loads fall, places by falling speed.
double bound_of_company(const std::vector<double>& loads, const std::vector<place>& places) {
  std::vector<double> smallest{0};  // sums of the 1, 2, ... smallest loads
  for (auto load = loads.rbegin(); load != loads.rend(); ++load)
    smallest.push_back(smallest.back() + *load);
  std::vector<std::size_t> most;  // slots, falling
  for (const place& p : places) most.push_back(p.slots);
  std::sort(most.rbegin(), most.rend());
  std::vector<std::size_t> held{0};  // slots of the 1, 2, ... nodes with the most
  for (const std::size_t slots : most) held.push_back(held.back() + slots);
  const std::size_t spare = held.back() - std::min(held.back(), loads.size());
  double bound = 0;
  double heavy = 0;
  for (std::size_t h = 1; h <= loads.size() && h <= places.size(); ++h) {
    heavy += loads[h - 1];
    double least = std::numeric_limits<double>::max();
    double speed = 0;
    for (std::size_t m = 1; m <= std::min(places.size(), h + spare); ++m) {
      speed += places[m - 1].speed;
      const std::size_t elsewhere = std::min(held[places.size() - m], loads.size() - h);
      least = std::min(least, (heavy + smallest[loads.size() - h - elsewhere]) / speed);
    }
    bound = std::max(bound, least);
  }
  return bound;
}

}  // namespace

double lower_bound(const layer_problem& problem) {
  std::vector<double> loads = problem.loads;
  std::sort(loads.begin(), loads.end(), [](double a, double b) { return a > b; });
  std::vector<place> places;
  for (const place& p : problem.places)
    if (p.slots > 0) places.push_back(p);
  double speed = 0;
  std::size_t slots = 0;
  for (const place& p : places) {
    speed += p.speed;
    slots += p.slots;
  }
  if (slots < loads.size()) {
    // Nodes that drain will have to go on.
    double all = 0;
    for (const place& p : problem.places) all += p.speed;
    return 1 / all;
  }
  std::sort(places.begin(), places.end(), [](const place& a, const place& b) {
    return a.speed * b.slots > b.speed * a.slots;
  });
  double rest = std::accumulate(loads.begin(), loads.end(), 0.0);
  double bound = rest / speed;
  std::size_t taken = 0;
  for (const place& p : places) {
    speed -= p.speed;
    for (std::size_t s = 0; s < p.slots && taken < loads.size(); ++s) rest -= loads[taken++];
    if (taken == loads.size() || speed <= 0) break;
    bound = std::max(bound, rest / speed);
  }
  std::sort(places.begin(), places.end(), [](const place& a, const place& b) {
    return a.speed > b.speed;
  });
  bound = std::max(bound, bound_of_company(loads, places));
  std::vector<double> fastest;  // speeds of the 1, 2, ... fastest together
  for (const place& p : places) fastest.push_back(p.speed + (fastest.empty() ? 0 : fastest.back()));
  const auto fits = [&](double finish) {
    std::size_t copies = 0;
    for (const double load : loads) {
      const auto last = std::lower_bound(fastest.begin(), fastest.end(), (load - tiny) / finish);
      if (last == fastest.end()) return false;
      copies += static_cast<std::size_t>(last - fastest.begin()) + 1;
    }
    return copies <= slots;
  };
  if (fits(bound)) return bound;
  double low = bound;
  double high = std::max(bound, loads.front() / places.front().speed);
  while (high - low > 1e-9 * high) {
    const double middle = (low + high) / 2;
    (fits(middle) ? high : low) = middle;
  }
  return low;
}

std::optional<layer_state> fill(const layer_problem& problem, double bound) {
  filler nodes{problem};
  std::vector<piece> best;
  const auto fits = [&](double finish) {
    for (const way& how : ways) {
      if (!nodes.try_at(finish, how)) continue;
      best = nodes.pieces();
      return true;
    }
    return false;
  };
  if (fits(bound * (1 + 1e-9))) return state_of(problem, best);
  std::optional<layer_state> greedy = fill_greedily(problem);
  if (!greedy) return greedy;
  double low = bound;
  double high = greedy->finish();
  constexpr double close = 1e-3;
  while (high - low > close * low) {
    const double middle = high - low > 0.1 * low ? std::sqrt(low * high) : (low + high) / 2;
    (fits(middle) ? high : low) = middle;
  }
  if (best.empty()) return greedy;
  layer_state filled = state_of(problem, best);
  return filled.finish() <= greedy->finish() ? filled : *greedy;
}

}  // namespace atl::cluster::balancing
