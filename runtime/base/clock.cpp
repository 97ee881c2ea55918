#include "runtime/base/clock.hpp"

#include "runtime/base/assert.hpp"

#include <time.h>

namespace atl {

time_point_ns steady_clock::now() const noexcept {
  const auto t = std::chrono::steady_clock::now().time_since_epoch();
  return {std::chrono::duration_cast<duration_ns>(t).count()};
}

time_point_ns thread_clock::now() const noexcept {
  timespec used{};
  ATOLL_ASSERT(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
  return {std::int64_t{used.tv_sec} * 1'000'000'000 + used.tv_nsec};
}

time_point_ns virtual_clock::now() const noexcept { return {now_.load(std::memory_order_acquire)}; }

void virtual_clock::advance(duration_ns d) noexcept {
  ATOLL_ASSERT(d.count() >= 0);
  now_.fetch_add(d.count(), std::memory_order_acq_rel);
}

}  // namespace atl
