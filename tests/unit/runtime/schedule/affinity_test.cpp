#include "runtime/schedule/affinity.hpp"

#include <gtest/gtest.h>

namespace atl::schedule {
namespace {

constexpr release_limits limits{.sequences_max = 4, .pages_total = 100};

shard_load load(std::int64_t sequences,
                std::int64_t pages,
                std::int64_t tokens,
                shard_use use = shard_use::open) {
  return {limits, sequences, pages, tokens, use};
}

std::optional<std::size_t>
near(const std::vector<shard_load>& shards, std::int64_t tokens, std::optional<std::size_t> known) {
  return shard_near(shards, {.pages = 5, .pages_max = 5, .tokens = tokens}, known);
}

TEST(affinity, goes_where_its_beginning_is_unless_that_is_much_busier) {
  const std::vector<shard_load> even{load(1, 5, 1000), load(1, 5, 1000)};
  EXPECT_EQ(near(even, 100, {}), 0U);
  EXPECT_EQ(near(even, 100, 1), 1U);
  EXPECT_EQ(near({load(1, 5, 1000), load(1, 5, 1350)}, 100, 1), 1U);
  EXPECT_EQ(near({load(1, 5, 1000), load(1, 5, 1351)}, 100, 1), 0U);
}

TEST(affinity, does_not_wait_for_a_full_shard) {
  const auto full = load(4 + lookahead(limits), 10, 0);
  EXPECT_EQ(near({full, load(1, 5, 900)}, 1000, 0), 1U);
  EXPECT_EQ(near({load(1, 96, 0), load(1, 5, 900)}, 1000, 0), 1U);
  EXPECT_EQ(near({full, full}, 1000, 0), std::nullopt);
}

TEST(affinity, does_not_go_back_to_a_shard_that_is_gone_or_suspect) {
  const auto open = load(1, 5, 900);
  EXPECT_EQ(near({load(0, 0, 0, shard_use::closed), open}, 1000, 0), 1U);
  EXPECT_EQ(near({load(0, 0, 0, shard_use::suspect), open}, 1000, 0), 1U);
  EXPECT_EQ(near({open}, 1000, 3), 0U) << "a place that is no more";
}

TEST(affinity, remembers_the_last_shard_of_a_key) {
  shard_memory memory;
  EXPECT_EQ(memory.find(0), std::nullopt);
  memory.note(7, 2);
  memory.note(8, 1);
  EXPECT_EQ(memory.find(7), 2U);
  memory.note(7, 0);
  EXPECT_EQ(memory.find(7), 0U);
  EXPECT_EQ(memory.find(8), 1U);
  for (std::uint64_t key = 100; key < 100'000; ++key) memory.note(key, 3);
  EXPECT_EQ(memory.find(7), std::nullopt) << "newer ones took its place";
  EXPECT_EQ(memory.find(99'999), 3U);
}

}  // namespace
}  // namespace atl::schedule
