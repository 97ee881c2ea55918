#include "cluster/routing.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/base/random.hpp"

#include <algorithm>

namespace atl::cluster {

namespace {

/// Among the replicas that `may_use` admits, in proportion to shares.
template <class MayUse>
group_id choose_among(std::span<const experts::replica> replicas,
                      std::uint64_t call,
                      std::uint32_t row,
                      expert_index expert,
                      MayUse&& may_use) {
  std::uint64_t total = 0;
  for (const experts::replica& copy : replicas)
    if (may_use(copy)) total += copy.share;
  if (total == 0) return experts::no_group;
  // The remainder's bias is total / 2^64.
  std::uint64_t point = philox{call}.at(row, expert.value) % total;
  for (const experts::replica& copy : replicas) {
    if (!may_use(copy)) continue;
    if (point < copy.share) return copy.group;
    point -= copy.share;
  }
  return experts::no_group;
}

bool is_in(const std::vector<group_id>& sorted, group_id group) {
  return std::binary_search(sorted.begin(), sorted.end(), group);
}

}  // namespace

group_id choose_group(std::span<const experts::replica> replicas,
                      const avoided_groups& avoid,
                      std::uint64_t call,
                      std::uint32_t row,
                      expert_index expert) {
  if (avoid.gone.empty() && avoid.shunned.empty()) {
    if (replicas.size() == 1) return replicas.front().group;
    return choose_among(replicas, call, row, expert, [](const auto&) { return true; });
  }
  const auto lives = [&](const experts::replica& r) { return !is_in(avoid.gone, r.group); };
  const group_id best = choose_among(replicas, call, row, expert, [&](const experts::replica& r) {
    return lives(r) && !is_in(avoid.shunned, r.group);
  });
  return best != experts::no_group ? best : choose_among(replicas, call, row, expert, lives);
}

void route(const experts::expert_map& map,
           layer_index layer,
           std::uint64_t call,
           std::int64_t k,
           std::span<const std::uint32_t> pairs,
           const std::uint32_t* chosen,
           const avoided_groups& avoid,
           group_id* targets) {
  ATOLL_ASSERT(k >= 1);
  const auto ranks = static_cast<std::uint32_t>(k);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const expert_index expert{chosen[pairs[i]]};
    targets[i] = choose_group(map.replicas(layer, expert), avoid, call, pairs[i] / ranks, expert);
  }
}

}  // namespace atl::cluster
