// Writes the coordinator's records on a thread of its own, so that no actor waits for the disk.
// append() and compact() from any thread; they are carried out in the order of calls.
#pragma once

#include "cluster/journal.hpp"
#include "cluster/records.hpp"
#include "runtime/base/result.hpp"

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace atl::ops {

class journal_writer {
public:
  struct opened;
  /// Reads the journal, or says what is wrong with it; what had to be cut off is logged.
  static result<opened>
  open(std::shared_ptr<disk> files, const std::string& path, const std::string& cluster);
  /// By open().
  journal_writer(std::shared_ptr<disk> files,
                 std::string path,
                 std::string cluster,
                 cluster::journal log);
  /// Carries out what was asked for, then ends.
  ~journal_writer();
  journal_writer(const journal_writer&) = delete;
  journal_writer& operator=(const journal_writer&) = delete;

  /// `done`, from the writer's thread, when all records would outlive a loss of power.
  void append(std::vector<std::string> records, std::function<void(result<void>)> done);
  /// Replaces all that was appended so far by these. Errors are logged; the journal stays as it is.
  void compact(std::vector<std::string> records);
  /// Returns when all that was asked for so far is carried out.
  void wait_idle();
  /// Whether compacting would save much.
  bool should_compact() const;

private:
  struct job {
    std::vector<std::string> records;
    std::function<void(result<void>)> done;  // empty: it compacts
  };

  void work();
  void carry_out(job& what);
  result<void> reopen();
  result<void> write(const std::vector<std::string>& records);

  std::shared_ptr<disk> files_;
  std::string path_;
  std::string cluster_;
  std::optional<cluster::journal> log_;  // of the thread; empty after an error
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<job> jobs_;
  bool is_ending_ = false;
  bool is_busy_ = false;
  bool should_compact_ = false;
  std::thread thread_;
};

struct journal_writer::opened {
  std::unique_ptr<journal_writer> writer;
  cluster::durable_state restored;
};

}  // namespace atl::ops
