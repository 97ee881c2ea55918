// Makes plans for expert copies (cluster/elastic) on a thread of its own, beside all actors: with
// many experts and nodes one takes a second, and a coordinator that computed it itself would hear
// no heartbeat meanwhile. One after the other, in the order of calls.
#pragma once

#include "actors/control_call.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace atl::actors {

class planner {
public:
  planner();
  /// Waits for the plan that is being made; those behind it are dropped and their `done` is not
  /// called.
  ~planner();
  planner(const planner&) = delete;
  planner& operator=(const planner&) = delete;

  /// From any thread. `done` is called by the planner's.
  void plan(std::shared_ptr<const cluster::elastic_input> input, plan_done done);

private:
  struct job {
    std::shared_ptr<const cluster::elastic_input> input;
    plan_done done;
  };

  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<job> jobs_;
  bool is_ending_ = false;
  std::thread thread_;
};

}  // namespace atl::actors
