// The coordinator's memory: records in one file, each on the disk before append() returns. What a
// record means is its writer's business. Calls block: never call one from an actor's handler. One
// owner, one process at a time.
//
//   header   "ATOLJRNL" | checksum u64 | version u32 | length of the cluster id u32 |
//            bytes at the last compaction u64 | first sequence u64 | cluster id
//   record   checksum u64 | length u64 | sequence u64 | bytes
//   checksum XXH3-64 of all that follows it in the header or record; sequences count on by one
//   all numbers little-endian
//
// A crash in the middle of an append leaves a torn record at the end: open() cuts it off and says
// so. Anything else that does not check is damage: acknowledged records are gone, and open()
// refuses the file.
#pragma once

#include "runtime/base/disk.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace atl::cluster {

using journal_record = std::vector<std::byte>;

class journal {
public:
  static constexpr std::size_t record_bytes_max = 1 << 20;
  /// Appending ends here; compaction keeps a journal far below.
  static constexpr std::size_t file_bytes_max = 1 << 28;
  static constexpr std::size_t cluster_id_bytes_max = 256;

  struct opened;
  /// Reads the file, or makes one if there is none. errc::invalid_argument: it is another
  /// cluster's; errc::unsupported: a later version's; errc::io: damaged (the message names file,
  /// byte and remedy), or the disk refused.
  static result<opened>
  open(std::shared_ptr<disk> files, const std::string& path, const std::string& cluster_id);

  /// Returns when the record would outlive a loss of power. After an error the earlier ones are
  /// there, and the journal refuses more until it is opened anew: that tells whether this one is,
  /// which happens only where the disk failed twice.
  /// errc::invalid_argument: too long; errc::overloaded: the file is full, compact it.
  result<void> append(std::span<const std::byte> record);

  /// After an error: what the failed append left may be read, and yet not be on the disk.
  bool is_in_doubt() const noexcept { return is_in_doubt_; }
  /// Writes the records that open() read anew, and with them all that was in doubt: what comes
  /// after them would show a gap once the power fails. As safe as compact().
  result<void> settle(std::span<const journal_record> records);

  /// Whether the file has grown to more than four times what the last compaction left.
  bool should_compact() const noexcept;
  /// Replaces all records by these, at once: after a crash or an error the old ones are there or
  /// the new. Where it is not known which (an error at the very end), the journal refuses more
  /// until it is opened anew.
  result<void> compact(std::span<const journal_record> records);

private:
  journal(std::shared_ptr<disk> files, std::string path, std::string cluster_id);
  result<void> write_anew(std::span<const journal_record> records, std::uint64_t compact_bytes);

  std::shared_ptr<disk> files_;
  std::string path_;
  std::string cluster_id_;
  std::unique_ptr<file_appender> end_;  // null: refuses until opened anew
  std::uint64_t next_sequence_ = 1;
  std::uint64_t compact_bytes_ = 0;
  bool is_in_doubt_ = false;
};

struct journal::opened {
  journal log;
  std::vector<journal_record> records;
  /// What was cut off, to be logged; empty if nothing was.
  std::string cut;
};

}  // namespace atl::cluster
