#include "cluster/group_loads.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace atl::cluster {
namespace {

using std::chrono::microseconds;

constexpr group_id first{3}, second{9};

group_estimate estimate_of(group_loads& loads, group_id group) {
  for (const group_estimate& e : loads.estimates())
    if (e.group == group) return e;
  ADD_FAILURE() << "no estimate of group " << group.value;
  return {};
}

/// A group that is `away` and takes `each` for a pair, asked for ten pairs at a time.
void converse(group_loads& loads, group_id group, microseconds away, microseconds each, int times) {
  for (int i = 0; i < times; ++i) {
    const std::uint32_t ahead = loads.sent(group, 10);
    const auto computing = each * 10;
    loads.observe(group,
                  ahead,
                  10,
                  away + computing,
                  static_cast<std::uint64_t>(duration_ns{computing}.count()));
    loads.ended(group, 10);
  }
}

TEST(group_loads, learns_how_far_and_how_fast_a_group_is) {
  group_loads loads;
  converse(loads, first, microseconds{200}, microseconds{50}, 10);
  const auto idle = estimate_of(loads, first);
  EXPECT_NEAR(idle.start_ns, 200e3, 1e3);
  EXPECT_NEAR(idle.pair_ns, 50e3, 1e3);
  // What is in flight there comes first.
  EXPECT_EQ(loads.sent(first, 8), 0U);
  EXPECT_EQ(loads.sent(first, 4), 8U);
  EXPECT_EQ(loads.in_flight(first), 12U);
  EXPECT_NEAR(estimate_of(loads, first).start_ns, 200e3 + 12 * 50e3, 20e3);
  loads.ended(first, 12);
  EXPECT_EQ(loads.in_flight(first), 0U);
  EXPECT_EQ(loads.in_flight(second), 0U);
  EXPECT_DEATH(loads.ended(first, 1), "");
}

TEST(group_loads, a_group_that_slows_down_or_recovers_is_found_out) {
  group_loads loads;
  converse(loads, first, microseconds{100}, microseconds{10}, 100);
  converse(loads, first, microseconds{100}, microseconds{40}, 100);
  EXPECT_NEAR(estimate_of(loads, first).pair_ns, 40e3, 4e3);
  converse(loads, first, microseconds{100}, microseconds{10}, 100);
  EXPECT_NEAR(estimate_of(loads, first).pair_ns, 10e3, 4e3);
  // A longer way is believed in time, a shorter one at once.
  converse(loads, first, microseconds{300}, microseconds{10}, 300);
  EXPECT_NEAR(estimate_of(loads, first).start_ns, 300e3, 30e3);
  converse(loads, first, microseconds{80}, microseconds{10}, 1);
  EXPECT_NEAR(estimate_of(loads, first).start_ns, 80e3, 1e3);
}

TEST(group_loads, a_group_without_answers_is_as_the_others_are) {
  group_loads loads;
  loads.add(second);
  loads.add(first);
  loads.add(second);
  ASSERT_EQ(loads.estimates().size(), 2U);
  EXPECT_EQ(loads.estimates()[0].group, first);
  EXPECT_EQ(loads.estimates()[1].pair_ns, 0);
  converse(loads, first, microseconds{100}, microseconds{20}, 5);
  EXPECT_NEAR(estimate_of(loads, second).pair_ns, 20e3, 1e3);
  EXPECT_NEAR(estimate_of(loads, second).start_ns, 100e3, 1e3);
}

TEST(group_loads, what_a_group_says_of_its_time_is_believed_within_reason) {
  group_loads loads;
  loads.observe(first, 0, 4, microseconds{100}, ~std::uint64_t{0});
  EXPECT_EQ(estimate_of(loads, first).start_ns, 0);
  EXPECT_NEAR(estimate_of(loads, first).pair_ns, 25e3, 1);
  loads.observe(second, 0, 0, microseconds{-5}, 7);
  EXPECT_EQ(estimate_of(loads, second).pair_ns, 0);
}

}  // namespace
}  // namespace atl::cluster
