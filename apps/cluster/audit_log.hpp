// Who changed what in the cluster, when and how it went: a JSON object a line in PATH.jsonl,
// numbered without gaps, each on the disk before the one who asked is told of a success. Where the
// file has grown to its limit it becomes PATH.1.jsonl, in place of the one before. Secrets are
// never in it.
//
// Threads: a thread of its own writes; all members from any thread, none of them waits for the
// disk but open() and the destructor.
#pragma once

#include "runtime/base/disk.hpp"
#include "runtime/base/result.hpp"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace atl::ops {

struct audit_entry {
  std::int64_t unix_ms = 0;
  std::string who;   // a key's name, or what a machine showed
  std::string from;  // address
  std::string what;  // "POST /api/v1/nodes/3/drain"
  std::string body;  // JSON that was asked with, without secrets; may be empty
  int status = 0;    // of HTTP
  std::string outcome;
  std::optional<std::uint64_t> operation;
};

class audit_log {
public:
  static constexpr std::size_t kept = 1024;  // in memory
  static constexpr std::size_t file_bytes_max = std::size_t{4} << 20;
  static constexpr std::size_t body_bytes_max = 2048;  // of an entry; a longer one is left out

  /// Goes on where the file ends. A line that the process before left unfinished is cut off, and
  /// one that does not read is passed over; both are logged.
  static result<std::unique_ptr<audit_log>> open(std::shared_ptr<disk> files,
                                                 const std::string& path);
  audit_log(std::shared_ptr<disk> files, std::string path);  // by open()
  ~audit_log();
  audit_log(const audit_log&) = delete;
  audit_log& operator=(const audit_log&) = delete;

  /// `done`, from the writer's thread, when the entry would outlive a loss of power, or could not
  /// be written: then it is kept and tried again by look(), and trouble() says so meanwhile.
  void append(audit_entry entry, std::function<void()> done);
  void look();
  std::optional<error> trouble() const;
  /// Returns when all that was asked for so far was tried.
  void wait_idle();

  struct page {
    std::vector<std::string> lines;
    std::uint64_t last = 0;            // number of the latest entry of all
    std::uint64_t complete_since = 0;  // entries after that one are in memory
  };
  /// The first entries after that number, so many at most; the latest ones where it is 0.
  page since(std::uint64_t number, std::size_t limit) const;

private:
  struct job {
    std::string line;  // empty: it only tries again
    std::function<void()> done;
  };

  result<void> load();
  void take_lines(const std::string& text, const std::string& name);
  void keep(std::uint64_t number, std::string line);
  void work();
  result<void> write();
  result<void> rotate();

  std::shared_ptr<disk> files_;
  std::string path_;
  std::unique_ptr<file_appender> file_;  // of the thread; null after an error
  std::uint64_t good_bytes_ = 0;         // of the thread: what is known to be on the disk
  std::string unwritten_;                // of the thread
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<job> jobs_;
  std::deque<std::string> lines_;  // the latest; the last of them is number last_
  std::uint64_t last_ = 0;
  std::optional<error> trouble_;
  bool is_busy_ = false, is_ending_ = false;
  std::thread thread_;
};

}  // namespace atl::ops
