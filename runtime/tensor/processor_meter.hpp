// Processor time that the chunks of jobs use, whatever they wait for: under a quota of processors,
// time by the wall is either that of a burst or that of a pause. The process's own clock says too
// little: it leaves out what a running thread has used since its last tick, some milliseconds.
//
// Threads: measure() and used() by one thread; used() after the measured job has ended.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/tensor/device.hpp"

#include <vector>

namespace atl::tensor {

class processor_meter {
public:
  /// For a device with so many workers.
  explicit processor_meter(int workers);

  /// Makes the job's chunks count, from zero. One job at a time; the meter outlives it.
  void measure(job& work);
  /// Of all workers together.
  duration_ns used() const noexcept;

private:
  struct alignas(64) slot {
    duration_ns used{0};
  };

  thread_clock time_;
  std::vector<slot> by_worker_;
};

}  // namespace atl::tensor
