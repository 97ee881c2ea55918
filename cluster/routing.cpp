#include "cluster/routing.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/base/random.hpp"

namespace atl::cluster {

const experts::replica& choose_replica(std::span<const experts::replica> replicas,
                                       std::uint64_t call,
                                       std::uint32_t row,
                                       expert_index expert) {
  ATOLL_ASSERT(!replicas.empty());
  if (replicas.size() == 1) return replicas.front();
  std::uint64_t total = 0;
  for (const experts::replica& copy : replicas) total += copy.share;
  // The remainder's bias is total / 2^64.
  std::uint64_t point = philox{call}.at(row, expert.value) % total;
  for (const experts::replica& copy : replicas) {
    if (point < copy.share) return copy;
    point -= copy.share;
  }
  return replicas.back();
}

void route(const experts::expert_map& map,
           layer_index layer,
           std::uint64_t call,
           std::int64_t rows,
           std::int64_t k,
           const std::uint32_t* chosen,
           group_id* targets) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t i = row * k; i < (row + 1) * k; ++i) {
      const expert_index expert{chosen[i]};
      const auto copies = map.replicas(layer, expert);
      targets[i] = choose_replica(copies, call, static_cast<std::uint32_t>(row), expert).group;
    }
  }
}

}  // namespace atl::cluster
