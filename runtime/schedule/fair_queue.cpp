#include "runtime/schedule/fair_queue.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>

namespace atl::schedule {
namespace {

// Virtual time of one token at share 1: fine enough for shares into the thousands, and 2^47 tokens
// fit before the clock of a level that never runs empty does not.
constexpr std::int64_t token_time = std::int64_t{1} << 16;

std::int64_t time_of(const waiting_request& r) { return r.cost * token_time / r.share; }

}  // namespace

bool fair_queue::push(const waiting_request& request) {
  ATOLL_ASSERT(request.share >= 1);
  ATOLL_ASSERT(request.cost >= 0 && request.cost <= (std::int64_t{1} << 31));
  const turn at{request.is_replay ? 0 : request.urgency, arrivals_++};
  const place where{request.priority, request.tenant, request.is_replay, at};
  if (!places_.emplace(request.id, where).second) return false;
  level& l = levels_[request.priority];
  if (request.is_replay) {
    l.replays.emplace(at, request);
    ++l.waiting;
    return true;
  }
  flow& f = l.flows[request.tenant];
  if (f.requests.empty()) f.clock = std::max(f.clock, l.clock);
  f.requests.emplace(at, request);
  ++l.waiting;
  return true;
}

const waiting_request& fair_queue::first(const level& l) {
  if (!l.replays.empty()) return l.replays.begin()->second;
  const flow* best = nullptr;
  for (const auto& [tenant, f] : l.flows) {
    if (f.requests.empty()) continue;
    if (best != nullptr) {
      const bool is_older =
          f.requests.begin()->first.arrival < best->requests.begin()->first.arrival;
      if (f.clock > best->clock || (f.clock == best->clock && !is_older)) continue;
    }
    best = &f;
  }
  ATOLL_ASSERT(best != nullptr);
  return best->requests.begin()->second;
}

const waiting_request* fair_queue::next() const {
  for (const auto& [priority, l] : levels_)
    if (l.waiting > 0) return &first(l);
  return nullptr;
}

waiting_request fair_queue::pop() {
  const waiting_request* const found = next();
  ATOLL_ASSERT(found != nullptr);
  const waiting_request taken = *found;
  level& l = levels_.at(taken.priority);
  if (!taken.is_replay) {
    flow& f = l.flows.at(taken.tenant);
    l.clock = f.clock;
    f.clock += time_of(taken);
  }
  leave(l, taken.id);
  return taken;
}

bool fair_queue::remove(request_id id) {
  const auto found = places_.find(id);
  if (found == places_.end()) return false;
  leave(levels_.at(found->second.priority), id);
  return true;
}

void fair_queue::leave(level& l, request_id id) {
  const place at = places_.at(id);
  places_.erase(id);
  if (at.is_replay) {
    l.replays.erase(at.turn);
  } else {
    l.flows.at(at.tenant).requests.erase(at.turn);
  }
  --l.waiting;
  if (l.waiting == 0) {
    // Nobody waited for what was given last, so nobody is owed anything.
    levels_.erase(at.priority);
    return;
  }
  std::erase_if(l.flows, [&](const auto& entry) {
    return entry.second.requests.empty() && entry.second.clock <= l.clock;
  });
}

}  // namespace atl::schedule
