// The single-process cluster from a seed: every seed twice with equal traces, every schedule with
// the same tokens, and nothing held at the end. ATOLL_SIM_SEEDS="first count" chooses the seeds; a
// failure prints the seed.
#include "runtime/base/random.hpp"
#include "tests/sim/seeds.hpp"
#include "tests/sim/world.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace atl::sim {
namespace {

actors::generation_request request(int seed) {
  actors::generation_request r;
  const int length = 1 + seed * 29 % 90;
  for (int i = 0; i < length; ++i) r.prompt.push_back((i * 37 + seed * 101 + 11) % 6000);
  r.tokens_max = 3 + seed % 5;
  r.ignore_eos = true;
  if (seed % 3 == 1) {
    r.sampling.temperature = 0.8F;
    r.sampling.seed = static_cast<std::uint64_t>(seed);
  }
  return r;
}

scenario base(std::uint64_t seed) {
  scenario s;
  s.seed = seed;
  s.options.threads = 1;
  s.options.attention_shards = 1 + static_cast<int>(seed % 2);
  s.options.expert_groups = 1 + static_cast<int>(seed % 4);
  s.options.replicas = s.options.expert_groups > 1 ? 2 : 1;
  s.options.sequences_max = 3;
  s.options.context_max = 128;
  s.options.prefill_chunk = 5 + static_cast<std::int64_t>(seed * 13 % 40);
  s.options.group_rows_max = 8;
  s.options.lane_sequences_min = seed % 3 == 0 ? 32 : 1;
  for (int i = 0; i < 6; ++i) s.requests.push_back(request(i));
  return s;
}

TEST(sim_cluster, EachSeedTwiceAndOneAnswerForAll) {
  const auto [first, count] = seeds();
  std::vector<std::vector<token_id>> expected;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed) + ": ATOLL_SIM_SEEDS=\"" + std::to_string(seed) +
                 " 1\"");
    const auto once = run(tiny(), base(seed));
    ASSERT_TRUE(once.has_value()) << once.error().message();
    const auto again = run(tiny(), base(seed));
    ASSERT_TRUE(again.has_value()) << again.error().message();
    EXPECT_EQ(once->trace_hash, again->trace_hash);
    EXPECT_EQ(once->last_draw, again->last_draw);
    EXPECT_EQ(once->turns, again->turns);
    if (expected.empty()) expected = once->tokens;
    EXPECT_EQ(once->tokens, expected);
    EXPECT_EQ(once->pages_used + once->sequences + once->requests, 0U);
  }
}

TEST(sim_cluster, AnotherSeedIsAnotherRun) {
  const auto a = run(tiny(), base(1));
  auto same_shape = base(1);
  same_shape.seed = 2;
  const auto b = run(tiny(), same_shape);
  ASSERT_TRUE(a.has_value() && b.has_value());
  EXPECT_NE(a->trace_hash, b->trace_hash);
  EXPECT_EQ(a->tokens, b->tokens);
}

TEST(sim_cluster, LostFramesToAndFromExpertsAreSentAgain) {
  const auto whole = run(tiny(), base(3));
  auto with_losses = base(3);
  with_losses.expert_loss = 0.01;
  const auto lossy = run(tiny(), with_losses);
  ASSERT_TRUE(whole.has_value()) << whole.error().message();
  ASSERT_TRUE(lossy.has_value()) << lossy.error().message();
  EXPECT_GT(lossy->frames_lost, 0U);
  EXPECT_EQ(lossy->tokens, whole->tokens);
}

TEST(sim_cluster, WhatFailsForWantOfAnswersLeavesItsCreditsToRowsThatWait) {
  const auto [first, count] = seeds();
  const auto whole = run(tiny(), base(first));
  ASSERT_TRUE(whole.has_value());
  std::size_t failed = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    auto what = base(seed);
    what.options.lane_sequences_min = 1;
    what.options.group_rows_max = 2;  // one lane takes them all, the other waits
    what.expert_loss = 0.6;
    const auto seen = run(tiny(), what);
    ASSERT_TRUE(seen.has_value()) << seen.error().message();
    EXPECT_EQ(seen->pages_used + seen->sequences + seen->requests + seen->rows_in_flight, 0U);
    for (std::size_t i = 0; i < seen->last.size(); ++i) {
      if (seen->last[i].finish == actors::finish_reason::error) {
        ++failed;
        ASSERT_TRUE(seen->last[i].cause);
        EXPECT_EQ(seen->last[i].cause->code(), errc::deadline);
      } else {
        EXPECT_EQ(seen->tokens[i], whole->tokens[i]);
      }
    }
  }
  EXPECT_GT(failed, 0U);
}

