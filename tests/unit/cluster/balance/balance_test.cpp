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

TEST(balance, counts_a_cold_copy_in_another_domain_as_cover) {
  random_source random{4};
  const cluster_shape shape{.layers = 1, .experts = 12, .nodes = 4, .slots = 6, .domains = 2};
  balance_input input = random_input(shape, random);
  input.options.cold_cover = {0, 1};  // one in each domain
  const balance_plan plan = planned(input);
  EXPECT_EQ(plan.layers[0].uncovered, 0u);
  EXPECT_LT(plan.layers[0].replicas.size(), 2 * shape.experts);
}

TEST(balance, leaves_a_layer_that_gains_less_than_the_hysteresis) {
  random_source random{5};
  const cluster_shape shape{.layers = 1, .experts = 24, .nodes = 6, .slots = 6};
  balance_input input = random_input(shape, random);
  input.options.cover = false;
  input.present = replicas_of(planned(input));
  std::reverse(input.loads[0].begin(), input.loads[0].end());
  input.options.tolerance = 0;
  const balance_plan moved = planned(input);
  ASSERT_GT(moved.moved_experts, 0u);
  input.options.hysteresis = 0.95;
  const balance_plan kept = planned(input);
  EXPECT_EQ(kept.moved_experts, 0u);
  EXPECT_EQ(kept.layers[0].rest, rest_reason::hysteresis);
  EXPECT_LT(kept.layers[0].finish_left, kept.layers[0].finish);
  EXPECT_NE(explain(input, kept)[0].find("hysteresis"), std::string::npos);
}

TEST(balance, empties_draining_nodes_keeps_pins_and_gives_closed_nodes_nothing) {
  random_source random{6};
  for (int round = 0; round < 100; ++round) {
    SCOPED_TRACE(round);
    const cluster_shape shape{.layers = 2, .experts = 16, .nodes = 6, .slots = 8, .domains = 6};
    balance_input input = random_input(shape, random);
    input.options.cover = random.below(2) == 0;
    for (std::size_t l = 0; l < shape.layers; ++l)
      input.present.push_back(random_present(shape, random, 20));
    input.nodes[1].intake = node_intake::draining;
    input.nodes[2].intake = node_intake::closed;
    std::vector<balance_copy> pinned;
    for (balance_copy& c : input.present[0]) {
      if (c.node == 1 || c.node == 2 || random.below(3) > 0) continue;
      c.is_pinned = true;
      pinned.push_back(c);
    }
    const balance_plan plan = planned(input);  // check_plan: moves go to open nodes only
    for (const layer_plan& layer : plan.layers)
      for (const balance_copy& c : layer.replicas) EXPECT_NE(c.node, 1u);
    for (const balance_copy& p : pinned) {
      const auto& now = plan.layers[0].replicas;
      EXPECT_TRUE(std::any_of(now.begin(), now.end(), [&](const balance_copy& c) {
        return c.expert == p.expert && c.node == p.node && c.is_pinned;
      }));
    }
  }
}

TEST(balance, replaces_what_is_lost_whatever_the_budget) {
  random_source random{7};
  const cluster_shape shape{.layers = 2, .experts = 16, .nodes = 5, .slots = 5};
  balance_input input = random_input(shape, random);
  for (std::size_t l = 0; l < shape.layers; ++l) {
    input.present.push_back(random_present(shape, random, 20));
    std::erase_if(input.present[l], [](const balance_copy& c) { return c.node == 3; });
  }
  std::size_t lost = 0;
  for (const auto& layer : input.present) {
    std::set<std::uint32_t> live;
    for (const balance_copy& c : layer) live.insert(c.expert);
    lost += shape.experts - live.size();
  }
  ASSERT_GT(lost, 0u);
  input.options.moved_experts_max = 0;
  const balance_plan plan = planned(input);
  EXPECT_EQ(plan.moved_experts, lost);
  for (const balance_move& m : plan.moves) EXPECT_EQ(m.reason, move_reason::missing);
}

