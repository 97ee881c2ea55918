#include "transport/sim/event_queue.hpp"

#include <algorithm>
#include <utility>

namespace atl::transport {

event_queue::event_queue(std::shared_ptr<virtual_clock> time) : time_{std::move(time)} {}

void event_queue::at(time_point_ns when, std::function<void()> run) {
  events_.emplace(std::max(when, now()), std::move(run));
}

std::optional<time_point_ns> event_queue::next_time() const {
  if (events_.empty()) return std::nullopt;
  return events_.begin()->first;
}

bool event_queue::step() {
  if (events_.empty()) return false;
  auto next = events_.extract(events_.begin());
  // The clock may have been moved past the event by its other users.
  if (next.key() > now()) time_->advance(next.key() - now());
  next.mapped()();
  return true;
}

void event_queue::run_until(time_point_ns time) {
  while (!events_.empty() && events_.begin()->first <= time) step();
  if (time > now()) time_->advance(time - now());
}

}  // namespace atl::transport
