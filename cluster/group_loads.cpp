#include "cluster/group_loads.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>

namespace atl::cluster {
namespace {

// Of what earlier answers said, this part is forgotten with each.
constexpr double fade = 1.0 / 32;
// The smallest distance of late grows by this with each answer, so that a longer way is found out.
constexpr double distance_growth = 1.0 / 128;
constexpr double distance_step_ns = 100;
constexpr double took_max_ns = 600e9;

}  // namespace

group_loads::known_group& group_loads::find(group_id group) {
  const auto at = std::lower_bound(
      groups_.begin(), groups_.end(), group, [](const known_group& known, group_id wanted) {
        return known.group < wanted;
      });
  if (at != groups_.end() && at->group == group) return *at;
  known_group fresh;
  fresh.group = group;
  return *groups_.insert(at, fresh);
}

void group_loads::add(group_id group) { find(group); }

std::uint32_t group_loads::sent(group_id group, std::uint32_t pairs) {
  known_group& known = find(group);
  known.in_flight += pairs;
  return known.in_flight - pairs;
}

void group_loads::ended(group_id group, std::uint32_t pairs) {
  known_group& known = find(group);
  ATOLL_ASSERT(pairs <= known.in_flight);
  known.in_flight -= pairs;
}

void group_loads::observe(group_id group,
                          std::uint32_t ahead,
                          std::uint32_t pairs,
                          duration_ns took,
                          std::uint64_t service_ns) {
  known_group& known = find(group);
  const double all_ns = std::clamp(static_cast<double>(took.count()), 0.0, took_max_ns);
  const double way_ns = all_ns - std::min(static_cast<double>(service_ns), all_ns);
  const double grown_ns =
      known.distance_ns + std::max(known.distance_ns * distance_growth, distance_step_ns);
  known.distance_ns = known.distance_ns < 0 ? way_ns : std::min(way_ns, grown_ns);
  const double work = static_cast<double>(ahead) + static_cast<double>(std::max(pairs, 1U));
  known.spent_ns += std::max(all_ns - known.distance_ns, 0.0) - known.spent_ns * fade;
  known.spent_pairs += work - known.spent_pairs * fade;
}

std::uint32_t group_loads::in_flight(group_id group) const {
  const auto at = std::find_if(
      groups_.begin(), groups_.end(), [group](const auto& known) { return known.group == group; });
  return at == groups_.end() ? 0 : at->in_flight;
}

std::span<const group_estimate> group_loads::estimates() {
  double distances = 0;
  double times = 0;
  double count = 0;
  for (const known_group& known : groups_) {
    if (known.distance_ns < 0) continue;
    distances += known.distance_ns;
    times += known.spent_ns / known.spent_pairs;
    ++count;
  }
  count = std::max(count, 1.0);
  estimates_.clear();
  for (const known_group& known : groups_) {
    const bool is_new = known.distance_ns < 0;
    const double pair_ns = is_new ? times / count : known.spent_ns / known.spent_pairs;
    const double distance_ns = is_new ? distances / count : known.distance_ns;
    estimates_.push_back({known.group, distance_ns + known.in_flight * pair_ns, pair_ns});
  }
  return estimates_;
}

}  // namespace atl::cluster
