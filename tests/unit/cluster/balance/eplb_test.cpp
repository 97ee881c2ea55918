// Against EPLB: the golden cases and random loads, equal nodes, no cover rule.
#include "cluster/balance/balance.hpp"
#include "tests/unit/cluster/balance/eplb.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

namespace atl::cluster::balance_tests {
namespace {

balance_input equal_nodes(std::vector<std::vector<double>> loads, const machine& m) {
  balance_input input;
  input.loads = std::move(loads);
  for (std::size_t j = 0; j < m.devices; ++j)
    input.nodes.push_back(
        {.name = "n" + std::to_string(j), .speed = 1, .slots = m.slots / m.devices});
  input.options.cover = false;
  return input;
}

/// Hottest over mean from the replicas alone, and that they are within the rules.
double checked_hottest(const layer_plan& plan, const std::vector<double>& loads, const machine& m) {
  std::vector<double> load(m.devices, 0);
  std::vector<std::size_t> held(m.devices, 0);
  std::vector<double> share(m.experts, 0);
  double total = 0;
  for (std::size_t i = 0; i < plan.replicas.size(); ++i) {
    const balance_copy& c = plan.replicas[i];
    if (i > 0) {
      const balance_copy& before = plan.replicas[i - 1];
      EXPECT_TRUE(before.expert < c.expert || (before.expert == c.expert && before.node < c.node));
    }
    EXPECT_GE(c.share, 0);
    load[c.node] += c.share * loads[c.expert];
    share[c.expert] += c.share;
    ++held[c.node];
  }
  for (std::size_t e = 0; e < m.experts; ++e) EXPECT_NEAR(share[e], 1, 1e-9) << e;
  for (std::size_t j = 0; j < m.devices; ++j) EXPECT_LE(held[j], m.slots / m.devices) << j;
  for (const double x : loads) total += x;
  return *std::max_element(load.begin(), load.end()) / (total / static_cast<double>(m.devices));
}

/// Excess over 1, summed: of EPLB's better policy, of the bound, of the balancer.
struct sums {
  double eplb = 0, bound = 0, ours = 0;
  std::size_t above = 0, layers = 0;

  void add(double policy, double least, double reached, const std::string& where) {
    eplb += policy - 1;
    bound += least - 1;
    ours += reached - 1;
    ++layers;
    EXPECT_LE(reached, policy + 1e-9) << where;
    EXPECT_GE(reached, least - 1e-6) << where;
  }
  double closed() const { return (eplb - ours) / (eplb - bound); }
};

double number(const boost::json::value& v) { return v.to_number<double>(); }

TEST(balance_against_eplb, golden_cases) {
  std::ifstream file{ATOLL_SOURCE_DIR "/tests/golden/eplb/cases.json"};
  const std::string text{std::istreambuf_iterator<char>{file}, {}};
  const boost::json::array cases = boost::json::parse(text).as_array();
  ASSERT_EQ(cases.size(), 44u);
  sums all;
  for (const auto& entry : cases) {
    const boost::json::object& c = entry.as_object();
    const auto count = [&](const char* key) { return c.at(key).to_number<std::size_t>(); };
    const machine m{.experts = count("experts"),
                    .slots = count("slots"),
                    .groups = count("groups"),
                    .nodes = count("nodes"),
                    .devices = count("devices")};
    std::vector<std::vector<double>> loads;
    for (const auto& layer : c.at("loads").as_array()) {
      loads.emplace_back();
      for (const auto& x : layer.as_array()) loads.back().push_back(number(x));
    }
    const auto plan = plan_balance(equal_nodes(loads, m));
    ASSERT_TRUE(plan.has_value()) << plan.error().message();
    for (std::size_t l = 0; l < loads.size(); ++l) {
      const double hierarchical = number(c.at("eplb_hierarchical").as_array()[l]);
      const double global = number(c.at("eplb_global").as_array()[l]);
      EXPECT_NEAR(eplb_global(loads[l], m), global, 1e-9);
      EXPECT_NEAR(eplb_hierarchical(loads[l], m), hierarchical, 1e-9);
      const double reached = checked_hottest(plan->layers[l], loads[l], m);
      EXPECT_NEAR(plan->layers[l].hottest_over_mean(), reached, 1e-9);
      const double least = equal_bound(loads[l], m.slots, m.devices);
      const std::string where =
          "case " + std::to_string(count("id")) + " layer " + std::to_string(l);
      all.add(std::min(hierarchical, global), least, reached, where);
    }
  }
  EXPECT_GE(all.closed(), 0.8) << all.eplb << ' ' << all.bound << ' ' << all.ours;
}

TEST(balance_against_eplb, thousand_random_loads) {
  random_source random{20'250'704};
  sums all;
  for (std::size_t round = 0; round < 1000; ++round) {
    machine m;
    m.experts = std::size_t{64} << random.below(3);
    m.devices = std::size_t{8} + random.below(137);
    m.devices = std::min(m.devices, m.experts);
    const std::size_t least = (m.experts + m.devices - 1) / m.devices;
    m.slots = m.devices * (least + random.below(3));
    m.groups = 8;
    m.nodes = m.devices % 4 == 0 ? 4 : m.devices % 2 == 0 ? 2 : 1;
    const std::size_t kind = round % 3;
    const std::vector<double> loads = random_loads(static_cast<load_kind>(kind), m.experts, random);
    const auto plan = plan_balance(equal_nodes({loads}, m));
    ASSERT_TRUE(plan.has_value()) << plan.error().message();
    const double policy = std::min(eplb_global(loads, m), eplb_hierarchical(loads, m));
    const double reached = checked_hottest(plan->layers[0], loads, m);
    const double bound = equal_bound(loads, m.slots, m.devices);
    const std::string where = "round " + std::to_string(round) + ": " + std::to_string(m.experts) +
                              " experts, " + std::to_string(m.slots) + " slots, " +
                              std::to_string(m.devices) + " devices";
    all.add(policy, bound, reached, where);
  }
  EXPECT_GE(all.closed(), 0.8) << all.eplb << ' ' << all.bound << ' ' << all.ours;
}

}  // namespace
}  // namespace atl::cluster::balance_tests
