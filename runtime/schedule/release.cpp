#include "runtime/schedule/release.hpp"

namespace atl::schedule {
namespace {

template <class Test>
std::vector<std::size_t> those(std::size_t count, Test is_one) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < count; ++i)
    if (is_one(i)) found.push_back(i);
  return found;
}

}  // namespace

std::vector<std::size_t> shards_for(const std::vector<shard_load>& shards, std::int64_t pages_max) {
  for (const shard_use use : {shard_use::open, shard_use::suspect}) {
    auto usable = those(shards.size(), [&](std::size_t i) { return shards[i].use == use; });
    if (usable.empty()) continue;
    auto large = those(shards.size(), [&](std::size_t i) {
      return shards[i].use == use && shards[i].limits.pages_total >= pages_max;
    });
    return large.empty() ? usable : large;
  }
  return {};
}

std::optional<std::size_t> shard_with_room(const std::vector<shard_load>& shards,
                                           const shard_need& need) {
  std::optional<std::size_t> best;
  for (const std::size_t i : shards_for(shards, need.pages_max)) {
    if (!has_room(shards[i], need.pages)) continue;
    if (!best || shards[i].tokens < shards[*best].tokens) best = i;
  }
  return best;
}

}  // namespace atl::schedule
