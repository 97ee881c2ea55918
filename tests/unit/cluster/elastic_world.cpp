#include "tests/unit/cluster/elastic_world.hpp"

#include "runtime/base/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

namespace atl::cluster {

elastic_input
world(std::size_t layers, std::size_t experts, std::size_t nodes, std::size_t capacity) {
  elastic_input in;
  for (std::uint32_t l = 0; l < layers; ++l) in.shape.layers.push_back(layer_index{l + 3});
  in.shape.experts = static_cast<std::uint32_t>(experts);
  for (std::uint32_t j = 0; j < nodes; ++j)
    in.groups.push_back({.group = group_id{j},
                         .node = node_id{j},
                         .name = "node-" + std::to_string(j),
                         .capacity = capacity});
  in.present.resize(layers * experts);
  in.loads.resize(layers * experts);
  return in;
}

void spread(elastic_input& in) {
  std::vector<std::size_t> used(in.groups.size(), 0);
  std::size_t next = 0;
  for (auto& copies : in.present) {
    for (std::uint32_t c = 0; c < in.copies; ++c) {
      while (used[next % used.size()] >= in.groups[next % used.size()].capacity) ++next;
      const std::size_t g = next++ % used.size();
      copies.push_back({.group = in.groups[g].group, .share = 1});
      ++used[g];
    }
  }
}

void set_loads(elastic_input& in, const std::function<double(std::size_t, std::size_t)>& rate) {
  for (std::size_t i = 0; i < in.loads.size(); ++i) {
    const double rows = rate(i / in.shape.experts, i % in.shape.experts);
    in.loads[i] = {.fast = rows, .slow = rows};
  }
}

void zipf_loads(elastic_input& in, std::uint64_t seed, double exponent) {
  random_source random{seed};
  const std::size_t experts = in.shape.experts;
  for (std::size_t l = 0; l < in.shape.layers.size(); ++l) {
    std::vector<std::size_t> rank(experts);
    std::iota(rank.begin(), rank.end(), 1);
    for (std::size_t k = experts - 1; k > 0; --k) std::swap(rank[k], rank[random.below(k + 1)]);
    double total = 0;
    for (const std::size_t r : rank) total += std::pow(static_cast<double>(r), -exponent);
    for (std::size_t e = 0; e < experts; ++e) {
      const double part = std::pow(static_cast<double>(rank[e]), -exponent) / total;
      const double rows = 100.0 * static_cast<double>(experts) * part;
      in.loads[l * experts + e] = {.fast = rows, .slow = rows};
    }
  }
}

double
hottest_of(const elastic_input& in, const experts::replica_lists& target, std::size_t layer) {
  std::map<node_id, double> load;
  std::map<node_id, double> speed;
  std::map<group_id, node_id> node;
  double speeds = 0;
  double total = 0;
  for (const elastic_group& g : in.groups) {
    speed[g.node] += g.speed;
    speeds += g.speed;
    node[g.group] = g.node;
  }
  for (std::size_t e = 0; e < in.shape.experts; ++e) {
    const std::size_t i = layer * in.shape.experts + e;
    double shares = 0;
    for (const auto& r : target[i]) shares += r.share;
    for (const auto& r : target[i]) load[node[r.group]] += in.loads[i].slow * r.share / shares;
    total += in.loads[i].slow;
  }
  double most = 0;
  for (const auto& [id, rows] : load) most = std::max(most, rows / speed[id]);
  return total > 0 ? most / (total / speeds) : 1;
}

void expect_sound(const elastic_input& in, const elastic_plan& plan) {
  std::map<group_id, elastic_group> groups;
  for (const elastic_group& g : in.groups) groups[g.group] = g;
  std::map<group_id, std::size_t> held;
  std::map<group_id, std::size_t> held_before;
  ASSERT_EQ(plan.target.size(), in.present.size());
  const auto named = [&](std::size_t i, group_id g) {
    return expert_copy{.group = g,
                       .layer = in.shape.layers[i / in.shape.experts],
                       .expert = expert_index{static_cast<std::uint32_t>(i % in.shape.experts)}};
  };
  std::set<expert_copy> made;
  std::set<expert_copy> gone;
  for (std::size_t i = 0; i < plan.target.size(); ++i) {
    std::set<node_id> nodes;
    for (const auto& r : plan.target[i]) {
      ASSERT_EQ(groups.count(r.group), 1U);
      EXPECT_GE(r.share, 1U);
      EXPECT_TRUE(nodes.insert(groups[r.group].node).second) << "two copies on a node";
      ++held[r.group];
      made.insert(named(i, r.group));
    }
    const bool is_absent = !in.copies_of.empty() && in.copies_of[i] == 0U;
    EXPECT_EQ(plan.target[i].empty(), is_absent) << "expert " << i;
    for (const auto& r : in.present[i]) {
      if (groups.count(r.group) == 0) continue;
      ++held_before[r.group];
      gone.insert(named(i, r.group));
    }
  }
  for (const auto& [id, count] : held)
    EXPECT_LE(count, std::max(groups[id].capacity, held_before[id])) << "group " << id.value;
  std::set<expert_copy> moves;
  std::set<expert_copy> drops;
  std::set_difference(
      made.begin(), made.end(), gone.begin(), gone.end(), std::inserter(moves, moves.end()));
  std::set_difference(
      gone.begin(), gone.end(), made.begin(), made.end(), std::inserter(drops, drops.end()));
  std::set<expert_copy> said;
  for (const elastic_move& m : plan.moves) said.insert(m.what);
  EXPECT_EQ(said, moves);
  said.clear();
  for (const elastic_move& d : plan.drops) said.insert(d.what);
  EXPECT_EQ(said, drops);
  EXPECT_EQ(plan.bytes, plan.moves.size() * in.expert_bytes);
  for (const expert_copy& c : moves) EXPECT_EQ(groups[c.group].intake, node_intake::open);
}

}  // namespace atl::cluster
