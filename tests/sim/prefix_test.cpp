// Requests that begin alike on shards with few pages, from a seed: cached pages are shared, given
// up and found again while requests are preempted, cancelled and fail; every answer is the one of a
// cluster that caches nothing.
#include "attention/shard_compute.hpp"
#include "tests/sim/seeds.hpp"
#include "tests/sim/world.hpp"

#include <gtest/gtest.h>

namespace atl::sim {
namespace {

/// Two beginnings, two scopes; the end of each prompt is its own. Neighbours begin alike, so that
/// they are in flight together.
actors::generation_request request(int i) {
  actors::generation_request r;
  const int text = i / 3 % 2;
  const int common = 70 + 64 * text;
  for (int k = 0; k < common; ++k) r.prompt.push_back((k * 37 + text * 101 + 11) % 6000);
  for (int k = 0; k < i * 11 % 50; ++k) r.prompt.push_back((k * 53 + i * 7 + 5) % 6000);
  r.tokens_max = 2 + i * 5 % 9;
  r.ignore_eos = true;
  r.cache_scope = static_cast<std::uint64_t>(i / 5 % 2);
  if (i % 3 == 1) {
    r.sampling.temperature = 0.8F;
    r.sampling.seed = static_cast<std::uint64_t>(i);
  }
  if (i % 5 == 4) r.logits = actors::logits_wanted::all;
  return r;
}

scenario shared(std::uint64_t seed) {
  scenario s;
  s.seed = seed;
  s.options.threads = 1;
  s.options.attention_shards = 1 + static_cast<int>(seed % 2);
  s.options.expert_groups = 2;
  s.options.replicas = 2;
  s.options.sequences_max = 3;
  s.options.context_max = 256;
  s.options.prefill_chunk = 30 + static_cast<std::int64_t>(seed * 13 % 90);
  s.options.lane_sequences_min = seed % 3 == 0 ? 32 : 1;
  // Room for two of three sequences, and for little that nobody holds.
  s.options.kv_bytes = (4 + seed % 3) * static_cast<std::size_t>(s.options.attention_shards) *
                       attention::shard_compute::page_bytes(tiny()->config);
  for (int i = 0; i < 10; ++i) s.requests.push_back(request(i));
  return s;
}

std::vector<std::vector<token_id>> expected() {
  auto what = shared(1);
  what.options.prefix_cache = false;
  const auto whole = run(tiny(), what);
  return whole.has_value() ? whole->tokens : std::vector<std::vector<token_id>>{};
}

void expect_nothing_held(const outcome& seen) {
  EXPECT_EQ(seen.pages_used + seen.sequences + seen.requests + seen.rows_in_flight, 0U);
}

TEST(sim_prefix, one_answer_whatever_is_reused) {
  const auto [first, count] = seeds();
  const auto whole = expected();
  std::uint64_t hits = 0, evictions = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const auto seen = run(tiny(), shared(seed));
    ASSERT_TRUE(seen.has_value()) << seen.error().message();
    EXPECT_EQ(seen->tokens, whole);
    expect_nothing_held(*seen);
    hits += seen->prefix_hits;
    evictions += seen->page_evictions;
    for (const auto& last : seen->last) {
      EXPECT_LT(last.cached_tokens, last.prompt_tokens);
      EXPECT_EQ(last.cached_tokens % 64, 0);
    }
  }
  EXPECT_GT(hits, 64 * count);
  EXPECT_GT(evictions, count);
}

TEST(sim_prefix, a_seed_is_one_run) {
  const auto once = run(tiny(), shared(seeds().first));
  const auto again = run(tiny(), shared(seeds().first));
  ASSERT_TRUE(once.has_value() && again.has_value());
  EXPECT_EQ(once->trace_hash, again->trace_hash);
  EXPECT_EQ(once->last_draw, again->last_draw);
  EXPECT_EQ(once->prefix_hits, again->prefix_hits);
}

TEST(sim_prefix, cancelled_and_failed_requests_leave_others_their_pages) {
  const auto [first, count] = seeds();
  const auto whole = expected();
  std::size_t failed = 0;
  std::uint64_t hits = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    auto what = shared(seed);
    what.cancelled = {seed % 10, (seed + 3) % 10, (seed + 7) % 10};
    if (seed % 2 == 0) what.expert_loss = 0.6;
    const auto seen = run(tiny(), what);
    ASSERT_TRUE(seen.has_value()) << seen.error().message();
    expect_nothing_held(*seen);
    hits += seen->prefix_hits;
    for (std::size_t i = 0; i < seen->last.size(); ++i) {
      const auto& tokens = seen->tokens[i];
      ASSERT_LE(tokens.size(), whole[i].size());
      EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), whole[i].begin()));
      if (seen->last[i].finish == actors::finish_reason::length) {
        EXPECT_EQ(tokens, whole[i]);
      } else if (seen->last[i].finish == actors::finish_reason::error) {
        ++failed;
      }
    }
  }
  EXPECT_GT(failed, 0U);
  EXPECT_GT(hits, 0U);
}

}  // namespace
}  // namespace atl::sim
