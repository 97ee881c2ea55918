#include "cluster/elastic/trim.hpp"

#include "cluster/balance/layer_state.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <tuple>

namespace atl::cluster::elastic {

using namespace balancing;

namespace {

layer_problem problem_of(const trim_input& input, double total) {
  layer_problem problem;
  problem.wants_cover = input.cover;
  for (const double load : input.loads) problem.loads.push_back(load / total);
  std::map<std::string, std::uint32_t> domains;
  for (std::uint32_t j = 0; j < input.nodes.size(); ++j) {
    const balance_node& node = input.nodes[j];
    const std::string name = node.domain.empty() ? "\n" + std::to_string(j) : node.domain;
    const auto [at, is_new] = domains.emplace(name, static_cast<std::uint32_t>(domains.size()));
    problem.places.push_back({.speed = node.speed,
                              .slots = static_cast<std::uint32_t>(input.loads.size()),
                              .domain = at->second});
  }
  return problem;
}

/// Room on the expert's other copies, by the time `finish`.
double room_beside(const layer_state& state, const balance_copy& c, double finish) {
  double room = 0;
  for (const copy_of_expert& other : state.copies(c.expert)) {
    if (other.node == c.node) continue;
    const double speed = state.problem().places[other.node].speed;
    room += std::max(0.0, finish * speed - state.load_at(other.node));
  }
  return room;
}

}  // namespace

bool trim(const trim_input& input, layer_plan& layer) {
  const double total = std::accumulate(input.loads.begin(), input.loads.end(), 0.0);
  if (total <= 0) return false;
  const layer_problem problem = problem_of(input, total);
  const double latest = input.latest / total;
  layer_state state{problem};
  for (const balance_copy& c : layer.replicas)
    state.add_present(c.expert, c.node, c.share * problem.loads[c.expert], c.is_pinned);
  const auto is_extra = [&](const balance_copy& c) {
    return state.copies(c.expert).size() > std::max(1U, input.wanted[c.expert]);
  };
  std::vector<balance_copy> extra;
  for (const balance_copy& c : layer.replicas)
    if (!c.is_pinned && is_extra(c)) extra.push_back(c);
  const auto load = [&](const balance_copy& c) { return c.share * problem.loads[c.expert]; };
  std::stable_sort(extra.begin(), extra.end(), [&](const balance_copy& a, const balance_copy& b) {
    return load(a) < load(b);
  });
  state.settle(latest);
  bool has_trimmed = false;
  for (const balance_copy& c : extra) {
    if (!is_extra(c)) continue;
    if (input.cover ? !state.may_drop_covered(c.expert, c.node) : !state.may_drop(c.expert, c.node))
      continue;
    if (state.load_of(c.expert, c.node) > room_beside(state, c, latest) + tiny) continue;
    state.remove(c.expert, c.node);
    state.settle(latest);
    if (state.finish() <= latest * (1 + tiny)) {
      has_trimmed = true;
      continue;
    }
    state.add(c.expert, c.node, 0);
    state.settle(latest);
  }
  if (!has_trimmed) return false;
  state.settle();
  std::vector<balance_copy> kept;
  for (const balance_copy& c : layer.replicas) {
    if (!state.holds(c.node, c.expert)) continue;
    const double all = problem.loads[c.expert];
    const auto of = static_cast<double>(state.copies(c.expert).size());
    kept.push_back(c);
    kept.back().share = all > 0 ? state.load_of(c.expert, c.node) / all : 1 / of;
  }
  layer.replicas = std::move(kept);
  layer.finish = state.finish() * total;
  return true;
}

}  // namespace atl::cluster::elastic
