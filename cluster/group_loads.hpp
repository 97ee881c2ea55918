// What one router expects of each expert group: how long until rows that it gives now are answered.
// Arithmetic on what was sent and what came back; it asks no clock. Not thread-safe: one owner.
//
// Counted in pairs (row, expert), the unit of the groups' work. A group is taken for a queue:
//   answered after   distance + (pairs in flight there + pairs given now) * time of a pair
// distance: the smallest difference of late between the round trip and the time that the group says
// it computed; time of a pair: (round trip - distance) / (pairs that were ahead + its own),
// averaged over some thirty answers. So rows of other routers, a throttled processor and a full
// network all make a group slow. A group that has not answered yet is expected to be as the others
// on average.
#pragma once

#include "cluster/routing.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/ids.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace atl::cluster {

class group_loads {
public:
  /// Estimates name it from now on.
  void add(group_id group);

  /// Answers how many pairs were in flight there before.
  std::uint32_t sent(group_id group, std::uint32_t pairs);
  /// Answered, or given up; never more than were sent.
  void ended(group_id group, std::uint32_t pairs);
  /// The first answer to a frame of `pairs`, sent behind `ahead` others. `service`: what the group
  /// says of it; believed as far as it is not above the round trip.
  void observe(group_id group,
               std::uint32_t ahead,
               std::uint32_t pairs,
               duration_ns took,
               std::uint64_t service_ns);

  std::uint32_t in_flight(group_id group) const;
  /// By ascending group; valid until the next call of a member.
  std::span<const group_estimate> estimates();

private:
  struct known_group {
    group_id group;
    std::uint32_t in_flight = 0;
    double distance_ns = -1;  // below 0: it has not answered yet
    double spent_ns = 0, spent_pairs = 0;
  };
  known_group& find(group_id group);

  std::vector<known_group> groups_;  // by ascending group
  std::vector<group_estimate> estimates_;
};

}  // namespace atl::cluster
