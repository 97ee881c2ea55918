#include "cluster/elastic/detector.hpp"
#include "cluster/expert_loads.hpp"
#include "runtime/base/random.hpp"
#include "tests/unit/cluster/elastic_world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

namespace atl::cluster {
namespace {

using namespace std::chrono_literals;

std::uint64_t poisson(random_source& random, double mean) {
  constexpr double piece = 30;
  if (mean > piece) return poisson(random, piece) + poisson(random, mean - piece);
  std::uint64_t n = 0;
  double p = std::exp(-mean);
  double sum = p;
  for (const double u = random.unit(); u > sum && p > 0; sum += p)
    p *= mean / static_cast<double>(++n);
  return n;
}

/// A fleet whose rows are counted and reported every 250 ms, and whose plans are carried out the
/// moment they are made.
class theatre {
public:
  theatre(elastic_input world, std::uint64_t seed) : in{std::move(world)}, random{seed} {}

  struct made {
    time_point_ns at;
    alarm_kind kind;
    elastic_plan plan;
  };

  using rates = std::function<double(std::size_t layer, std::size_t expert, double at_s)>;

  void play(duration_ns time, const rates& rate) {
    constexpr duration_ns tick = 250ms;
    for (const time_point_ns end = now + time; now < end;) {
      now = now + tick;
      const double at = seconds(duration_ns{now.value});
      for (std::size_t i = 0; i < in.loads.size(); ++i) {
        const std::size_t l = i / in.shape.experts;
        const std::size_t e = i % in.shape.experts;
        loads.add(in.shape.layers[l],
                  static_cast<std::uint32_t>(e),
                  poisson(random, rate(l, e, at) * seconds(tick)),
                  now);
      }
      in.loads = loads.all(now);
      const auto alarm = detector.look(in, now);
      if (!alarm) continue;
      ++alarms;
      auto plan = plan_elastic(in);
      ASSERT_TRUE(plan) << plan.error().message();
      expect_sound(in, *plan);
      detector.planned(in, *plan, now);
      if (!plan->has_work()) continue;
      in.present = plan->target;
      plans.push_back({now, alarm->kind, std::move(*plan)});
    }
  }

  std::size_t copies(std::size_t layer, std::size_t expert) const {
    return in.present[layer * in.shape.experts + expert].size();
  }

  std::size_t moves_since(std::size_t plan) const {
    std::size_t moves = 0;
    for (; plan < plans.size(); ++plan) moves += plans[plan].plan.moves.size();
    return moves;
  }

  elastic_input in;
  random_source random;
  time_point_ns now = {};
  expert_loads loads{in.shape};
  elastic_detector detector;
  std::vector<made> plans;
  std::size_t alarms = 0;
};

/// A quarter more slots than experts.
elastic_input fleet_of(std::size_t layers, std::size_t experts, std::size_t nodes) {
  elastic_input in = world(layers, experts, nodes, layers * experts * 5 / 4 / nodes);
  spread(in);
  return in;
}

TEST(detector, noise_around_an_even_load_makes_no_plan_in_an_hour) {
  for (const double rows : {0.2, 5.0, 80.0}) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      theatre t{fleet_of(2, 32, 8), seed};
      t.play(1h, [&](auto...) { return rows; });
      EXPECT_EQ(t.plans.size(), 0U) << rows << " rows/s, seed " << seed;
      EXPECT_EQ(t.alarms, 0U) << rows << " rows/s, seed " << seed;
    }
  }
}

TEST(detector, noise_around_a_balanced_skewed_load_settles) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    theatre t{fleet_of(2, 32, 8), seed};
    zipf_loads(t.in, seed, 1.0);
    const auto truth = t.in.loads;
    const auto rate = [&](std::size_t l, std::size_t e, double) { return truth[l * 32 + e].slow; };
    t.play(2min, rate);
    const std::size_t settled = t.plans.size();
    EXPECT_GE(settled, 1U);
    EXPECT_LE(settled, 6U) << "seed " << seed;
    t.play(30min, rate);
    EXPECT_LE(t.plans.size(), settled + 2) << "seed " << seed;
    t.in.loads = truth;
    for (std::size_t l = 0; l < 2; ++l)
      EXPECT_LE(hottest_of(t.in, t.in.present, l), 1.15) << "seed " << seed;
  }
}

TEST(detector, a_load_that_turns_to_other_experts_is_even_again_in_seconds) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    theatre t{fleet_of(2, 32, 8), seed};
    zipf_loads(t.in, seed, 0.8);
    const auto before = t.in.loads;
    zipf_loads(t.in, seed + 100, 0.8);
    const auto after = t.in.loads;
    t.play(5min, [&](std::size_t l, std::size_t e, double) { return before[l * 32 + e].slow; });
    const std::size_t settled = t.plans.size();
    t.play(25s, [&](std::size_t l, std::size_t e, double) { return after[l * 32 + e].slow; });
    EXPECT_LE(t.plans.size(), settled + 8) << "seed " << seed;
    t.in.loads = after;
    for (std::size_t l = 0; l < 2; ++l)
      EXPECT_LE(hottest_of(t.in, t.in.present, l), 1.15) << "seed " << seed << " layer " << l;
  }
}

