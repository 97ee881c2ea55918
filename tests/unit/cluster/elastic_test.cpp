#include "cluster/elastic/elastic.hpp"
#include "runtime/base/random.hpp"
#include "tests/unit/cluster/elastic_world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace atl::cluster {
namespace {

TEST(elastic, even_load_on_an_even_placement_needs_nothing) {
  for (const std::size_t nodes : {1U, 3U, 8U}) {
    elastic_input in = world(4, 24, nodes, 120 / nodes);
    set_loads(in, [](std::size_t, std::size_t) { return 100.0; });
    spread(in);
    const auto plan = plan_elastic(in);
    ASSERT_TRUE(plan) << plan.error().message();
    EXPECT_FALSE(plan->has_work()) << plan->sentences.front();
    EXPECT_NEAR(plan->hottest_after(), 1, 0.3);
    EXPECT_EQ(plan->sentences.front(), "nothing to do");
  }
}

TEST(elastic, zipf_loads_are_balanced_with_a_quarter_of_spare_slots) {
  constexpr std::size_t layers = 2;
  constexpr std::size_t experts = 64;
  constexpr std::size_t nodes = 8;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    elastic_input in = world(layers, experts, nodes, layers * experts * 5 / 4 / nodes);
    zipf_loads(in, seed, 1.0);
    spread(in);
    const auto plan = plan_elastic(in);
    ASSERT_TRUE(plan) << plan.error().message();
    expect_sound(in, *plan);
    for (std::size_t l = 0; l < layers; ++l) {
      EXPECT_LE(plan->layers[l].after, 1.15) << "seed " << seed;
      EXPECT_NEAR(hottest_of(in, plan->target, l), plan->layers[l].after, 0.02);
    }
    EXPECT_GT(plan->hottest_before(), 1.15);
  }
}

TEST(elastic, refuses_what_makes_no_sense) {
  elastic_input none = world(1, 4, 2, 4);
  none.groups.clear();
  EXPECT_FALSE(plan_elastic(none));
  elastic_input twice = world(1, 4, 2, 4);
  twice.groups[1].group = twice.groups[0].group;
  EXPECT_FALSE(plan_elastic(twice));
  elastic_input stopped = world(1, 4, 2, 4);
  stopped.groups[1].speed = 0;
  EXPECT_FALSE(plan_elastic(stopped));
  elastic_input ragged = world(1, 4, 2, 4);
  ragged.loads.pop_back();
  EXPECT_FALSE(plan_elastic(ragged));
  elastic_input small = world(1, 4, 2, 1);
  EXPECT_FALSE(plan_elastic(small));
}

}  // namespace
}  // namespace atl::cluster
