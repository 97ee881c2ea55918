#include "cluster/elastic/elastic.hpp"

#include "cluster/elastic/explain.hpp"
#include "cluster/elastic/fleet.hpp"
#include "cluster/elastic/trim.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

namespace atl::cluster {

using namespace elastic;

namespace {

error bad(const std::string& what) { return {errc::invalid_argument, "elastic plan: " + what}; }

result<void> check(const elastic_input& input) {
  const std::size_t count = input.shape.layers.size() * input.shape.experts;
  if (input.groups.empty()) return bad("there is no group");
  if (count == 0) return bad("there is no expert to place");
  if (input.present.size() != count || input.loads.size() != count)
    return bad(std::to_string(input.present.size()) + " replica lists and " +
               std::to_string(input.loads.size()) + " loads for " + std::to_string(count) +
               " experts");
  if (!input.copies_of.empty() && input.copies_of.size() != count)
    return bad("wanted copies of " + std::to_string(input.copies_of.size()) + " experts for " +
               std::to_string(count));
  if (!input.kept.empty() && input.kept.size() != count)
    return bad("kept: " + std::to_string(input.kept.size()) + " of " + std::to_string(count) +
               " experts");
  std::set<group_id> seen;
  for (const elastic_group& g : input.groups) {
    if (!seen.insert(g.group).second)
      return bad("group " + std::to_string(g.group.value) + " is named twice");
    if (!(g.speed > 0)) return bad(g.name + ": its speed is no number above 0");
  }
  for (const expert_load_rates& r : input.loads)
    if (!(r.fast >= 0) || !(r.slow >= 0)) return bad("a load is no number from 0 on");
  return {};
}

/// What the balancer said of copies that are made and given up: (layer, expert, node).
struct said {
  using key = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;
  std::map<key, move_reason> moves;
  std::set<key> drops;

  explicit said(const balance_plan& plan) {
    for (const balance_move& m : plan.moves) moves.emplace(key{m.layer, m.expert, m.to}, m.reason);
    for (const balance_drop& d : plan.drops) drops.emplace(d.layer, d.expert, d.from);
  }
};

elastic_reason reason_of(move_reason reason) {
  switch (reason) {
  case move_reason::missing: return elastic_reason::missing;
  case move_reason::drain: return elastic_reason::drain;
  case move_reason::cover: return elastic_reason::cover;
  case move_reason::balance: return elastic_reason::balance;
  }
  return elastic_reason::balance;
}

/// From copies on nodes to a goal of copies in groups, and what it takes to get there.
class goal_maker {
public:
  goal_maker(const elastic_input& input, const fleet& nodes, const balance_plan& plan);

  elastic_plan make();

private:
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
  struct copy_to {
    std::uint32_t node = 0;
    std::size_t place = none;  // in groups
    double share = 0;
  };

  std::size_t experts() const { return input_.shape.experts; }
  expert_copy named(std::size_t i, std::size_t place) const;
  void keep_places();
  void find_places();
  void set_layer(std::size_t l);
  void compare(std::size_t i);
  elastic_reason why_dropped(std::size_t i, const expert_copy& c, std::uint32_t node) const;
  double finish_now(std::size_t l, std::vector<double>& on_node, bool& has_hole) const;