/// A few rules at once, on random clusters.
balance_input hard_input(random_source& random) {
  const cluster_shape shape{.layers = 1 + random.below(3),
                            .experts = 4 + random.below(20),
                            .nodes = 3 + random.below(6),
                            .slots = 4 + random.below(10),
                            .domains = 1 + random.below(4)};
  balance_input input = random_input(shape, random);
  const bool is_lossy = random.below(4) == 0;
  for (std::size_t l = 0; l < shape.layers; ++l) {
    input.present.push_back(random_present(shape, random, shape.experts + random.below(6)));
    if (is_lossy)
      std::erase_if(input.present[l], [&](const auto&) { return random.below(6) == 0; });
    for (balance_copy& c : input.present[l]) c.is_pinned = random.below(20) == 0;
  }
  input.options.cover = random.below(2) == 0;
  if (random.below(4) == 0) input.nodes[1].intake = node_intake::draining;
  if (random.below(4) == 0) input.nodes[0].intake = node_intake::closed;
  if (random.below(4) == 0)
    for (balance_node& node : input.nodes)
      node.memory_bytes =
          100 * (1 + shape.layers * shape.experts * (100 + random.below(50)) / 100 / shape.nodes);
  input.options.moved_experts_max = random.below(20);
  return input;
}

TEST(balance, budgets_hold_beside_drains_cover_holes_and_little_memory) {
  random_source random{20};
  for (int round = 0; round < 3000; ++round) {
    const balance_input input = hard_input(random);
    const auto plan = plan_balance(input);
    if (!plan) continue;  // memory too small
    std::size_t missing = 0;
    for (const balance_move& m : plan->moves) missing += m.reason == move_reason::missing ? 1 : 0;
    EXPECT_LE(plan->moved_experts, std::max(input.options.moved_experts_max, missing)) << round;
  }
}

TEST(balance, makes_no_copy_that_is_barred_and_no_further_one_of_a_fixed_expert) {
  random_source random{21};
  std::size_t moves = 0;
  for (int round = 0; round < 400; ++round) {
    SCOPED_TRACE(round);
    balance_input input = hard_input(random);
    input.options.moved_experts_max = 1000;
    placed barred;
    std::set<std::pair<std::uint32_t, std::uint32_t>> fixed;
    for (std::uint32_t l = 0; l < input.loads.size(); ++l) {
      for (std::uint32_t e = 0; e < input.loads[l].size(); ++e) {
        const auto node = static_cast<std::uint32_t>(random.below(input.nodes.size()));
        if (random.below(2) == 0) {
          input.barred.push_back({l, e, node});
          barred.emplace(l, e, node);
        }
        if (random.below(4) > 0) continue;
        input.fixed.push_back({l, e});
        fixed.emplace(l, e);
      }
    }
    const auto plan = plan_balance(input);
    if (!plan) continue;
    moves += plan->moves.size();
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::size_t> made;
    for (const balance_move& m : plan->moves) {
      EXPECT_EQ(barred.count({m.layer, m.expert, m.to}), 0U);
      ++made[{m.layer, m.expert}];
    }
    for (const balance_drop& d : plan->drops)
      if (made[{d.layer, d.expert}] > 0) --made[{d.layer, d.expert}];
    for (const auto& [who, count] : made)
      if (fixed.count(who) != 0) {
        const auto& before = input.present[who.first];
        const bool had = std::any_of(before.begin(), before.end(), [e = who.second](const auto& c) {
          return c.expert == e;
        });
        EXPECT_LE(count, had ? 0U : 1U);
      }
  }
  EXPECT_GT(moves, 1000U);
}

