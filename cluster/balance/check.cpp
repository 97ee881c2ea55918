#include "cluster/balance/check.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <utility>

namespace atl::cluster::balancing {

namespace {

constexpr double number_most = 1e15;

error bad(const std::string& what) { return {errc::invalid_argument, what}; }

std::string at(const std::string& name, std::size_t i) {
  return name + "[" + std::to_string(i) + "]";
}

result<void> check_nodes(const balance_input& input) {
  if (input.nodes.empty()) return bad("nodes: there are none; name at least one");
  for (std::size_t j = 0; j < input.nodes.size(); ++j) {
    const double speed = input.nodes[j].speed;
    if (!(speed >= 1 / number_most) || !(speed < number_most))
      return bad(at("nodes", j) + ".speed: " + std::to_string(speed) +
                 " is not a number above 0 and below 1e15");
  }
  for (std::size_t i = 0; i < input.options.cold_cover.size(); ++i)
    if (input.options.cold_cover[i] >= input.nodes.size())
      return bad(at("options.cold_cover", i) + ": there is no node " +
                 std::to_string(input.options.cold_cover[i]));
  return {};
}

result<void> check_loads(const balance_input& input) {
  if (input.loads.empty() || input.loads.front().empty())
    return bad("loads: there are none; give a row of loads, one for each expert, for each layer");
  for (std::size_t l = 0; l < input.loads.size(); ++l) {
    if (input.loads[l].size() != input.loads.front().size())
      return bad(at("loads", l) + ": " + std::to_string(input.loads[l].size()) + " experts, but " +
                 std::to_string(input.loads.front().size()) +
                 " in the first layer; every layer has the same number");
    for (std::size_t e = 0; e < input.loads[l].size(); ++e) {
      const double load = input.loads[l][e];
      if (!(load >= 0) || !(load < number_most))
        return bad(at(at("loads", l), e) + ": " + std::to_string(load) +
                   " is not a number from 0 to 1e15");
    }
  }
  return {};
}

result<void> check_present(const balance_input& input) {
  if (input.present.empty()) return {};
  if (input.present.size() != input.loads.size())
    return bad("present: " + std::to_string(input.present.size()) + " layers, but loads have " +
               std::to_string(input.loads.size()));
  for (std::size_t l = 0; l < input.present.size(); ++l) {
    std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
    for (std::size_t i = 0; i < input.present[l].size(); ++i) {
      const balance_copy& c = input.present[l][i];
      const std::string where = at(at("present", l), i);
      if (c.expert >= input.loads.front().size())
        return bad(where + ".expert: there is no expert " + std::to_string(c.expert));
      if (c.node >= input.nodes.size())
        return bad(where + ".node: there is no node " + std::to_string(c.node));
      if (!(c.share >= 0) || !(c.share < number_most))
        return bad(where + ".share: " + std::to_string(c.share) + " is not a number from 0 on");
      if (!seen.emplace(c.expert, c.node).second)
        return bad(where + ": expert " + std::to_string(c.expert) + " is on node " +
                   std::to_string(c.node) + " twice");
    }
  }
  return {};
}

result<void> check_rules(const balance_input& input) {
  const auto is_expert = [&](std::uint32_t layer, std::uint32_t expert) {
    return layer < input.loads.size() && expert < input.loads.front().size();
  };
  for (std::size_t i = 0; i < input.barred.size(); ++i) {
    const balance_ban& b = input.barred[i];
    if (!is_expert(b.layer, b.expert) || b.node >= input.nodes.size())
      return bad(at("barred", i) + ": there is no such layer, expert or node");
  }
  for (std::size_t i = 0; i < input.fixed.size(); ++i)
    if (!is_expert(input.fixed[i].layer, input.fixed[i].expert))
      return bad(at("fixed", i) + ": there is no such layer or expert");
  return {};
}

result<void> check_options(const balance_options& o) {
  const auto is_part = [](double x) { return x >= 0 && x < 1; };
  if (!is_part(o.hysteresis))
    return bad("options.hysteresis: " + std::to_string(o.hysteresis) +
               " is not a fraction from 0 to below 1");
  if (!is_part(o.tolerance))
    return bad("options.tolerance: " + std::to_string(o.tolerance) +
               " is not a fraction from 0 to below 1");
  return {};
}

/// Slots of each (node, layer).
class quotas {
public:
  explicit quotas(const balance_input& input)
      : input_{input},
        layers_{input.loads.size()},
        held_(input.nodes.size() * layers_),
        slots_(input.nodes.size() * layers_),
        in_layer_(layers_) {
    for (std::size_t l = 0; l < input.present.size(); ++l)
      for (const balance_copy& c : input.present[l]) ++held_[c.node * layers_ + l];
    for (std::size_t j = 0; j < input.nodes.size(); ++j) divide(j);
    even_out();
  }

  std::size_t of(std::size_t node, std::size_t layer) const {
    return slots_[node * layers_ + layer];
  }

private:
  std::size_t experts() const { return input_.loads.front().size(); }
  std::size_t slots_most(std::size_t j) const { return std::min(input_.nodes[j].slots, experts()); }

