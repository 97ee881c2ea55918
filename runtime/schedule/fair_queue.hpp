// Requests that wait for a shard, and who is next: the higher priority first; within one priority
// each tenant gets its share of the tokens; within one tenant the more urgent first, then first
// come, first served. A priority is given to a tenant, urgency is its own affair: it takes nothing
// from others. Pure state; one owner.
//
// Shares are start-time fair queueing (Goyal, Vin, Cheng 1996), one virtual time for each priority:
// a tenant's clock moves by cost / share for each of its requests that is taken, and the tenant
// with the smallest clock is next (of equals the one whose request came first). A tenant that comes
// back starts at the level's clock, so that being away earns nothing. So, while two tenants wait,
// what they have got, divided by their shares, differs by at most one request of each.
//
// A replay (a request that was at a shard which is lost) goes before all others of its priority, in
// order of arrival, and its tenant is not charged again.
//
// No tenant starves within a priority. A lower priority waits for as long as a higher one has
// requests. Whoever fills the queue bounds it (admission.hpp).
#pragma once

#include "runtime/base/ids.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>

namespace atl::schedule {

struct waiting_request {
  request_id id;
  std::uint32_t tenant = 0;
  std::uint32_t share = 1;  // >= 1; of this tenant against the others
  int priority = 0;         // higher is served first
  std::int64_t cost = 0;    // tokens: prompt and to come; in [0, 2^31]
  int urgency = 0;          // higher goes before within the tenant
  bool is_replay = false;   // it was taken before, and charged
};

class fair_queue {
public:
  /// False if the id waits already.
  bool push(const waiting_request& request);

  /// Who is next; null if nobody waits. Valid until the next change.
  const waiting_request* next() const;

  /// Takes next(). There is one.
  waiting_request pop();

  /// Takes a request out of its turn and charges nobody for it. False if it does not wait.
  bool remove(request_id id);

  std::size_t size() const noexcept { return places_.size(); }

private:
  struct turn {
    int urgency = 0;
    std::uint64_t arrival = 0;
    bool operator<(const turn& other) const noexcept {
      return urgency != other.urgency ? urgency > other.urgency : arrival < other.arrival;
    }
  };
  struct flow {
    std::map<turn, waiting_request> requests;
    std::int64_t clock = 0;
  };
  struct level {
    std::map<turn, waiting_request> replays;
    std::map<std::uint32_t, flow> flows;  // by tenant; idle ones while they are ahead of the clock
    std::int64_t clock = 0;
    std::size_t waiting = 0;
  };
  struct place {
    int priority = 0;
    std::uint32_t tenant = 0;
    bool is_replay = false;
    fair_queue::turn turn;
  };

  static const waiting_request& first(const level& l);
  void leave(level& l, request_id id);

  std::map<int, level, std::greater<>> levels_;
  std::map<request_id, place> places_;
  std::uint64_t arrivals_ = 0;
};

}  // namespace atl::schedule