  const elastic_input& input_;
  const fleet& nodes_;
  const balance_plan& plan_;
  said said_;
  std::vector<std::vector<double>> loads_;
  std::vector<std::vector<copy_to>> copies_;  // by expert
  std::vector<std::size_t> used_;             // by place in groups
  elastic_plan out_;
};

goal_maker::goal_maker(const elastic_input& input, const fleet& nodes, const balance_plan& plan)
    : input_{input},
      nodes_{nodes},
      plan_{plan},
      said_{plan},
      loads_{planning_loads(input)},
      copies_(input.present.size()),
      used_(input.groups.size(), 0) {
  for (std::size_t i = 0; i < copies_.size(); ++i)
    if (!input.copies_of.empty() && input.copies_of[i] == 0U)
      loads_[i / experts()][i % experts()] = 0;
  for (std::size_t l = 0; l < plan.layers.size(); ++l)
    for (const balance_copy& c : plan.layers[l].replicas)
      if (c.node < nodes.nodes().size())
        copies_[l * experts() + c.expert].push_back({.node = c.node, .share = c.share});
}

expert_copy goal_maker::named(std::size_t i, std::size_t place) const {
  return {.group = input_.groups[place].group,
          .layer = input_.shape.layers[i / experts()],
          .expert = expert_index{static_cast<std::uint32_t>(i % experts())}};
}

/// Copies that are there stay in their group; of two on a node that with more rows.
void goal_maker::keep_places() {
  for (std::size_t i = 0; i < copies_.size(); ++i) {
    for (copy_to& c : copies_[i]) {
      std::uint32_t share = 0;
      for (const experts::replica& r : input_.present[i]) {
        const auto place = nodes_.place_of(r.group);
        if (!place || nodes_.node_of(*place) != c.node || r.share <= share) continue;
        c.place = *place;
        share = r.share;
      }
      if (c.place != none) ++used_[c.place];
    }
  }
}

/// New ones go to the group that would finish the layer first, among those with room.
void goal_maker::find_places() {
  std::vector<double> load(input_.groups.size());
  for (std::size_t l = 0; l < plan_.layers.size(); ++l) {
    std::fill(load.begin(), load.end(), 0.0);
    for (const bool are_new : {false, true}) {
      for (std::size_t e = 0; e < experts(); ++e) {
        for (copy_to& c : copies_[l * experts() + e]) {
          if ((c.place == none) != are_new) continue;
          const double rows = c.share * loads_[l][e];
          if (c.place == none) {
            for (const std::size_t g : nodes_.groups_of(c.node)) {
              const auto finish = [&](std::size_t at) {
                return (load[at] + rows) / input_.groups[at].speed;
              };
              if (used_[g] >= input_.groups[g].capacity) continue;
              if (c.place == none || finish(g) < finish(c.place)) c.place = g;
            }
            if (c.place == none) c.place = nodes_.groups_of(c.node).front();
            ++used_[c.place];
          }
          load[c.place] += rows;
        }
      }
    }
  }
}

/// Under the present shares; an expert without copies is a hole.
double goal_maker::finish_now(std::size_t l, std::vector<double>& on_node, bool& has_hole) const {
  on_node.assign(nodes_.nodes().size(), 0);
  has_hole = false;
  for (std::size_t e = 0; e < experts(); ++e) {
    if (loads_[l][e] <= 0) continue;
    const auto& copies = input_.present[l * experts() + e];
    double shares = 0;
    for (const experts::replica& r : copies)
      if (nodes_.place_of(r.group)) shares += r.share;
    has_hole = has_hole || shares <= 0;
    for (const experts::replica& r : copies)
      if (const auto place = nodes_.place_of(r.group))
        on_node[nodes_.node_of(*place)] += loads_[l][e] * r.share / shares;
  }
  double finish = 0;
  for (std::size_t j = 0; j < on_node.size(); ++j)
    finish = std::max(finish, on_node[j] / nodes_.nodes()[j].speed);
  return finish;
}

void goal_maker::set_layer(std::size_t l) {
  const layer_plan& p = plan_.layers[l];
  double total = 0;
  for (const double load : loads_[l]) total += load;
  const double mean = total / nodes_.speed();
  std::vector<double> on_node;
  bool has_hole = false;
  const double before = finish_now(l, on_node, has_hole);
  elastic_layer layer;
  if (mean > 0) {
    layer.after = p.finish / mean;
    layer.best =
        std::min(p.finish, p.rest == rest_reason::budget ? p.finish_left : p.finish) / mean;
    if (!has_hole) layer.before = before / mean;
  }
  if (!has_hole && before * (1 - input_.limits.hysteresis) > p.finish) out_.has_new_shares = true;
  if (has_hole) out_.finish_before.reset();
  if (out_.finish_before) *out_.finish_before += before;
  out_.finish_after += p.finish;
  out_.layers.push_back(layer);
}

elastic_reason
goal_maker::why_dropped(std::size_t i, const expert_copy& c, std::uint32_t node) const {
  const bool is_ruled = !input_.copies_of.empty() && input_.copies_of[i].has_value();
  const auto& unwanted = input_.unwanted;
  if (is_ruled || std::find(unwanted.begin(), unwanted.end(), c) != unwanted.end())
    return elastic_reason::rule;
  if (nodes_.nodes()[node].intake == node_intake::draining) return elastic_reason::drain;
  const said::key key{
      static_cast<std::uint32_t>(i / experts()), static_cast<std::uint32_t>(i % experts()), node};
  return said_.drops.count(key) != 0 ? elastic_reason::makes_way : elastic_reason::cold;
}

void goal_maker::compare(std::size_t i) {
  const auto has = [&](group_id group) {
    const auto& there = input_.present[i];
    return std::any_of(there.begin(), there.end(), [&](const auto& r) { return r.group == group; });
  };
  for (const copy_to& c : copies_[i]) {
    const expert_copy what = named(i, c.place);
    out_.target[i].push_back({.group = what.group, .share = weight_of_share(c.share)});
    if (has(what.group)) continue;
    const auto told = said_.moves.find({static_cast<std::uint32_t>(i / experts()),
                                        static_cast<std::uint32_t>(i % experts()),
                                        c.node});
    const auto why = told == said_.moves.end() ? elastic_reason::rule : reason_of(told->second);
    out_.moves.push_back({.what = what, .share = c.share, .reason = why});
  }
  std::sort(out_.target[i].begin(), out_.target[i].end(), [](const auto& a, const auto& b) {
    return a.group < b.group;
  });
  for (const experts::replica& r : input_.present[i]) {
    const auto place = nodes_.place_of(r.group);
    const auto& stay = out_.target[i];
    if (!place ||
        std::any_of(stay.begin(), stay.end(), [&](const auto& s) { return s.group == r.group; }))
      continue;
    const expert_copy what = named(i, *place);
    out_.drops.push_back({.what = what, .reason = why_dropped(i, what, nodes_.node_of(*place))});
  }
}

elastic_plan goal_maker::make() {
  keep_places();
  find_places();
  out_.target.resize(copies_.size());
  out_.finish_before = 0;
  for (std::size_t l = 0; l < plan_.layers.size(); ++l) set_layer(l);
  for (std::size_t i = 0; i < copies_.size(); ++i) compare(i);
  out_.bytes = out_.moves.size() * input_.expert_bytes;
  const auto is_before = [](const elastic_move& a, const elastic_move& b) {
    return std::tuple{a.what.layer, a.what.expert, a.what.group} <
           std::tuple{b.what.layer, b.what.expert, b.what.group};
  };
  std::sort(out_.moves.begin(), out_.moves.end(), is_before);
  std::sort(out_.drops.begin(), out_.drops.end(), is_before);
  return std::move(out_);
}

/// Also what balance did not need for others' sake.
void give_up_cold(const elastic_input& input,
                  const balance_input& asked,
                  std::vector<layer_plan>& layers) {
  constexpr auto all_there_are = std::numeric_limits<std::uint32_t>::max();
  const std::size_t experts = input.shape.experts;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    std::vector<std::uint32_t> wanted(experts);
    for (std::size_t e = 0; e < experts; ++e) {
      const std::size_t i = l * experts + e;
      const bool is_kept = !input.kept.empty() && input.kept[i] != 0;
      wanted[e] = is_kept ? all_there_are : wanted_of(input, i);
    }
    const double near = layers[l].bound * (1 + input.limits.cold_gain);
    trim({.loads = asked.loads[l],
          .nodes = asked.nodes,
          .wanted = std::move(wanted),
          .cover = asked.options.cover,
          .latest = std::max(layers[l].finish, near)},
         layers[l]);
  }
}

}  // namespace

double elastic_plan::hottest_before() const {
  double most = 0;
  for (const elastic_layer& l : layers)
    most = std::max(most, l.before.value_or(std::numeric_limits<double>::infinity()));
  return most;
}

double elastic_plan::hottest_after() const {
  double most = 0;
  for (const elastic_layer& l : layers) most = std::max(most, l.after);
  return most;
}

result<elastic_plan> plan_elastic(const elastic_input& input) {
  ATOLL_TRY(check(input));
  const fleet nodes{input};
  balance_input asked = question_of(input, nodes, strictness::free_places);
  result<balance_plan> planned = plan_balance(asked);
  for (const strictness how : {strictness::all_places, strictness::keep_unwanted}) {
    if (planned) break;
    asked = question_of(input, nodes, how);
    planned = plan_balance(asked);
  }
  if (!planned) return planned.error();
  give_up_cold(input, asked, planned->layers);
  elastic_plan plan = goal_maker{input, nodes, *planned}.make();
  plan.sentences = sentences_of(input, plan);
  return plan;
}

}  // namespace atl::cluster
