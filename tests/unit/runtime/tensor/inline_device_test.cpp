#include "runtime/tensor/inline_device.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>

namespace atl::tensor {
namespace {

class note final : public task {
public:
  explicit note(std::function<void()> what) : what_{std::move(what)} {}
  void run(worker&) override { what_(); }

private:
  std::function<void()> what_;
};

phase write(std::string& log, char mark, std::uint32_t chunks) {
  return {chunks,
          [&log, mark](std::uint32_t chunk, worker&) { log += mark + std::to_string(chunk); }};
}

TEST(inline_device, runs_every_chunk_of_every_phase_in_order_before_it_returns) {
  inline_device device;
  std::string log;
  device.submit(
      {{write(log, 'a', 2), write(log, 'b', 0), write(log, 'c', 1)}, [&] { log += "d"; }});
  EXPECT_EQ(log, "a0a1c0d");
}

TEST(inline_device, a_job_without_phases_or_completion_ends) {
  inline_device device;
  bool done = false;
  device.submit({{}, [&] { done = true; }});
  EXPECT_TRUE(done);
  device.submit({});
}

TEST(inline_device, work_handed_in_while_running_waits_its_turn) {
  inline_device device;
  std::string log;
  note posted{[&] { log += "t"; }};
  job outer;
  outer.phases.push_back({2, [&](std::uint32_t chunk, worker&) {
                            log += "(";
                            if (chunk == 0) {
                              device.submit({{write(log, 'i', 1)}, [&] { log += "D"; }});
                              device.post(posted);
                            }
                            log += ")";
                          }});
  outer.done = [&] {
    log += "d";
    device.submit({{write(log, 'j', 1)}, {}});
  };
  device.submit(std::move(outer));
  EXPECT_EQ(log, "()t()di0Dj0");
}

TEST(inline_device, a_chain_of_completions_does_not_recurse) {
  inline_device device;
  int left = 200000;
  std::function<void()> next = [&] {
    if (--left > 0) device.submit({{}, next});
  };
  device.submit({{}, next});
  EXPECT_EQ(left, 0);
}

TEST(inline_device, a_task_runs_at_once_when_nothing_else_does) {
  inline_device device;
  int runs = 0;
  note posted{[&] { ++runs; }};
  device.post(posted);
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(device.workers(), 1);
}

}  // namespace
}  // namespace atl::tensor
