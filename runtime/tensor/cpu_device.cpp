#include "runtime/tensor/cpu_device.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/base/thread_name.hpp"

#include <algorithm>
#include <utility>

namespace atl::tensor {
namespace {

// About 40 us of pauses: longer than the gap between two phases or the turn of an actor (1 to 10
// us), far shorter than a time slice (1 ms and more).
constexpr int spins_before_parking = 1000;

inline void cpu_pause() { __builtin_ia32_pause(); }

}  // namespace

cpu_device::cpu_device(int threads) {
  ATOLL_ASSERT(threads >= 1);
  threads_.reserve(static_cast<std::size_t>(threads));
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this, i] { run_worker(i); });
}

cpu_device::~cpu_device() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
    announce(threads_.size());
  }
  for (auto& thread : threads_) thread.join();
}

std::string cpu_device::description() const {
  return "cpu, " + std::to_string(threads_.size()) +
         (threads_.size() == 1 ? " thread" : " threads");
}

void cpu_device::announce(std::size_t items) {
  version_.fetch_add(1, std::memory_order_relaxed);
  const auto sleepers = static_cast<std::size_t>(parked_);
  if (sleepers == 0) return;
  if (items >= sleepers) {
    wake_.notify_all();
  } else {
    for (std::size_t i = 0; i < items; ++i) wake_.notify_one();
  }
}

bool cpu_device::settle(open_job& j) {
  while (j.phase < j.work.phases.size() && j.work.phases[j.phase].chunks == 0) ++j.phase;
  return j.phase == j.work.phases.size();
}

void cpu_device::submit(job work) {
  const std::lock_guard lock{mutex_};
  ATOLL_ASSERT(!stopping_);
  if (spare_.empty()) spare_.emplace_back();
  open_job& j = spare_.front();
  j.work = std::move(work);
  j.phase = 0;
  j.next = 0;
  j.running = 0;
  if (settle(j)) {
    // Nothing to compute: a phase of one empty chunk brings the completion to a worker.
    j.work.phases.push_back({1, [](std::uint32_t, worker&) {}});
  }
  const std::size_t chunks = j.work.phases[j.phase].chunks;
  jobs_.splice(jobs_.end(), spare_, spare_.begin());
  open_jobs_.fetch_add(1, std::memory_order_relaxed);
  announce(chunks);
}

void cpu_device::post(task& short_work) {
  const std::lock_guard lock{mutex_};
  tasks_.push_back(&short_work);
  announce(1);
}

void cpu_device::wait_idle() {
  std::unique_lock lock{mutex_};
  idle_.wait(lock, [this] { return busy_ == 0 && tasks_.empty() && jobs_.empty(); });
}

bool cpu_device::take(assignment& out, bool was_busy) {
  const std::lock_guard lock{mutex_};
  if (was_busy) --busy_;
  if (!tasks_.empty()) {
    out.short_work = tasks_.front();
    out.is_chunk = false;
    tasks_.pop_front();
    ++busy_;
    return true;
  }
  for (auto it = jobs_.begin(); it != jobs_.end(); ++it) {
    if (it->next == it->work.phases[it->phase].chunks) continue;
    out.owner = it;
    out.chunk = it->next++;
    out.is_chunk = true;
    ++it->running;
    ++busy_;
    return true;
  }
  if (busy_ == 0 && jobs_.empty()) idle_.notify_all();
  return false;
}

void cpu_device::finish_chunk(const assignment& done) {
  std::function<void()> completion;
  job_list finished;
  {
    const std::lock_guard lock{mutex_};
    open_job& j = *done.owner;
    ATOLL_ASSERT(j.running > 0);
    --j.running;
    if (j.running > 0 || j.next < j.work.phases[j.phase].chunks) return;
    ++j.phase;
    j.next = 0;
    if (!settle(j)) {
      announce(j.work.phases[j.phase].chunks - 1);  // this worker takes one itself
      return;
    }
    finished.splice(finished.begin(), jobs_, done.owner);
    open_jobs_.fetch_sub(1, std::memory_order_relaxed);
  }
  // The completion may submit more work, so it runs without the lock; what the job captured dies
  // here too.
  completion = std::move(finished.front().work.done);
  finished.front().work = {};
  if (completion) completion();
  const std::lock_guard lock{mutex_};
  spare_.splice(spare_.end(), finished);
}

void cpu_device::rest(std::uint64_t seen_version) {
  for (int i = 0; i < spins_before_parking; ++i) {
    if (version_.load(std::memory_order_relaxed) != seen_version) return;
    cpu_pause();
  }
  std::unique_lock lock{mutex_};
  while (version_.load(std::memory_order_relaxed) == seen_version) {
    if (stopping_ && jobs_.empty() && tasks_.empty()) return;
    ++parked_;
    wake_.wait(lock);
    --parked_;
  }
}

void cpu_device::run_worker(int index) {
  name_this_thread("worker");
  worker self;
  self.index = index;
  bool was_busy = false;
  for (;;) {
    const std::uint64_t seen = version_.load(std::memory_order_relaxed);
    assignment work;
    if (take(work, was_busy)) {
      was_busy = true;
      if (work.is_chunk) {
        const open_job& j = *work.owner;
        j.work.phases[j.phase].body(work.chunk, self);
        progress_.fetch_add(1, std::memory_order_relaxed);
        finish_chunk(work);
      } else {
        work.short_work->run(self);
      }
      continue;
    }
    was_busy = false;
    {
      const std::lock_guard lock{mutex_};
      if (stopping_ && jobs_.empty() && tasks_.empty()) {
        announce(threads_.size());  // the others may leave too
        return;
      }
    }
    rest(seen);
  }
}

}  // namespace atl::tensor
