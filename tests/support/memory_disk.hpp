// A disk in memory that can fail, fill up and lose power. Files by full path; a directory is there
// where a path goes through it. Thread-safe, except that crash() and faults are set while no other
// call is under way.
//
// What sync() or commit() acknowledged outlives crash(). Of what was written since, any prefix may
// be there, its last sector damaged. After a failed sync the kernel has given the written pages up:
// they can still be read, a later sync succeeds, and yet they are gone after a crash.
#pragma once

#include "runtime/base/disk.hpp"
#include "runtime/base/random.hpp"

#include <functional>
#include <limits>
#include <memory>
#include <string>

namespace atl::test {

enum class disk_operation { read, create, write, sync, rename, sync_folder, append, truncate };

class memory_disk final : public disk {
public:
  memory_disk();

  result<std::shared_ptr<const mapped_file>> map(const std::string& path) override;
  result<std::string> read(const std::string& path, std::size_t bytes_max) override;
  result<std::unique_ptr<file_writer>> create(const std::string& path) override;
  result<std::unique_ptr<file_appender>> append(const std::string& path) override;
  bool is_file(const std::string& path) override;
  bool is_directory(const std::string& path) override;
  result<std::vector<std::string>> list(const std::string& path) override;

  /// Asked before each operation on a path; true: it fails with errc::io. A write then leaves the
  /// first half of its bytes; a folder's sync comes after the rename.
  using fault = std::function<bool(disk_operation, const std::string& path)>;
  void set_fault(fault fails);
  /// Room for all files together. A write beyond it leaves what fits and fails.
  void set_capacity(std::uint64_t bytes);
  /// Loss of power. Files open before it answer errc::io from then on; files being created are
  /// gone.
  void crash(random_source& random);

  /// For tests that look at files, or damage them. What is set is durable.
  std::string content(const std::string& path) const;
  void set_content(const std::string& path, std::string content);

  struct state;

private:
  std::shared_ptr<state> state_;
};

}  // namespace atl::test
