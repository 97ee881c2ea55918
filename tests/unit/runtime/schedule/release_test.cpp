#include "runtime/schedule/release.hpp"
#include "runtime/schedule/retry.hpp"

#include <gtest/gtest.h>

namespace atl::schedule {
namespace {

constexpr release_limits limits{.sequences_max = 4, .pages_total = 100};
constexpr std::int64_t page = 64;

shard_load load(std::int64_t sequences,
                std::int64_t pages,
                std::int64_t tokens,
                shard_use use = shard_use::open) {
  return {limits, sequences, pages, tokens, use};
}

constexpr shard_need need(std::int64_t pages) { return {pages, pages, 0}; }

TEST(release, CountsThePagesARequestWillSoonHold) {
  EXPECT_EQ(pages_soon(page, 1, 0, 0), 1);
  EXPECT_EQ(pages_soon(page, 64, 0, 0), 1);
  EXPECT_EQ(pages_soon(page, 64, 0, 1), 2);
  EXPECT_EQ(pages_soon(page, 64, 0, 100'000), 5);
  EXPECT_EQ(pages_soon(page, 64, 640, 100'000), 15);
  EXPECT_EQ(pages_soon(page, 64, 640, 700), 12);  // never more than it may come to
}

TEST(release, TakesTheShardWithTheFewestTokensToCome) {
  EXPECT_EQ(shard_with_room({load(1, 5, 500), load(1, 5, 300), load(1, 5, 300)}, need(10)), 1U);
}

TEST(release, WaitsForAPlaceOrForPages) {
  const auto full = load(4 + lookahead(limits), 10, 10);
  const auto nearly = load(4 + lookahead(limits) - 1, 10, 20);
  EXPECT_EQ(shard_with_room({full}, need(1)), std::nullopt);
  EXPECT_EQ(shard_with_room({full, nearly}, need(1)), 1U);
  EXPECT_EQ(shard_with_room({load(1, 91, 10)}, need(10)), std::nullopt);
  EXPECT_EQ(shard_with_room({load(1, 90, 10)}, need(10)), 0U);
  EXPECT_EQ(shard_with_room({}, need(1)), std::nullopt);
}

TEST(release, AnIdleShardTakesAnything) {
  EXPECT_EQ(shard_with_room({load(0, 0, 0)}, need(1000)), 0U);
}

TEST(release, AvoidsSuspectShardsWhileAnOpenOneIsThere) {
  const auto full = load(4 + lookahead(limits), 10, 10);
  EXPECT_EQ(shard_with_room({load(0, 0, 0, shard_use::suspect), load(2, 5, 100)}, need(1)), 1U);
  EXPECT_EQ(shard_with_room({load(0, 0, 0, shard_use::suspect), full}, need(1)), std::nullopt);
  EXPECT_EQ(shard_with_room({load(0, 0, 0, shard_use::closed), load(0, 0, 0, shard_use::suspect)},
                            need(1)),
            1U);
  EXPECT_EQ(shard_with_room({load(0, 0, 0, shard_use::closed)}, need(1)), std::nullopt);
}

TEST(release, AShardThatCouldNeverHoldTheWholeIsAvoidedWhereAnotherCould) {
  auto small = load(0, 0, 0);
  small.limits.pages_total = 10;
  EXPECT_EQ(shard_with_room({small, load(1, 5, 100)}, {.pages = 5, .pages_max = 11}), 1U);
  EXPECT_EQ(shard_with_room({small, load(1, 5, 100)}, {.pages = 5, .pages_max = 10}), 0U);
  EXPECT_EQ(shard_with_room({small}, {.pages = 5, .pages_max = 11}), 0U) << "it says why not";
}

constexpr time_point_ns at(double seconds) { return {static_cast<std::int64_t>(seconds * 1e9)}; }

double after(const retry_estimate& r, double now, std::int64_t waiting) {
  return static_cast<double>(r.after(at(now), waiting) / std::chrono::seconds{1});
}

TEST(retry, IsHalfOfTheQueueAtTheRecentRate) {
  retry_estimate r;
  for (int i = 0; i < 1000; ++i) r.ended(at(100 + i * 0.1));  // ten a second
  EXPECT_NEAR(after(r, 200, 400), 20, 1.01);
  EXPECT_EQ(after(r, 200, 0), 1);
  EXPECT_EQ(after(r, 200, 100'000), 60);
}

TEST(retry, GrowsWhileNothingEnds) {
  retry_estimate r;
  for (int i = 0; i < 64; ++i) r.ended(at(i * 0.1));
  EXPECT_LT(after(r, 6.4, 50), after(r, 30, 50));
}

TEST(retry, KnowsNothingOfAQuietTime) {
  const retry_estimate none;
  EXPECT_EQ(after(none, 5, 3), 10);
  retry_estimate old;
  old.ended(at(1));
  EXPECT_EQ(after(old, 3600, 3), 10);
}

}  // namespace
}  // namespace atl::schedule
