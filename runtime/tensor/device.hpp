// A device runs jobs asynchronously: work goes in, a completion comes out, and nobody waits in
// between.
//
// A job is a list of phases; a phase is a number of chunks that may run in any order, at once, on
// any worker. A phase starts when every chunk of the one before it has ended, so a phase sees all
// that earlier phases wrote. Several jobs may be open together; workers take chunks from whichever
// has some, oldest job first.
//
// What a chunk computes must not depend on which worker runs it or when: results are then the same
// for any number of workers.
//
// Threads: submit() and post() may be called from any thread, workers included, and never block.
// Bodies and completions run on the device's workers; a completion must be short (it usually sends
// one message).
#pragma once

#include "runtime/base/memory.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace atl::tensor {

/// What a running chunk may use for itself.
struct worker {
  int index = 0;           // 0 .. device.workers()-1
  aligned_buffer scratch;  // grown by reserve(); content is lost between chunks
};

struct phase {
  std::uint32_t chunks = 0;  // 0: the phase is skipped
  std::function<void(std::uint32_t chunk, worker&)> body;
};

struct job {
  std::vector<phase> phases;
  std::function<void()> done;  // runs once, on a worker, after the last phase
};

/// A short piece of work that is not part of a job: an actor's turn. run() is called once.
class task {
public:
  virtual void run(worker&) = 0;

protected:
  ~task() = default;
};

/// What tells a device at work from one that stands still.
struct device_activity {
  std::uint64_t progress = 0;  // chunks ended since the start
  bool is_busy = false;        // jobs are queued or running
};

class device {
public:
  virtual ~device() = default;

  virtual void submit(job work) = 0;
  /// Runs the task soon, before any chunk that no worker has taken yet. The task must stay alive
  /// until it has run.
  virtual void post(task& short_work) = 0;

  /// Returns at a moment when nothing is queued and no worker is inside a chunk, a task or a
  /// completion: whatever those captured is gone. Call from no worker.
  virtual void wait_idle() = 0;

  /// Takes no lock: may be asked often, from anywhere.
  virtual device_activity activity() const noexcept = 0;
  virtual int workers() const noexcept = 0;
  /// For people: "cpu, 2 threads".
  virtual std::string description() const = 0;
};

}  // namespace atl::tensor
