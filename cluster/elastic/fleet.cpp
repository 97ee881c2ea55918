#include "cluster/elastic/fleet.hpp"

#include "cluster/elastic/detector.hpp"

#include <algorithm>
#include <numeric>
#include <set>
#include <span>
#include <tuple>
#include <utility>

namespace atl::cluster::elastic {

namespace {

/// Of an even load that every expert is given besides its own, so that counts of a few rows place
/// nothing: as many rows as that in a slow average, and that part of the mean.
constexpr double prior_rows = 4;
constexpr double prior_part = 1e-3;
/// Of the node without copies, against the slowest one.
constexpr double phantom_speed = 1e-9;

/// The copies there are, changed by the rules.
class ruling {
public:
  ruling(const elastic_input& input, const fleet& nodes, strictness how);

  balance_input take();

private:
  using copies = std::vector<balance_copy>;  // of one expert

  std::size_t experts() const { return input_.shape.experts; }
  std::uint32_t expert_of(std::size_t i) const { return static_cast<std::uint32_t>(i % experts()); }
  std::uint32_t layer_of(std::size_t i) const { return static_cast<std::uint32_t>(i / experts()); }
  std::optional<std::size_t> index_of(const expert_copy& c) const;
  bool is_barred(std::size_t i, std::uint32_t node) const { return barred_.count({i, node}) != 0; }
  bool is_open(std::uint32_t node) const {
    return nodes_.nodes()[node].intake == node_intake::open;
  }
  void bar(const std::vector<expert_copy>& which);
  void read_present();
  void remove(std::size_t i, std::uint32_t node);
  bool make(std::size_t i, std::uint32_t node);
  bool make_room(std::uint32_t node);
  std::optional<std::uint32_t> emptiest_for(std::size_t i) const;
  void fix(std::size_t i, std::uint32_t count);
  void make_pins();
  void leave_free();

