// Files as a seam: everything that reads or writes one goes through a disk, so that tests can fill
// it, cut it or fail it. Thread-safe. Paths are the operating system's. Calls block: never call one
// from an actor's handler.
#pragma once

#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace atl {

/// Bytes of a file mapped read-only; the mapping lives as long as the object.
class mapped_file {
public:
  virtual ~mapped_file() = default;
  virtual std::span<const std::byte> bytes() const noexcept = 0;
  /// Brings [offset, offset + length) into memory; returns when it is there. Used to load with
  /// progress.
  virtual result<void> populate(std::size_t offset, std::size_t length) const = 0;
  /// [offset, offset + length) has been read: this process gives its pages back. The bytes
  /// may still be read, from the file again. Does not block.
  virtual void forget(std::size_t offset, std::size_t length) const noexcept {
    static_cast<void>(offset);
    static_cast<void>(length);
  }
};

/// A file being written under a temporary name. It appears under its final name at commit(), whole,
/// or never: destruction without commit removes it. Once commit() has returned it outlives a loss
/// of power; if commit() fails, the old file or the new one is there. One that is there already
/// keeps its permissions. Symbolic links are followed. What is there and is no regular file (a
/// device, a pipe) is written to as it is and keeps its place.
class file_writer {
public:
  virtual ~file_writer() = default;
  virtual result<void> write(std::span<const std::byte> data) = 0;
  virtual result<void> commit() = 0;
};

/// A regular file that grows at its end. One owner. After a failure nobody knows how much of what
/// was written since the last sync() is there: truncate() or open anew, and look.
class file_appender {
public:
  virtual ~file_appender() = default;
  virtual std::uint64_t size() const noexcept = 0;
  virtual result<void> write(std::span<const std::byte> data) = 0;
  /// Returns when all that was written would outlive a loss of power.
  virtual result<void> sync() = 0;
  virtual result<void> truncate(std::uint64_t size) = 0;
};

class disk {
public:
  virtual ~disk() = default;
  virtual result<std::shared_ptr<const mapped_file>> map(const std::string& path) = 0;
  /// Whole file as text; refuses files larger than bytes_max.
  virtual result<std::string> read(const std::string& path, std::size_t bytes_max) = 0;
  virtual result<std::unique_ptr<file_writer>> create(const std::string& path) = 0;
  /// A file that is there already; errc::not_found otherwise.
  virtual result<std::unique_ptr<file_appender>> append(const std::string& path) = 0;
  virtual bool is_file(const std::string& path) = 0;
  virtual bool is_directory(const std::string& path) = 0;
  /// Names (not paths) of the entries of a directory, sorted bytewise.
  virtual result<std::vector<std::string>> list(const std::string& path) = 0;
};

/// The machine's own file system.
std::shared_ptr<disk> system_disk();

/// Reads a file of the machine to its end, block by block, keeps nothing, and tells its bytes: what
/// `dd of=/dev/null` does, for measuring.
result<std::uint64_t> read_through(const std::string& path, std::size_t block_bytes);

}  // namespace atl