  void divide(std::size_t j) {
    const balance_node& node = input_.nodes[j];
    std::size_t left =
        std::min<std::uint64_t>(node.memory_bytes / std::max<std::uint64_t>(input_.expert_bytes, 1),
                                slots_most(j) * layers_);
    std::size_t* const slots = &slots_[j * layers_];
    for (std::size_t l = 0; l < layers_; ++l)
      slots[l] = std::min(held_[j * layers_ + l], slots_most(j));
    if (node.intake == node_intake::draining) {
      std::fill(slots, slots + layers_, 0);
      return;
    }
    // Above its memory: the layers with the most give some up.
    std::size_t used = std::accumulate(slots, slots + layers_, std::size_t{0});
    for (; used > left; --used) --*std::max_element(slots, slots + layers_);
    if (node.intake == node_intake::closed) left = used;
    for (; used < left; ++used) {
      std::size_t best = layers_;
      for (std::size_t l = 0; l < layers_; ++l) {
        if (slots[l] >= slots_most(j)) continue;
        if (best == layers_ || std::pair{slots[l], in_layer_[l] + slots[l]} <
                                   std::pair{slots[best], in_layer_[best] + slots[best]})
          best = l;
      }
      ++slots[best];
    }
    for (std::size_t l = 0; l < layers_; ++l) in_layer_[l] += slots[l];
  }

  /// A layer with fewer slots than experts gets them from layers with more, on the same node.
  void even_out() {
    for (std::size_t l = 0; l < layers_; ++l)
      while (in_layer_[l] < experts() && get_slot(l)) {
      }
  }

  bool get_slot(std::size_t l) {
    for (std::size_t j = 0; j < input_.nodes.size(); ++j) {
      if (input_.nodes[j].intake != node_intake::open || of(j, l) >= slots_most(j)) continue;
      for (std::size_t from = 0; from < layers_; ++from) {
        if (from == l || of(j, from) == 0 || in_layer_[from] <= experts()) continue;
        --slots_[j * layers_ + from];
        ++slots_[j * layers_ + l];
        --in_layer_[from];
        ++in_layer_[l];
        return true;
      }
    }
    return false;
  }

  const balance_input& input_;
  std::size_t layers_;
  std::vector<std::size_t> held_;
  std::vector<std::size_t> slots_;
  std::vector<std::size_t> in_layer_;
};

std::vector<std::uint32_t> domains_of(const std::vector<balance_node>& nodes) {
  std::map<std::string, std::uint32_t> known;
  std::vector<std::uint32_t> domains;
  std::uint32_t next = 0;
  for (const balance_node& node : nodes) {
    if (node.domain.empty()) {
      domains.push_back(next++);
      continue;
    }
    const auto [entry, is_new] = known.emplace(node.domain, next);
    if (is_new) ++next;
    domains.push_back(entry->second);
  }
  return domains;
}

}  // namespace

result<void> check(const balance_input& input) {
  ATOLL_TRY(check_nodes(input));
  ATOLL_TRY(check_loads(input));
  ATOLL_TRY(check_present(input));
  ATOLL_TRY(check_rules(input));
  return check_options(input.options);
}

std::vector<layer_problem> problems_of(const balance_input& input) {
  const quotas slots{input};
  const std::vector<std::uint32_t> domains = domains_of(input.nodes);
  layer_problem common;
  common.wants_cover = input.options.cover;
  common.is_cold.assign(input.nodes.size(), 0);
  for (const std::uint32_t j : input.options.cold_cover) common.is_cold[domains[j]] = 1;
  double fastest = 0;
  for (const balance_node& node : input.nodes) fastest = std::max(fastest, node.speed);
  std::vector<layer_problem> problems(input.loads.size(), common);
  for (std::size_t l = 0; l < problems.size(); ++l) {
    layer_problem& p = problems[l];
    const double total = std::accumulate(input.loads[l].begin(), input.loads[l].end(), 0.0);
    const auto experts = static_cast<double>(input.loads[l].size());
    std::size_t room = 0;
    for (const double load : input.loads[l])
      p.loads.push_back(total > 0 ? load / total : 1 / experts);
    for (std::size_t j = 0; j < input.nodes.size(); ++j) {
      const balance_node& node = input.nodes[j];
      p.places.push_back({.speed = node.speed,
                          .slots = static_cast<std::uint32_t>(slots.of(j, l)),
                          .domain = domains[j],
                          .takes = node.intake == node_intake::open,
                          .drains = node.intake == node_intake::draining});
      room += node.intake == node_intake::open ? slots.of(j, l) : 0;
    }
    p.is_cover_firm = p.wants_cover && room >= 2 * p.loads.size();
  }
  for (const balance_ban& b : input.barred) {
    layer_problem& p = problems[b.layer];
    p.is_barred.resize(p.experts() * p.nodes(), 0);
    p.is_barred[b.expert * p.nodes() + b.node] = 1;
  }
  for (const balance_fixed& f : input.fixed) {
    layer_problem& p = problems[f.layer];
    p.is_fixed.resize(p.experts(), 0);
    p.is_fixed[f.expert] = 1;
  }
  return problems;
}

void shed(layer_state& state) {
  const layer_problem& problem = state.problem();
  for (std::uint32_t j = 0; j < problem.nodes(); ++j) {
    if (problem.places[j].drains) continue;
    while (state.held_by(j).size() > problem.places[j].slots) {
      std::uint32_t out = nowhere;
      const auto rank = [&](std::uint32_t e) {
        return std::tuple{
            state.is_pinned(e, j), !state.may_drop_covered(e, j), state.load_of(e, j), e};
      };
      for (const std::uint32_t e : state.held_by(j))
        if (out == nowhere || rank(e) < rank(out)) out = e;
      state.remove(out, j);
    }
  }
}

}  // namespace atl::cluster::balancing