TEST(balance, divides_memory_over_all_layers) {
  random_source random{8};
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    const cluster_shape shape{.layers = 5, .experts = 10, .nodes = 4, .slots = 10};
    balance_input input = random_input(shape, random);
    input.options.cover = false;
    // 50 experts and a little more, in nodes of uneven size.
    input.nodes[0].memory_bytes = 2199;
    input.nodes[1].memory_bytes = 1500;
    input.nodes[2].memory_bytes = 1300;
    input.nodes[3].memory_bytes = 300;
    input.present = replicas_of(planned(input));
    EXPECT_EQ(planned(input).moved_experts, 0u);
    input.nodes[0].memory_bytes = 1900;
    planned(input);
  }
  balance_input input = random_input({.layers = 5, .experts = 10, .nodes = 1}, random);
  input.nodes[0].slots = 10;
  input.nodes[0].memory_bytes = 4999;
  const auto refused = plan_balance(input);
  ASSERT_TRUE(refused.has_error());
  EXPECT_EQ(refused.error().code(), errc::invalid_argument);
}

TEST(balance, gives_the_same_plan_for_the_same_input) {
  random_source random{9};
  balance_input input = random_input({.layers = 3, .experts = 40, .nodes = 8, .slots = 8}, random);
  const auto once = plan_balance(input);
  const auto twice = plan_balance(input);
  ASSERT_TRUE(once.has_value() && twice.has_value());
  for (std::size_t l = 0; l < 3; ++l)
    EXPECT_EQ(once->layers[l].replicas, twice->layers[l].replicas);
}

TEST(balance, comes_near_the_bound_with_unequal_speeds) {
  random_source random{10};
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    const std::size_t experts = std::size_t{64} << random.below(3);
    const std::size_t nodes = 8 + random.below(experts / 4);
    const auto kind = static_cast<load_kind>(random.below(3));
    balance_input input;
    input.loads.push_back(random_loads(kind, experts, random));
    for (std::size_t j = 0; j < nodes; ++j)
      input.nodes.push_back({.name = "n",
                             .speed = j % 3 == 0   ? 1.0
                                      : j % 3 == 1 ? 2.0
                                                   : 8.0,
                             .slots = (experts + nodes - 2) / nodes + 2});
    input.options.cover = false;
    const balance_plan plan = planned(input);
    // Few sizes of experts leave fast nodes short of slots: the bound is out of reach there.
    const double within = kind == load_kind::adversarial ? 1.1 : 1.05;
    EXPECT_LE(plan.layers[0].finish, plan.layers[0].bound * within) << experts << ' ' << nodes;
  }
}

/// The least finishing time of all placements, tried one by one: each expert on any set of nodes,
/// within the slots. For fixed sets, the largest over sets R of nodes of (load of experts that are
/// in R only) / (speed of R).
class exact {
public:
  explicit exact(const balance_input& input) : input_{input}, held_(input.nodes.size(), 0) {}

  double least() {
    place(0);
    return best_;
  }

private:
  void place(std::size_t e) {
    const auto nodes = static_cast<std::uint32_t>(input_.nodes.size());
    if (e == input_.loads[0].size()) {
      best_ = std::min(best_, finish());
      return;
    }
    for (std::uint32_t set = 1; set < 1u << nodes; ++set) {
      bool fits = true;
      for (std::uint32_t j = 0; j < nodes; ++j)
        if ((set >> j & 1) != 0) fits = fits && held_[j] < input_.nodes[j].slots;
      if (!fits) continue;
      for (std::uint32_t j = 0; j < nodes; ++j) held_[j] += set >> j & 1;
      sets_.push_back(set);
      place(e + 1);
      sets_.pop_back();
      for (std::uint32_t j = 0; j < nodes; ++j) held_[j] -= set >> j & 1;
    }
  }

  double finish() const {
    double worst = 0;
    for (std::uint32_t r = 1; r < 1u << input_.nodes.size(); ++r) {
      double load = 0, speed = 0;
      for (std::size_t e = 0; e < sets_.size(); ++e)
        if ((sets_[e] & ~r) == 0) load += input_.loads[0][e];
      for (std::size_t j = 0; j < input_.nodes.size(); ++j)
        if ((r >> j & 1) != 0) speed += input_.nodes[j].speed;
      worst = std::max(worst, load / speed);
    }
    return worst;
  }

