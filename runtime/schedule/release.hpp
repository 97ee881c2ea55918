// Which waiting request goes to a shard, and when. A shard serves first come, first served, so it
// is handed only what it can start soon: what waits at the gateway can still be overtaken. Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace atl::schedule {

/// What a shard can run.
struct release_limits {
  std::int64_t sequences_max = 0;  // together
  std::int64_t pages_total = 0;
};

/// Whether requests may go to a shard: to a suspect one only where no open one is; to a closed one
/// (lost, draining, cordoned) none.
enum class shard_use : std::uint8_t { open, suspect, closed };

/// One shard, and what it has been handed and has not ended.
struct shard_load {
  release_limits limits;
  std::int64_t sequences = 0;
  std::int64_t pages = 0;   // sum of pages_soon
  std::int64_t tokens = 0;  // prompt and to come: what the shards are balanced by
  shard_use use = shard_use::open;
};

/// What a request takes of a shard.
struct shard_need {
  std::int64_t pages = 0;      // pages_soon
  std::int64_t pages_max = 0;  // that it may come to hold; a shard with fewer would refuse it
  std::int64_t tokens = 0;     // prompt and to come
};

/// A shard gets so many more than it runs, so that its next one is there when one ends: it bounds
/// by how many a request can be overtaken by lower priorities.
constexpr std::int64_t lookahead(const release_limits& limits) noexcept {
  return 1 + limits.sequences_max / 16;
}

/// Pages a request is counted with: those for its prompt, what it has generated, and some more. Not
/// for all it may generate: most answers end long before, and a shard that runs out of pages after
/// all takes the newest request back and repeats it later.
constexpr std::int64_t pages_soon(std::int64_t page_tokens,
                                  std::int64_t prompt,
                                  std::int64_t generated,
                                  std::int64_t new_max) noexcept {
  constexpr std::int64_t soon = 256;  // four pages of growth are left to each
  const std::int64_t tokens = prompt + std::min(generated + soon, new_max);
  return (tokens + page_tokens - 1) / page_tokens;
}

/// Whether a shard can start a request of so many pages soon. One with nothing to do always can.
constexpr bool has_room(const shard_load& shard, std::int64_t pages) noexcept {
  return shard.sequences == 0 ||
         (shard.sequences < shard.limits.sequences_max + lookahead(shard.limits) &&
          shard.pages + pages <= shard.limits.pages_total);
}

/// Which shards a request may go to now, room or not: the open ones, or the suspect ones where
/// there is no open one; of those the ones that can hold all of it, or all where none can.
std::vector<std::size_t> shards_for(const std::vector<shard_load>& shards, std::int64_t pages_max);

/// Of those, the shard with room and the fewest tokens to come (the first of equals); none if it
/// has to wait.
std::optional<std::size_t> shard_with_room(const std::vector<shard_load>& shards,
                                           const shard_need& need);

}  // namespace atl::schedule
