#include "runtime/tensor/inline_device.hpp"

#include <cstdint>
#include <utility>

namespace atl::tensor {

void inline_device::submit(job work) {
  jobs_.push_back(std::move(work));
  run();
}

void inline_device::post(task& short_work) {
  tasks_.push_back(&short_work);
  run();
}

void inline_device::run_tasks() {
  while (!tasks_.empty()) {
    task* next = tasks_.front();
    tasks_.pop_front();
    next->run(worker_);
  }
}

void inline_device::run() {
  if (running_) return;
  running_ = true;
  run_tasks();
  while (!jobs_.empty()) {
    const job work = std::move(jobs_.front());
    jobs_.pop_front();
    for (const phase& part : work.phases) {
      for (std::uint32_t chunk = 0; chunk < part.chunks; ++chunk) {
        run_tasks();
        part.body(chunk, worker_);
        ++chunks_;
      }
    }
    if (work.done) work.done();
    run_tasks();
  }
  running_ = false;
}

}  // namespace atl::tensor