  const balance_input& input_;
  std::vector<std::size_t> held_;
  std::vector<std::uint32_t> sets_;
  double best_ = std::numeric_limits<double>::max();
};

TEST(balance, comes_near_the_best_of_all_placements) {
  random_source random{11};
  std::size_t best = 0;
  constexpr int rounds = 60;
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE(round);
    const std::size_t experts = 3 + random.below(4);
    balance_input input;
    input.loads.emplace_back();
    for (std::size_t e = 0; e < experts; ++e)
      input.loads[0].push_back(static_cast<double>(random.below(100)));
    for (std::size_t j = 0; j < 3; ++j)
      input.nodes.push_back({.name = "n",
                             .speed = static_cast<double>(1 + random.below(3)),
                             .slots = (experts + 2) / 3 + random.below(2)});
    input.options.cover = false;
    const balance_plan plan = planned(input);
    const double least = exact{input}.least();
    EXPECT_GE(plan.layers[0].finish, least * (1 - 1e-9));
    EXPECT_LE(plan.layers[0].bound, least * (1 + 1e-6));
    EXPECT_LE(plan.layers[0].finish, least * 1.05 + 1e-9);
    if (plan.layers[0].finish <= least * 1.001) ++best;
  }
  EXPECT_GE(best, static_cast<std::size_t>(rounds * 9 / 10));
}

TEST(balance, refuses_what_makes_no_sense) {
  random_source random{12};
  const balance_input good = random_input({}, random);
  ASSERT_TRUE(plan_balance(good).has_value());
  const auto refused = [&](auto&& change, const std::string& word) {
    balance_input bad = good;
    change(bad);
    const auto plan = plan_balance(bad);
    ASSERT_TRUE(plan.has_error()) << word;
    EXPECT_EQ(plan.error().code(), errc::invalid_argument);
    EXPECT_NE(plan.error().message().find(word), std::string::npos) << plan.error().message();
  };
  refused([](balance_input& b) { b.nodes.clear(); }, "nodes");
  refused([](balance_input& b) { b.nodes[1].speed = 0; }, "nodes[1].speed");
  refused([](balance_input& b) { b.nodes[1].speed = std::numeric_limits<double>::infinity(); },
          "nodes[1].speed");
  refused([](balance_input& b) { b.loads.clear(); }, "loads");
  refused([](balance_input& b) { b.loads[1].pop_back(); }, "loads[1]");
  refused([](balance_input& b) { b.loads[1][2] = -1; }, "loads[1][2]");
  refused([](balance_input& b) { b.loads[1][2] = std::numeric_limits<double>::quiet_NaN(); },
          "loads[1][2]");
  refused([](balance_input& b) { b.present.resize(1); }, "present");
  refused([](balance_input& b) { b.present = {{{.expert = 99}}, {}, {}}; }, "present[0][0].expert");
  refused([](balance_input& b) { b.present = {{{.node = 99}}, {}, {}}; }, "present[0][0].node");
  refused([](balance_input& b) { b.present = {{{}, {}}, {}, {}}; }, "twice");
  refused([](balance_input& b) { b.options.hysteresis = 1; }, "hysteresis");
  refused([](balance_input& b) { b.options.cold_cover = {9}; }, "cold_cover");
  refused(
      [](balance_input& b) {
        for (auto& n : b.nodes) n.slots = 2;
      },
      "memory");
  refused(
      [](balance_input& b) {
        for (auto& n : b.nodes) n.intake = node_intake::closed;
      },
      "memory");
}

TEST(balance, turns_shares_into_weights) {
  EXPECT_EQ(weight_of_share(1), 65536u);
  EXPECT_EQ(weight_of_share(0.25), 16384u);
  EXPECT_EQ(weight_of_share(0), 1u);
}

}  // namespace
}  // namespace atl::cluster::balance_tests
