// The CPU as a device: a fixed set of worker threads that take chunks of open jobs and short tasks.
//
// There is no leader and no barrier. Whoever ends the last chunk of a phase opens the next one; a
// worker that finds the oldest job without a free chunk helps the next job instead of waiting. An
// idle worker spins for spin_us, so that the short gaps between phases cost no system call, and
// then parks: on a shared machine a stolen core costs its own share and no more.
//
// Order of preference: tasks (actors' turns, microseconds), then chunks of the oldest job.
// Threads: all members may be called from any thread. The destructor waits for everything
// submitted.
#pragma once

#include "runtime/tensor/device.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <thread>

namespace atl::tensor {

class cpu_device final : public device {
public:
  /// threads >= 1.
  explicit cpu_device(int threads);
  ~cpu_device() override;
  cpu_device(const cpu_device&) = delete;
  cpu_device& operator=(const cpu_device&) = delete;

  void submit(job work) override;
  void post(task& short_work) override;
  int workers() const noexcept override { return static_cast<int>(threads_.size()); }
  std::string description() const override;

  void wait_idle() override;

  device_activity activity() const noexcept override {
    return {progress_.load(std::memory_order_relaxed),
            open_jobs_.load(std::memory_order_relaxed) > 0};
  }

private:
  struct open_job {
    job work;
    std::size_t phase = 0;
    std::uint32_t next = 0;     // first chunk of the phase that nobody has taken
    std::uint32_t running = 0;  // chunks taken and not ended
  };
  using job_list = std::list<open_job>;

  /// What a worker has taken: a task, or a chunk of a job (job != end).
  struct assignment {
    task* short_work = nullptr;
    job_list::iterator owner;
    std::uint32_t chunk = 0;
    bool is_chunk = false;
  };

  void run_worker(int index);
  /// Ends the worker's last assignment, if `was_busy`, and takes the next one.
  bool take(assignment& out, bool was_busy);
  void finish_chunk(const assignment& done);
  /// Skips empty phases; true when the job has no phase left. Caller holds mutex_.
  static bool settle(open_job& j);
  /// Announces `items` pieces of new work. Caller holds mutex_.
  void announce(std::size_t items);
  void rest(std::uint64_t seen_version);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<task*> tasks_;
  job_list jobs_;
  job_list spare_;  // nodes kept for reuse
  std::condition_variable idle_;
  int parked_ = 0;
  int busy_ = 0;  // workers with an assignment
  bool stopping_ = false;
  // Incremented under mutex_ whenever work appears; idle workers watch it without the lock.
  // Relaxed: the work itself is read under mutex_.
  std::atomic<std::uint64_t> version_{0};
  std::atomic<std::uint64_t> progress_{0};
  std::atomic<std::int64_t> open_jobs_{0};  // = jobs_.size(), for who does not hold the lock
  std::vector<std::thread> threads_;
};

}  // namespace atl::tensor
