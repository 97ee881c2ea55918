// Writes the coordinator's records on a thread of its own, so that no actor waits for the disk.
// append(), compact() and look() from any thread; they are carried out in the order of calls.
//
// Beside the journal lies a file of spare bytes, PATH.spare. Where the disk is full they are given
// up, so that what the coordinator had decided by then can still be written down; until the file is
// filled again trouble() says that there is no room, and nothing new should be decided.
#pragma once

#include "cluster/journal.hpp"
#include "cluster/records.hpp"
#include "runtime/base/disk.hpp"
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
  /// By open(). Without a journal it reads and settles it first.
  journal_writer(std::shared_ptr<disk> files,
                 std::string path,
                 std::string cluster,
                 std::optional<cluster::journal> log);
  /// Carries out what was asked for, then ends.
  ~journal_writer();
  journal_writer(const journal_writer&) = delete;
  journal_writer& operator=(const journal_writer&) = delete;

  /// `done`, from the writer's thread, when all records would outlive a loss of power.
  void append(std::vector<std::string> records, std::function<void(result<void>)> done);
  /// Replaces all that was appended so far by these. Errors are logged; the journal stays as it is.
  void compact(std::vector<std::string> records);
  /// Fills the spare file again where it had to be given up. Cheap where it had not.
  void look();
  /// Returns when all that was asked for so far is carried out.
  void wait_idle();
  /// The same; what is appended from then on is refused at once, on the caller's thread.
  void close();
  /// Why changes cannot be written down, or can no more soon; empty: they can. Logged where it
  /// begins and ends.
  std::optional<error> trouble() const;
  /// Whether compacting would save much.
  bool should_compact() const;

private:
  struct job {
    std::vector<std::string> records;
    std::function<void(result<void>)> done;  // empty: it compacts
    bool is_look = false;
  };

  void work();
  void carry_out(job& what);
  void add(job what);
  void append_all(job& what);
  void compact_all(const job& what);
  result<void> reopen();
  /// From the record on that is not written yet; counts on.
  result<void> write(const std::vector<std::string>& records, std::size_t& written);
  result<void> fill_spare();
  void note(const result<void>& outcome, std::optional<error>& kept, const char* what);

  std::shared_ptr<disk> files_;
  std::string path_;
  std::string cluster_;
  std::optional<cluster::journal> log_;  // of the thread; empty after an error
  bool is_in_doubt_;                     // of the thread: the file may hold what is not on the disk
  std::unique_ptr<file_appender> spare_;  // of the thread; null where it is not full
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<job> jobs_;
  bool is_ending_ = false;
  bool is_closed_ = false;
  bool is_busy_ = false;
  bool should_compact_ = false;
  std::optional<error> append_trouble_, compact_trouble_, spare_trouble_;
  std::thread thread_;
};

struct journal_writer::opened {
  std::unique_ptr<journal_writer> writer;
  cluster::durable_state restored;
};

}  // namespace atl::ops