  const elastic_input& input_;
  const fleet& nodes_;
  bool keeps_unwanted_;
  bool leaves_free_;
  balance_input out_;
  std::vector<copies> by_expert_;
  std::vector<std::size_t> used_;  // by node
  std::vector<double> loads_;      // by node, rows
  std::set<std::pair<std::size_t, std::uint32_t>> barred_;
  std::set<std::pair<std::size_t, std::uint32_t>> pinned_;
  std::vector<std::size_t> absent_;
};

ruling::ruling(const elastic_input& input, const fleet& nodes, strictness how)
    : input_{input},
      nodes_{nodes},
      keeps_unwanted_{how == strictness::keep_unwanted},
      leaves_free_{how == strictness::free_places},
      by_expert_(input.present.size()),
      used_(nodes.nodes().size(), 0),
      loads_(nodes.nodes().size(), 0) {
  out_.loads = planning_loads(input);
  bar(input.barred);
  if (!keeps_unwanted_) bar(input.unwanted);
  for (const expert_copy& c : input.pinned)
    if (const auto i = index_of(c))
      if (const auto place = nodes.place_of(c.group)) pinned_.emplace(*i, nodes.node_of(*place));
  read_present();
  for (std::size_t i = 0; i < by_expert_.size(); ++i)
    if (!input.copies_of.empty() && input.copies_of[i]) fix(i, *input.copies_of[i]);
  make_pins();
}

std::optional<std::size_t> ruling::index_of(const expert_copy& c) const {
  const auto& layers = input_.shape.layers;
  const auto at = std::lower_bound(layers.begin(), layers.end(), c.layer);
  if (at == layers.end() || *at != c.layer || c.expert.value >= experts()) return std::nullopt;
  return static_cast<std::size_t>(at - layers.begin()) * experts() + c.expert.value;
}

void ruling::bar(const std::vector<expert_copy>& which) {
  for (const expert_copy& c : which) {
    const auto i = index_of(c);
    const auto place = nodes_.place_of(c.group);
    if (i && place) barred_.emplace(*i, nodes_.node_of(*place));
  }
}

void ruling::read_present() {
  std::set<std::pair<std::size_t, std::uint32_t>> unwanted;
  for (const expert_copy& c : input_.unwanted)
    if (const auto i = index_of(c))
      if (const auto place = nodes_.place_of(c.group)) unwanted.emplace(*i, nodes_.node_of(*place));
  for (std::size_t i = 0; i < by_expert_.size(); ++i) {
    double shares = 0;
    for (const experts::replica& r : input_.present[i]) {
      const auto place = nodes_.place_of(r.group);
      if (!place) continue;
      const std::uint32_t node = nodes_.node_of(*place);
      if (!keeps_unwanted_ && unwanted.count({i, node}) != 0) continue;
      shares += r.share;
      const auto same = std::find_if(by_expert_[i].begin(),
                                     by_expert_[i].end(),
                                     [&](const auto& c) { return c.node == node; });
      if (same != by_expert_[i].end()) {
        same->share += r.share;
        continue;
      }
      by_expert_[i].push_back({.expert = expert_of(i),
                               .node = node,
                               .share = static_cast<double>(r.share),
                               .is_pinned = pinned_.count({i, node}) != 0});
      ++used_[node];
    }
    for (balance_copy& c : by_expert_[i]) {
      c.share /= shares;
      loads_[c.node] += c.share * out_.loads[layer_of(i)][c.expert];
    }
  }
}

void ruling::remove(std::size_t i, std::uint32_t node) {
  auto& of = by_expert_[i];
  of.erase(std::remove_if(of.begin(), of.end(), [&](const auto& c) { return c.node == node; }),
           of.end());
  --used_[node];
}

/// A place for one more: the copy with the least load that has another elsewhere makes way.
bool ruling::make_room(std::uint32_t node) {
  if (used_[node] < nodes_.capacity(node)) return true;
  std::optional<std::size_t> out;
  double least = 0;
  for (std::size_t i = 0; i < by_expert_.size(); ++i) {
    if (by_expert_[i].size() < 2) continue;
    for (const balance_copy& c : by_expert_[i]) {
      if (c.node != node || c.is_pinned) continue;
      const double load = c.share * out_.loads[layer_of(i)][c.expert];
      if (out && load >= least) continue;
      out = i;
      least = load;
    }
  }
  if (!out) return false;
  remove(*out, node);
  return true;
}

bool ruling::make(std::size_t i, std::uint32_t node) {
  if (!is_open(node) || !make_room(node)) return false;
  by_expert_[i].push_back({.expert = expert_of(i), .node = node, .share = 0, .is_pinned = true});
  ++used_[node];
  loads_[node] += out_.loads[layer_of(i)][expert_of(i)] / static_cast<double>(by_expert_[i].size());
  return true;
}

/// That takes a further copy in a free place: in a new domain if there is one, then that with the
/// least load for its speed.
std::optional<std::uint32_t> ruling::emptiest_for(std::size_t i) const {
  const auto& nodes = nodes_.nodes();
  std::optional<std::uint32_t> best;
  std::tuple<bool, double> best_rank;
  for (std::uint32_t j = 0; j < nodes.size(); ++j) {
    if (!is_open(j) || is_barred(i, j) || used_[j] >= nodes_.capacity(j)) continue;
    bool is_there = false;
    bool is_near = false;
    for (const balance_copy& c : by_expert_[i]) {
      is_there = is_there || c.node == j;
      is_near = is_near || (!nodes[j].domain.empty() && nodes[c.node].domain == nodes[j].domain);
    }
    const std::tuple rank{is_near, loads_[j] / nodes[j].speed};
    if (is_there || (best && rank >= best_rank)) continue;
    best = j;
    best_rank = rank;
  }
  return best;
}

/// That many copies: pinned ones first, then those that are there, those with the most rows first.
void ruling::fix(std::size_t i, std::uint32_t count) {
  auto& of = by_expert_[i];
  out_.fixed.push_back({.layer = layer_of(i), .expert = expert_of(i)});
  if (count == 0) {
    absent_.push_back(i);
    while (!of.empty()) remove(i, of.back().node);
    out_.loads[layer_of(i)][expert_of(i)] = 0;
    return;
  }
  for (const auto& [expert, node] : pinned_) {
    const bool is_there =
        std::any_of(of.begin(), of.end(), [at = node](const auto& c) { return c.node == at; });
    if (expert == i && !is_there && !is_barred(i, node)) make(i, node);
  }
  const auto drains = [&](const balance_copy& c) {
    return nodes_.nodes()[c.node].intake == node_intake::draining;
  };
  std::stable_sort(of.begin(), of.end(), [&](const balance_copy& a, const balance_copy& b) {
    return std::tuple{drains(a), !a.is_pinned, -a.share} <
           std::tuple{drains(b), !b.is_pinned, -b.share};
  });
  while (of.size() > count) remove(i, of.back().node);
  while (true) {
    // What drains leaves once there is another place.
    const bool is_short = of.size() < count;
    const auto leaves = std::find_if(of.begin(), of.end(), drains);
    if (!is_short && leaves == of.end()) break;
    const auto to = emptiest_for(i);
    if (!to) break;
    if (!is_short) remove(i, leaves->node);
    make(i, *to);
  }
  for (balance_copy& c : of) c.is_pinned = true;
}

void ruling::make_pins() {
  for (const auto& [i, node] : pinned_) {
    if (!input_.copies_of.empty() && input_.copies_of[i]) continue;
    const auto& of = by_expert_[i];
    if (std::any_of(of.begin(), of.end(), [at = node](const auto& c) { return c.node == at; }))
      continue;
    if (!is_barred(i, node)) make(i, node);
  }
}

/// A copy that changes places is made before the old one goes: full groups would wait for each
/// other. Nothing that is there gives way to that, nor do wanted copies.
void ruling::leave_free() {
  constexpr double ample = 1.05;
  constexpr std::size_t capacity_least = 12;  // below it one place is too much to leave
  double room = 0;
  for (std::uint32_t j = 0; j < out_.nodes.size(); ++j)
    if (is_open(j)) room += static_cast<double>(nodes_.capacity(j)) - 1;
  const auto wanted = static_cast<double>(by_expert_.size() * input_.copies);
  if (room < wanted * ample) return;
  for (std::uint32_t j = 0; j < out_.nodes.size(); ++j) {
    const std::size_t capacity = nodes_.capacity(j);
    if (capacity < capacity_least || used_[j] >= capacity) continue;
    out_.nodes[j].memory_bytes = (capacity - 1) * out_.expert_bytes;
  }
}

balance_input ruling::take() {
  out_.nodes = nodes_.nodes();
  out_.expert_bytes = std::max<std::uint64_t>(input_.expert_bytes, 1);
  if (leaves_free_) leave_free();
  if (!absent_.empty()) {
    double slowest = out_.nodes.front().speed;
    for (const balance_node& node : out_.nodes) slowest = std::min(slowest, node.speed);
    out_.nodes.push_back({.name = "none",
                          .speed = slowest * phantom_speed,
                          .slots = experts(),
                          .intake = node_intake::closed});
    const auto none = static_cast<std::uint32_t>(out_.nodes.size() - 1);
    for (const std::size_t i : absent_)
      by_expert_[i].push_back(
          {.expert = expert_of(i), .node = none, .share = 1, .is_pinned = true});
  }
  out_.present.resize(input_.shape.layers.size());
  for (std::size_t i = 0; i < by_expert_.size(); ++i)
    for (const balance_copy& c : by_expert_[i]) out_.present[layer_of(i)].push_back(c);
  for (const auto& [i, node] : barred_)
    out_.barred.push_back({.layer = layer_of(i), .expert = expert_of(i), .node = node});
  const elastic_limits& limits = input_.limits;
  out_.options = {.cover = input_.copies >= 2,
                  .moved_experts_max = limits.moved_experts_max,
                  .moved_bytes_max = limits.moved_bytes_max,
                  .hysteresis = limits.hysteresis};
  return std::move(out_);
}

}  // namespace

fleet::fleet(const elastic_input& input) : node_of_(input.groups.size(), 0) {
  std::map<node_id, std::vector<std::size_t>> by_node;
  for (std::size_t g = 0; g < input.groups.size(); ++g) {
    place_of_.emplace(input.groups[g].group, g);
    by_node[input.groups[g].node].push_back(g);
  }
  for (auto& [id, places] : by_node) {
    std::sort(places.begin(), places.end(), [&](std::size_t a, std::size_t b) {
      return input.groups[a].group < input.groups[b].group;
    });
    const elastic_group& first = input.groups[places.front()];
    balance_node node{.name = first.name.empty() ? "node " + std::to_string(id.value) : first.name,
                      .speed = 0,
                      .slots = input.shape.experts,
                      .domain = first.domain,
                      .intake = first.intake};
    std::size_t capacity = 0;
    for (const std::size_t g : places) {
      node.speed += input.groups[g].speed;
      capacity += input.groups[g].capacity;
      node_of_[g] = static_cast<std::uint32_t>(nodes_.size());
    }
    node.memory_bytes = capacity * std::max<std::uint64_t>(input.expert_bytes, 1);
    speed_ += node.speed;
    nodes_.push_back(std::move(node));
    capacities_.push_back(capacity);
    groups_.push_back(std::move(places));
  }
}

std::optional<std::size_t> fleet::place_of(group_id group) const {
  const auto at = place_of_.find(group);
  return at == place_of_.end() ? std::nullopt : std::optional{at->second};
}

std::vector<std::vector<double>> planning_loads(const elastic_input& input) {
  const std::size_t experts = input.shape.experts;
  std::vector<std::vector<double>> loads;
  for (std::size_t l = 0; l < input.shape.layers.size(); ++l) {
    const auto seen = seen_loads(std::span{input.loads}.subspan(l * experts, experts));
    double total = 0;
    for (const seen_load& s : seen) total += s.rows;
    const double prior =
        prior_rows / seconds(load_tau_slow) + prior_part * total / static_cast<double>(experts);
    auto& row = loads.emplace_back();
    for (const seen_load& s : seen) row.push_back(s.rows + prior);
  }
  return loads;
}

std::uint32_t wanted_of(const elastic_input& input, std::size_t i) {
  return input.copies_of.empty() ? input.copies : input.copies_of[i].value_or(input.copies);
}

balance_input question_of(const elastic_input& input, const fleet& nodes, strictness how) {
  return ruling{input, nodes, how}.take();
}

}  // namespace atl::cluster::elastic
