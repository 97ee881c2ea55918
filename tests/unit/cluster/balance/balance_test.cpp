// Each rule of the balancer on random clusters and present placements, and what it says about them.
#include "cluster/balance/balance.hpp"
#include "tests/unit/cluster/balance/eplb.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <tuple>

namespace atl::cluster::balance_tests {
namespace {

using placed = std::set<std::tuple<std::size_t, std::uint32_t, std::uint32_t>>;

struct cluster_shape {
  std::size_t layers = 3, experts = 16, nodes = 6, slots = 6, domains = 3;
};

balance_input random_input(const cluster_shape& shape, random_source& random) {
  balance_input input;
  for (std::size_t l = 0; l < shape.layers; ++l)
    input.loads.push_back(
        random_loads(static_cast<load_kind>(random.below(3)), shape.experts, random));
  for (std::size_t j = 0; j < shape.nodes; ++j)
    input.nodes.push_back({.name = "n" + std::to_string(j),
                           .speed = 0.5 + random.unit() * 4,
                           .slots = shape.slots,
                           .domain = "d" + std::to_string(j % shape.domains)});
  input.expert_bytes = 100;
  return input;
}

/// A placement as chance has it: every expert somewhere, within slots, some twice.
std::vector<balance_copy>
random_present(const cluster_shape& shape, random_source& random, std::size_t copies) {
  std::vector<balance_copy> present;
  std::vector<std::size_t> held(shape.nodes, 0);
  std::set<std::pair<std::size_t, std::size_t>> seen;
  for (std::size_t i = 0; i < std::min(copies, shape.nodes * shape.slots); ++i) {
    const std::size_t e = i < shape.experts ? i : random.below(shape.experts);
    std::size_t j = random.below(shape.nodes);
    while (held[j] >= shape.slots) j = (j + 1) % shape.nodes;
    if (!seen.emplace(e, j).second) continue;
    ++held[j];
    present.push_back({.expert = static_cast<std::uint32_t>(e),
                       .node = static_cast<std::uint32_t>(j),
                       .share = 0.5 + random.unit()});
  }
  return present;
}

placed copies_of(const std::vector<std::vector<balance_copy>>& layers) {
  placed all;
  for (std::size_t l = 0; l < layers.size(); ++l)
    for (const balance_copy& c : layers[l]) all.emplace(l, c.expert, c.node);
  return all;
}

std::vector<std::vector<balance_copy>> replicas_of(const balance_plan& plan) {
  std::vector<std::vector<balance_copy>> layers;
  for (const layer_plan& layer : plan.layers) layers.push_back(layer.replicas);
  return layers;
}

double slowest(const balance_input& input, std::size_t layer, const layer_plan& plan) {
  std::vector<double> load(input.nodes.size(), 0);
  for (const balance_copy& c : plan.replicas)
    load[c.node] += c.share * input.loads[layer][c.expert];
  double finish = 0;
  for (std::size_t j = 0; j < load.size(); ++j)
    finish = std::max(finish, load[j] / input.nodes[j].speed);
  return finish;
}

/// The rules that hold for every plan.
void check_plan(const balance_input& input, const balance_plan& plan) {
  ASSERT_EQ(plan.layers.size(), input.loads.size());
  const placed before = copies_of(input.present);
  const placed after = copies_of(replicas_of(plan));
  std::vector<std::size_t> total(input.nodes.size(), 0);
  for (std::size_t l = 0; l < plan.layers.size(); ++l) {
    std::vector<std::size_t> held(input.nodes.size(), 0);
    std::vector<double> share(input.loads[l].size(), 0);
    for (const balance_copy& c : plan.layers[l].replicas) {
      ++held[c.node];
      ++total[c.node];
      share[c.expert] += c.share;
      EXPECT_GE(c.share, 0);
    }
    for (const double s : share) EXPECT_NEAR(s, 1, 1e-9);
    for (std::size_t j = 0; j < held.size(); ++j)
      if (input.nodes[j].intake != node_intake::draining) {
        EXPECT_LE(held[j], input.nodes[j].slots);
      }
    const double finish = slowest(input, l, plan.layers[l]);
    EXPECT_NEAR(plan.layers[l].finish, finish, 1e-9 * (1 + finish));
  }
  for (std::size_t j = 0; j < total.size(); ++j)
    if (input.nodes[j].intake != node_intake::draining) {
      EXPECT_LE(total[j] * input.expert_bytes, input.nodes[j].memory_bytes);
    }
  EXPECT_EQ(after.size(), copies_of(replicas_of(plan)).size());
  placed moved, dropped;
  for (const balance_move& m : plan.moves) moved.emplace(m.layer, m.expert, m.to);
  for (const balance_drop& d : plan.drops) dropped.emplace(d.layer, d.expert, d.from);
  placed expected_moves, expected_drops;
  std::set_difference(after.begin(),
                      after.end(),
                      before.begin(),
                      before.end(),
                      std::inserter(expected_moves, expected_moves.end()));
  std::set_difference(before.begin(),
                      before.end(),
                      after.begin(),
                      after.end(),
                      std::inserter(expected_drops, expected_drops.end()));
  EXPECT_EQ(moved, expected_moves);
  EXPECT_EQ(dropped, expected_drops);
  EXPECT_EQ(plan.moved_experts, moved.size());
  EXPECT_EQ(plan.moved_bytes, moved.size() * input.expert_bytes);
  for (const auto& [layer, expert, node] : moved)
    EXPECT_EQ(input.nodes[node].intake, node_intake::open);
}

balance_plan planned(const balance_input& input) {
  auto plan = plan_balance(input);
  EXPECT_TRUE(plan.has_value()) << plan.error().message();
  if (!plan) return {};
  check_plan(input, *plan);
  return std::move(*plan);
}

bool is_covered(const balance_input& input, const layer_plan& layer, std::uint32_t e) {
  std::set<std::string> domains;
  for (const balance_copy& c : layer.replicas)
    if (c.expert == e) domains.insert(input.nodes[c.node].domain);
  return domains.size() > 1;
}

TEST(balance, keeps_the_rules_from_nothing_and_from_any_placement) {
  random_source random{1};
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    const cluster_shape shape{.layers = 1 + random.below(3),
                              .experts = 4 + random.below(20),
                              .nodes = 4 + random.below(5),
                              .slots = 6 + random.below(6),
                              .domains = 1 + random.below(4)};
    balance_input input = random_input(shape, random);
    input.options.cover = random.below(2) == 0;
    planned(input);
    for (std::size_t l = 0; l < shape.layers; ++l)
      input.present.push_back(random_present(shape, random, shape.experts + random.below(4)));
    const balance_plan plan = planned(input);
    for (std::size_t l = 0; l < plan.layers.size(); ++l) {
      ASSERT_TRUE(plan.layers[l].finish_before.has_value());
      if (!input.options.cover) {
        EXPECT_LE(plan.layers[l].finish, *plan.layers[l].finish_before * (1 + 1e-9));
      }
      EXPECT_GE(plan.layers[l].finish, plan.layers[l].bound * (1 - 1e-6));
    }
  }
}

TEST(balance, moves_no_more_than_the_budget_and_gains_with_it) {
  random_source random{2};
  const cluster_shape shape{.layers = 4, .experts = 32, .nodes = 8, .slots = 6};
  balance_input input = random_input(shape, random);
  for (std::size_t l = 0; l < shape.layers; ++l)
    input.present.push_back(random_present(shape, random, 36));
  input.options.cover = false;
  double last = std::numeric_limits<double>::max();
  for (std::size_t most = 0; most < 60; most += 3) {
    SCOPED_TRACE(most);
    input.options.moved_experts_max = most;
    const balance_plan plan = planned(input);
    EXPECT_LE(plan.moved_experts, most);
    EXPECT_LE(plan.finish(), last * 1.02);
    last = std::min(last, plan.finish());
  }
  input.options.moved_experts_max = 1000;
  input.options.moved_bytes_max = 799;
  EXPECT_LE(planned(input).moved_experts, 7u);
}

TEST(balance, puts_every_expert_in_two_domains_where_memory_allows) {
  random_source random{3};
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    cluster_shape shape{.layers = 2,
                        .experts = 4 + random.below(20),
                        .nodes = 4 * (1 + random.below(3)),
                        .domains = 2 + 2 * random.below(2)};
    // Just enough for two copies of each in equal domains.
    shape.slots = (2 * shape.experts + shape.nodes - 1) / shape.nodes;
    balance_input input = random_input(shape, random);
    if (random.below(2) == 0)
      for (std::size_t l = 0; l < shape.layers; ++l)
        input.present.push_back(random_present(shape, random, shape.experts));
    const balance_plan plan = planned(input);
    for (const layer_plan& layer : plan.layers) {
      for (std::uint32_t e = 0; e < shape.experts; ++e)
        EXPECT_TRUE(is_covered(input, layer, e)) << e;
      EXPECT_EQ(layer.uncovered, 0u);
    }
  }
}

}  // namespace
}  // namespace atl::cluster::balance_tests
