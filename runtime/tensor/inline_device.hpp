// A device without threads: jobs and tasks run in the thread that hands them in, before the call
// returns, unless something is running already; then they queue, and the call that runs takes them
// in turn, without recursion. For simulation, tests and plain loops.
//
// Order: tasks before chunks, tasks among themselves and jobs among themselves first in, first out;
// a job runs from its first phase to done() before the next one starts.
//
// Threads: one at a time.
#pragma once

#include "runtime/tensor/device.hpp"

#include <deque>
#include <string>

namespace atl::tensor {

class inline_device final : public device {
public:
  void submit(job work) override;
  void post(task& short_work) override;
  void wait_idle() override {}
  device_activity activity() const noexcept override { return {chunks_, running_}; }
  int workers() const noexcept override { return 1; }
  std::string description() const override { return "cpu, in the calling thread"; }

private:
  void run();
  void run_tasks();

  std::deque<job> jobs_;
  std::deque<task*> tasks_;
  worker worker_;
  std::uint64_t chunks_ = 0;  // ended
  bool running_ = false;
};

}  // namespace atl::tensor
