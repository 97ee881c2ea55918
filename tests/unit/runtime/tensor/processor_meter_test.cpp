#include "runtime/tensor/cpu_device.hpp"
#include "runtime/tensor/processor_meter.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>

namespace atl::tensor {
namespace {

using std::chrono::milliseconds;

void compute(duration_ns wanted) {
  const thread_clock processor;
  const time_point_ns until = processor.now() + wanted;
  while (processor.now() < until) {
  }
}

void wait(duration_ns wanted) {
  const steady_clock time;
  const time_point_ns until = time.now() + wanted;
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock{mutex};
  while (time.now() < until) never.wait_for(lock, wanted);
}

duration_ns measured(device& on, processor_meter& meter, job work) {
  meter.measure(work);
  std::promise<void> ended;
  work.done = [&ended] { ended.set_value(); };
  on.submit(std::move(work));
  ended.get_future().wait();
  return meter.used();
}

TEST(processor_meter, adds_up_what_all_chunks_of_all_phases_used) {
  cpu_device device{2};
  processor_meter meter{device.workers()};
  const auto five = [](std::uint32_t, worker&) { compute(milliseconds{5}); };
  for (int i = 0; i < 2; ++i) {  // each job from zero
    const duration_ns used = measured(device, meter, {{{3, five}, {0, five}, {1, five}}, {}});
    EXPECT_GE(used, milliseconds{20});
    EXPECT_LT(used, milliseconds{22});
  }
}

TEST(processor_meter, does_not_count_what_waits) {
  cpu_device device{1};
  processor_meter meter{device.workers()};
  const auto body = [](std::uint32_t, worker&) {
    compute(milliseconds{2});
    wait(milliseconds{30});
  };
  const duration_ns used = measured(device, meter, {{{1, body}}, {}});
  EXPECT_GE(used, milliseconds{2});
  EXPECT_LT(used, milliseconds{10});
}

}  // namespace
}  // namespace atl::tensor