TEST(sim_cluster, CancelledRequestsFreeEverythingAndOthersGoOn) {
  const auto [first, count] = seeds();
  const auto whole = run(tiny(), base(first));
  ASSERT_TRUE(whole.has_value());
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    auto what = base(seed);
    what.cancelled = {1, 4};
    const auto seen = run(tiny(), what);
    ASSERT_TRUE(seen.has_value()) << seen.error().message();
    EXPECT_EQ(seen->pages_used + seen->sequences + seen->requests, 0U);
    for (const std::size_t i : {0U, 2U, 3U, 5U}) EXPECT_EQ(seen->tokens[i], whole->tokens[i]);
    for (const std::size_t i : {1U, 4U}) {
      const auto& full = whole->tokens[i];
      ASSERT_LE(seen->tokens[i].size(), full.size());
      EXPECT_TRUE(std::equal(seen->tokens[i].begin(), seen->tokens[i].end(), full.begin()));
    }
  }
}

/// One shard that runs two, and requests of tenants and priorities.
scenario crowd(std::uint64_t seed) {
  auto s = base(seed);
  s.options.attention_shards = 1;
  s.options.sequences_max = 2;
  s.requests.clear();
  for (int i = 0; i < 12; ++i) {
    auto r = request(i);
    r.tenant = static_cast<std::uint32_t>(i % 3);
    r.priority = i >= 9 ? 1 : 0;
    s.requests.push_back(std::move(r));
  }
  return s;
}

TEST(sim_cluster, ACrowdRunsTwiceAlike) {
  const auto once = run(tiny(), crowd(3));
  const auto again = run(tiny(), crowd(3));
  ASSERT_TRUE(once.has_value() && again.has_value());
  EXPECT_EQ(once->trace_hash, again->trace_hash);
  EXPECT_EQ(once->order, again->order);
}

TEST(sim_cluster, PrioritiesOvertakeAndChangeNoToken) {
  const auto [first, count] = seeds();
  auto plain = crowd(first);
  for (auto& r : plain.requests) r.priority = 0;
  const auto whole = run(tiny(), plain);
  ASSERT_TRUE(whole.has_value()) << whole.error().message();
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const auto once = run(tiny(), crowd(seed));
    ASSERT_TRUE(once.has_value()) << once.error().message();
    EXPECT_EQ(once->tokens, whole->tokens);
    EXPECT_EQ(once->pages_used + once->sequences + once->requests, 0U);
    // All arrive before anything ends, in an order drawn from the seed. Two run and one is next;
    // beyond those three, whoever has the higher priority comes first.
    for (std::size_t i = 9; i < 12; ++i) {
      const auto at = std::find(once->order.begin(), once->order.end(), i) - once->order.begin();
      EXPECT_LT(at, 3 + 3 + 1) << "request " << i;  // and one that ends later than it began
    }
  }
}

TEST(sim_cluster, TimeoutsEndRequestsInVirtualTimeWhereverTheyAre) {
  const auto [first, count] = seeds();
  const auto whole = run(tiny(), base(first));
  ASSERT_TRUE(whole.has_value());
  std::size_t while_waiting = 0, in_prompt = 0, midway = 0, in_time = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    auto what = base(seed);
    random_source random{seed};
    for (auto& r : what.requests)
      r.timeout = std::chrono::microseconds{1 + static_cast<std::int64_t>(random.below(60'000))};
    const auto seen = run(tiny(), what);
    ASSERT_TRUE(seen.has_value()) << seen.error().message();
    EXPECT_EQ(seen->pages_used + seen->sequences + seen->requests + seen->rows_in_flight, 0U);
    for (std::size_t i = 0; i < seen->last.size(); ++i) {
      const auto& last = seen->last[i];
      const auto& tokens = seen->tokens[i];
      ASSERT_LE(tokens.size(), whole->tokens[i].size());
      EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), whole->tokens[i].begin()));
      const std::int64_t timeout_ns = what.requests[i].timeout->count();
      const std::int64_t took_ns = seen->ended_ns[i] - seen->began_ns[i];
      if (last.finish != actors::finish_reason::error) {
        EXPECT_EQ(tokens, whole->tokens[i]);
        ++in_time;
        continue;
      }
      ASSERT_TRUE(last.cause);
      EXPECT_EQ(last.cause->code(), errc::deadline);
      EXPECT_GE(took_ns, timeout_ns);
      // At once: the outside world moves in leaps of one job (210 us) between looks at the clock.
      EXPECT_LE(took_ns, timeout_ns + 2'000'000);
      if (last.cause->message().find("waiting") != std::string::npos) {
        ++while_waiting;
      } else {
        ++(tokens.empty() ? in_prompt : midway);
      }
    }
  }
  EXPECT_GT(while_waiting, 0U);
  EXPECT_GT(in_prompt, 0U);
  EXPECT_GT(midway, 0U);
  EXPECT_GT(in_time, 0U);
}

TEST(sim_cluster, AFullHouseRefusesAndServesWhomItTook) {
  auto what = crowd(1);
  what.options.queued_max = 4;
  const auto whole = run(tiny(), crowd(1));
  const auto seen = run(tiny(), what);
  ASSERT_TRUE(whole.has_value() && seen.has_value());
  for (std::size_t i = 0; i < 12; ++i) {
    if (i < 6) {
      EXPECT_EQ(seen->tokens[i], whole->tokens[i]);
    } else {
      ASSERT_TRUE(seen->last[i].cause);
      EXPECT_EQ(seen->last[i].cause->code(), errc::overloaded);
    }
  }
}

}  // namespace
}  // namespace atl::sim
