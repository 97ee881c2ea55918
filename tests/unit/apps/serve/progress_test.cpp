#include "apps/serve/progress.hpp"

#include <gtest/gtest.h>

namespace atl::serve {
namespace {

using std::chrono::seconds;

server_sample sample(std::uint64_t requests, std::uint64_t steps, std::uint64_t rows) {
  server_sample s;
  s.usage.requests = requests;
  s.usage.pages_total = 8;
  s.counters.steps = steps;
  s.counters.expert_rows = {{}, {rows, 1}};
  return s;
}

time_point_ns at(int s) { return time_point_ns{1'000'000'000'000} + seconds{s}; }

TEST(progress, a_server_without_work_is_never_stalled) {
  progress_watch w;
  for (int s = 0; s < 1000; s += 100) EXPECT_FALSE(w.is_stalled(sample(0, 5, 5), at(s)));
  EXPECT_FALSE(w.is_stalled(sample(1, 5, 5), at(1000 - 80)));
}

TEST(progress, work_that_stands_still_is_told_after_its_time) {
  progress_watch w;
  EXPECT_FALSE(w.is_stalled(sample(1, 5, 5), at(0))) << "the first look knows nothing yet";
  EXPECT_FALSE(w.is_stalled(sample(1, 5, 5), at(30)));
  EXPECT_TRUE(w.is_stalled(sample(1, 5, 5), at(31)));
  EXPECT_FALSE(w.is_stalled(sample(1, 6, 5), at(32))) << "it goes on";
}

TEST(progress, what_other_nodes_compute_is_not_judged) {
  progress_watch w;
  for (int s = 0; s < 300; s += 20) {
    server_sample gateway = sample(1, 0, 0);
    gateway.usage.pages_total = 0;
    EXPECT_FALSE(w.is_stalled(gateway, at(s))) << s;
  }
}

TEST(progress, a_long_step_is_no_stall) {
  progress_watch w;
  for (int s = 0; s < 300; s += 20)
    EXPECT_FALSE(w.is_stalled(sample(1, 5, static_cast<std::uint64_t>(s)), at(s))) << s;
}

}  // namespace
}  // namespace atl::serve
