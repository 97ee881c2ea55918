#include "experts/dispatch/plan.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>
#include <cstddef>

namespace atl::experts {

namespace {

struct target_count {
  group_id group;
  std::size_t assignments = 0;
};

/// The targets that occur, by ascending group. Their ids may be far apart.
std::vector<target_count> count_targets(std::size_t pairs, const group_id* targets) {
  std::vector<target_count> counts;
  for (std::size_t i = 0; i < pairs; ++i) {
    if (targets[i] == no_group) continue;
    auto at = std::lower_bound(counts.begin(),
                               counts.end(),
                               targets[i],
                               [](const target_count& c, group_id g) { return c.group < g; });
    if (at == counts.end() || at->group != targets[i]) at = counts.insert(at, {targets[i], 0});
    ++at->assignments;
  }
  return counts;
}

std::vector<group_plan> open_plans(std::size_t pairs, const group_id* targets) {
  const std::vector<target_count> counts = count_targets(pairs, targets);
  std::vector<group_plan> plans(counts.size());
  for (std::size_t slot = 0; slot < counts.size(); ++slot) {
    plans[slot].group = counts[slot].group;
    plans[slot].experts.reserve(counts[slot].assignments);
    plans[slot].ranks.reserve(counts[slot].assignments);
  }
  return plans;
}

}  // namespace

std::vector<group_plan> plan_dispatch(std::int64_t k,
                                      std::span<const std::uint32_t> pairs,
                                      const std::uint32_t* experts,
                                      const group_id* targets) {
  ATOLL_ASSERT(k >= 1 && k <= 0xFFFF);
  std::vector<group_plan> plans = open_plans(pairs.size(), targets);
  const auto ranks = static_cast<std::uint32_t>(k);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    ATOLL_ASSERT(i == 0 || pairs[i - 1] < pairs[i]);
    if (targets[i] == no_group) continue;
    const auto to = std::lower_bound(plans.begin(),
                                     plans.end(),
                                     targets[i],
                                     [](const group_plan& p, group_id g) { return p.group < g; });
    const std::uint32_t row = pairs[i] / ranks;
    if (to->rows.empty() || to->rows.back() != row) {
      to->rows.push_back(row);
      to->offsets.push_back(static_cast<std::uint32_t>(to->experts.size()));
    }
    to->experts.push_back(experts[pairs[i]]);
    to->ranks.push_back(pairs[i] % ranks);
  }
  for (group_plan& plan : plans) {
    plan.offsets.push_back(static_cast<std::uint32_t>(plan.experts.size()));
  }
  return plans;
}

}  // namespace atl::experts
