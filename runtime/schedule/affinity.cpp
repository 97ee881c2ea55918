#include "runtime/schedule/affinity.hpp"

namespace atl::schedule {

void shard_memory::note(std::uint64_t key, std::size_t shard) {
  entries_[key % entries] = {.key = key, .shard = shard};
}

std::optional<std::size_t> shard_memory::find(std::uint64_t key) const {
  const entry& e = entries_[key % entries];
  return e.key == key ? e.shard : std::nullopt;
}

std::optional<std::size_t> shard_near(const std::vector<shard_load>& shards,
                                      const shard_need& need,
                                      std::optional<std::size_t> known) {
  const auto best = shard_with_room(shards, need);
  if (!best || !known || *known >= shards.size()) return best;
  const shard_load& there = shards[*known];
  // As good a place as the best one, but for what it has to do.
  if (there.use != shards[*best].use || !has_room(there, need.pages)) return best;
  if (there.limits.pages_total < need.pages_max) return best;
  const std::int64_t least = shards[*best].tokens;
  return there.tokens <= least + least / 4 + need.tokens ? known : best;
}

}  // namespace atl::schedule