TEST(detector, a_burst_of_one_expert_gets_copies_and_loses_them_when_it_cools) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    theatre t{fleet_of(2, 32, 8), seed};
    const auto even = [](auto...) { return 50.0; };
    const auto burst = [](std::size_t l, std::size_t e, double) {
      return l == 1 && e == 7 ? 500.0 : 50.0;
    };
    t.play(2min, even);
    ASSERT_EQ(t.plans.size(), 0U);
    const time_point_ns start = t.now;
    t.play(700ms, burst);
    ASSERT_GE(t.plans.size(), 1U) << "seed " << seed;
    EXPECT_EQ(t.plans[0].kind, alarm_kind::burst);
    EXPECT_LE(t.plans[0].at - start, 700ms);
    EXPECT_GE(t.copies(1, 7), 2U);
    t.play(1min, burst);
    t.in.loads[32 + 7] = {.fast = 500, .slow = 500};
    for (std::size_t i = 0; i < 64; ++i)
      if (i != 32 + 7) t.in.loads[i] = {.fast = 50, .slow = 50};
    EXPECT_LE(hottest_of(t.in, t.in.present, 1), 1.15) << "seed " << seed;
    const std::size_t hot = t.plans.size();
    EXPECT_LE(hot, 6U) << "seed " << seed;
    t.play(10min, even);
    EXPECT_EQ(t.copies(1, 7), 1U) << "seed " << seed;
    const std::size_t cooled = t.plans.size();
    EXPECT_LE(cooled, hot + 10) << "seed " << seed;
    EXPECT_LE(t.moves_since(hot), 4U) << "seed " << seed;
    t.play(30min, even);
    EXPECT_EQ(t.plans.size(), cooled) << "seed " << seed;
  }
}

TEST(detector, a_burst_that_comes_and_goes_does_not_flap) {
  theatre t{fleet_of(2, 32, 8), 3};
  // Five seconds hot in every thirty.
  t.play(20min, [](std::size_t l, std::size_t e, double at) {
    return l == 0 && e == 3 && std::fmod(at, 30) < 5 ? 500.0 : 50.0;
  });
  EXPECT_LE(t.moves_since(0), 20U);
  EXPECT_LE(t.plans.size(), 80U);
}

TEST(detector, nodes_that_report_at_different_moments_make_no_plan) {
  elastic_input in = fleet_of(2, 32, 8);
  expert_loads loads{in.shape};
  elastic_detector detector;
  random_source random{5};
  // From rest, and after a rest, each group's rows come at moments of its own.
  for (int step = 0; step < 4 * 60 * 20; ++step) {
    const time_point_ns now{(step + 1) * 50'000'000LL};
    const bool is_resting = step % 1200 >= 600;
    const std::size_t turn = static_cast<std::size_t>(step) % 5;
    for (std::size_t i = 0; i < in.present.size() && !is_resting; ++i) {
      if (in.present[i].front().group.value % 5 != turn) continue;
      loads.add(
          in.shape.layers[i / 32], static_cast<std::uint32_t>(i % 32), poisson(random, 500), now);
    }
    if (step % 5 != 3) continue;
    in.loads = loads.all(now);
    const auto alarm = detector.look(in, now);
    EXPECT_FALSE(alarm) << alarm->reason << " at step " << step;
  }
}

TEST(detector, a_joiner_gets_its_share_at_once) {
  for (const double rows : {0.0, 50.0}) {
    theatre t{fleet_of(2, 32, 4), 1};
    t.play(1min, [&](auto...) { return rows; });
    ASSERT_EQ(t.plans.size(), 0U);
    t.in.groups.push_back(
        {.group = group_id{9}, .node = node_id{9}, .name = "new", .capacity = 20});
    t.play(1s, [&](auto...) { return rows; });
    ASSERT_GE(t.plans.size(), 1U);
    EXPECT_EQ(t.plans[0].kind, alarm_kind::members);
    std::size_t held = 0;
    double shares = 0;
    for (const auto& copies : t.in.present) {
      double all = 0;
      for (const auto& r : copies) all += r.share;
      for (const auto& r : copies)
        if (r.group == group_id{9}) {
          ++held;
          shares += r.share / all;
        }
    }
    EXPECT_GE(held, 10U) << rows;
    EXPECT_NEAR(shares, 64.0 / 5, 1.5) << rows;
    const std::size_t settled = t.plans.size();
    t.play(10min, [&](auto...) { return rows; });
    EXPECT_LE(t.plans.size(), settled + 1) << rows;
  }
}

TEST(detector, tells_members_that_leave_drain_or_change) {
  elastic_input in = fleet_of(1, 8, 4);
  elastic_detector d;
  EXPECT_FALSE(d.look(in, {}));
  in.groups[2].intake = node_intake::draining;
  auto alarm = d.look(in, {});
  ASSERT_TRUE(alarm);
  EXPECT_EQ(alarm->kind, alarm_kind::members);
  EXPECT_EQ(alarm->reason, "node-2 is drained");
  d.planned(in, *plan_elastic(in), {});
  EXPECT_FALSE(d.look(in, {}));
  in.groups.erase(in.groups.begin());
  alarm = d.look(in, {});
  ASSERT_TRUE(alarm);
  EXPECT_EQ(alarm->reason, "node-0 left");
}

}  // namespace
}  // namespace atl::cluster
