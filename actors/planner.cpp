#include "actors/planner.hpp"

#include "cluster/elastic/elastic.hpp"
#include "runtime/base/thread_name.hpp"

#include <utility>

namespace atl::actors {

planner::planner() : thread_{[this] { work(); }} {}

planner::~planner() {
  {
    const std::lock_guard lock{mutex_};
    is_ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void planner::plan(std::shared_ptr<const cluster::elastic_input> input, plan_done done) {
  {
    const std::lock_guard lock{mutex_};
    jobs_.push_back({std::move(input), std::move(done)});
  }
  changed_.notify_all();
}

void planner::work() {
  name_this_thread("atoll-planner");
  for (;;) {
    job next;
    {
      std::unique_lock lock{mutex_};
      changed_.wait(lock, [this] { return is_ending_ || !jobs_.empty(); });
      if (is_ending_) return;
      next = std::move(jobs_.front());
      jobs_.pop_front();
    }
    next.done(cluster::plan_elastic(*next.input));
  }
}

}  // namespace atl::actors
