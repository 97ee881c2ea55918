#include "runtime/tensor/processor_meter.hpp"

#include "runtime/base/assert.hpp"

#include <utility>

namespace atl::tensor {

processor_meter::processor_meter(int workers) {
  ATOLL_ASSERT(workers >= 1);
  by_worker_.resize(static_cast<std::size_t>(workers));
}

void processor_meter::measure(job& work) {
  for (slot& s : by_worker_) s = {};
  for (phase& p : work.phases)
    p.body = [this, body = std::move(p.body)](std::uint32_t chunk, worker& on) {
      const time_point_ns began = time_.now();
      body(chunk, on);
      by_worker_[static_cast<std::size_t>(on.index)].used += time_.now() - began;
    };
}

duration_ns processor_meter::used() const noexcept {
  duration_ns all{0};
  for (const slot& s : by_worker_) all += s.used;
  return all;
}

}  // namespace atl::tensor
