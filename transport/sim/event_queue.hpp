// What happens next in virtual time: events ordered by time, then by when they were added, so that
// a run repeats exactly. Time moves only here. For one thread.
#pragma once

#include "runtime/base/clock.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>

namespace atl::transport {

class event_queue {
public:
  explicit event_queue(std::shared_ptr<virtual_clock> time);

  time_point_ns now() const noexcept { return time_->now(); }
  /// Adds an event; one for the past happens next, at the present time.
  void at(time_point_ns when, std::function<void()> run);
  std::optional<time_point_ns> next_time() const;
  /// Moves time to the next event and runs it; false when there is none.
  bool step();
  /// Runs every event up to `time`, those added meanwhile included, then moves time there.
  void run_until(time_point_ns time);

private:
  std::shared_ptr<virtual_clock> time_;
  std::multimap<time_point_ns, std::function<void()>> events_;
};

}  // namespace atl::transport
