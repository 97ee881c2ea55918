// Time as a seam: logic asks a clock, never the system. Monotonic; thread-safe.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace atl {

using duration_ns = std::chrono::nanoseconds;

/// Nanoseconds since the clock's own start; never goes back.
struct time_point_ns {
  std::int64_t value = 0;
  friend constexpr auto operator<=>(time_point_ns, time_point_ns) = default;
};

constexpr duration_ns operator-(time_point_ns a, time_point_ns b) {
  return duration_ns{a.value - b.value};
}
constexpr time_point_ns operator+(time_point_ns a, duration_ns d) { return {a.value + d.count()}; }

constexpr double seconds(duration_ns d) { return static_cast<double>(d.count()) * 1e-9; }

class clock {
public:
  virtual ~clock() = default;
  virtual time_point_ns now() const noexcept = 0;
};

/// The machine's monotonic clock.
class steady_clock final : public clock {
public:
  time_point_ns now() const noexcept override;
};

/// Processor time of the thread that asks. Stands still while that thread waits, or a quota or
/// somebody else has the processor. Costs a system call.
class thread_clock final : public clock {
public:
  time_point_ns now() const noexcept override;
};

/// A clock that moves only when told; for simulation and tests.
class virtual_clock final : public clock {
public:
  time_point_ns now() const noexcept override;
  void advance(duration_ns d) noexcept;

private:
  std::atomic<std::int64_t> now_{0};
};

}  // namespace atl
