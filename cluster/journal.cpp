#include "cluster/journal.hpp"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

namespace atl::cluster {

namespace {

constexpr char magic[8] = {'A', 'T', 'O', 'L', 'J', 'R', 'N', 'L'};
constexpr std::uint32_t version = 1;
constexpr std::size_t header_bytes = 40;  // without the cluster id
constexpr std::size_t record_header_bytes = 24;
/// Below this a compaction saves nothing worth it.
constexpr std::uint64_t compact_bytes_min = 64 << 10;

using bytes_view = std::span<const std::byte>;

template <class T>
void put(std::byte* to, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) to[i] = static_cast<std::byte>(value >> (8 * i));
}

template <class T>
T get(const std::byte* from) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i)
    value |= static_cast<T>(std::to_integer<T>(from[i]) << (8 * i));
  return value;
}

std::uint64_t hash(bytes_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::vector<std::byte> make_header(const std::string& cluster_id,
                                   std::uint64_t compact_bytes,
                                   std::uint64_t first_sequence) {
  std::vector<std::byte> header(header_bytes + cluster_id.size());
  std::memcpy(header.data(), magic, sizeof magic);
  put(header.data() + 16, version);
  put(header.data() + 20, static_cast<std::uint32_t>(cluster_id.size()));
  put(header.data() + 24, compact_bytes);
  put(header.data() + 32, first_sequence);
  std::memcpy(header.data() + header_bytes, cluster_id.data(), cluster_id.size());
  put(header.data() + 8, hash(bytes_view{header}.subspan(16)));
  return header;
}

std::vector<std::byte> make_record(std::uint64_t sequence, bytes_view content) {
  std::vector<std::byte> record(record_header_bytes + content.size());
  put(record.data() + 8, std::uint64_t{content.size()});
  put(record.data() + 16, sequence);
  std::copy(content.begin(), content.end(), record.begin() + record_header_bytes);
  put(record.data(), hash(bytes_view{record}.subspan(8)));
  return record;
}

/// The content of the record that begins here, if it is whole and its checksum right.
std::optional<bytes_view> check_record(bytes_view from, std::uint64_t* sequence) {
  if (from.size() < record_header_bytes) return std::nullopt;
  const auto length = get<std::uint64_t>(from.data() + 8);
  if (length > journal::record_bytes_max || length > from.size() - record_header_bytes)
    return std::nullopt;
  const bytes_view record = from.first(record_header_bytes + length);
  if (get<std::uint64_t>(record.data()) != hash(record.subspan(8))) return std::nullopt;
  *sequence = get<std::uint64_t>(record.data() + 16);
  return record.subspan(record_header_bytes);
}

/// Whether a record that came after `sequence` stands anywhere in these bytes.
bool has_later_record(bytes_view bytes, std::uint64_t sequence) {
  for (std::size_t at = 0; at + record_header_bytes <= bytes.size(); ++at) {
    const auto claimed = get<std::uint64_t>(bytes.data() + at + 16);
    if (claimed <= sequence || claimed > sequence + bytes.size()) continue;
    std::uint64_t found = 0;
    if (check_record(bytes.subspan(at), &found)) return true;
  }
  return false;
}

error damaged(const std::string& path, std::size_t at, const std::string& what) {
  return {errc::io,
          path + ": damaged at byte " + std::to_string(at) + ": " + what +
              "; restore the file from a copy, or move it away to begin without what it held"};
}

struct contents {
  std::uint64_t compact_bytes = 0;
  std::uint64_t next_sequence = 1;
  std::size_t good_bytes = 0;  // the rest is a torn record
  std::vector<journal_record> records;
};

result<contents> parse_header(const std::string& path, bytes_view file, const std::string& id) {
  if (file.size() < header_bytes || std::memcmp(file.data(), magic, sizeof magic) != 0)
    return damaged(path, 0, "it does not begin as a journal");
  const auto written_version = get<std::uint32_t>(file.data() + 16);
  if (written_version > version) {
    return error{errc::unsupported,
                 path + ": is a journal of version " + std::to_string(written_version) +
                     ", this program reads up to " + std::to_string(version) +
                     "; start the later one"};
  }
  const auto id_bytes = get<std::uint32_t>(file.data() + 20);
  if (id_bytes > journal::cluster_id_bytes_max || id_bytes > file.size() - header_bytes)
    return damaged(path, 20, "a cluster id of " + std::to_string(id_bytes) + " bytes");
  const bytes_view id_there = file.subspan(header_bytes, id_bytes);
  if (get<std::uint64_t>(file.data() + 8) != hash(file.subspan(16, header_bytes - 16 + id_bytes)))
    return damaged(path, 8, "the checksum of the header is wrong");
  const std::string found{reinterpret_cast<const char*>(id_there.data()), id_there.size()};
  if (found != id) {
    return error{errc::invalid_argument,
                 path + ": is the journal of cluster '" + found + "', not of '" + id +
                     "'; name another file"};
  }
  contents read;
  read.compact_bytes = get<std::uint64_t>(file.data() + 24);
  read.next_sequence = get<std::uint64_t>(file.data() + 32);
  read.good_bytes = header_bytes + id_bytes;
  return read;
}

result<contents> parse(const std::string& path, bytes_view file, const std::string& cluster_id) {
  ATOLL_ASSIGN(contents read, parse_header(path, file, cluster_id));
  while (read.good_bytes < file.size()) {
    const bytes_view rest = file.subspan(read.good_bytes);
    std::uint64_t sequence = 0;
    const auto content = check_record(rest, &sequence);
    if (!content) {
      // One append at a time: what a crash leaves is one record, and nothing comes after it.
      if (rest.size() > record_header_bytes + journal::record_bytes_max ||
          has_later_record(rest, read.next_sequence))
        return damaged(path, read.good_bytes, "a broken record that is not the last");
      break;
    }
    if (sequence != read.next_sequence) {
      return damaged(path,
                     read.good_bytes,
                     "record " + std::to_string(sequence) + " where " +
                         std::to_string(read.next_sequence) + " should be");
    }
    read.records.emplace_back(content->begin(), content->end());
    read.good_bytes += record_header_bytes + content->size();
    ++read.next_sequence;
  }
  return read;
}

error closed(const std::string& path) {
  return {errc::io, path + ": an earlier write failed; open the journal anew"};
}

}  // namespace

journal::journal(std::shared_ptr<disk> files, std::string path, std::string cluster_id)
    : files_{std::move(files)}, path_{std::move(path)}, cluster_id_{std::move(cluster_id)} {}

result<journal::opened>
journal::open(std::shared_ptr<disk> files, const std::string& path, const std::string& cluster_id) {
  if (cluster_id.size() > cluster_id_bytes_max)
    return error{errc::invalid_argument, "the cluster's id is longer than 256 bytes"};
  opened result{.log = journal{files, path, cluster_id}, .records = {}, .cut = {}};
  journal& log = result.log;
  auto text = files->read(path, file_bytes_max);
  if (text.has_error() && text.error().code() == errc::not_found) {
    ATOLL_TRY(log.write_anew({}, 0));
    return result;
  }
  if (text.has_error()) return text.error();
  const bytes_view file = std::as_bytes(std::span{*text});
  ATOLL_ASSIGN(contents read, parse(path, file, cluster_id));
  ATOLL_ASSIGN(log.end_, files->append(path));
  log.next_sequence_ = read.next_sequence;
  log.compact_bytes_ = read.compact_bytes;
  if (read.good_bytes < file.size()) {
    ATOLL_TRY(log.end_->truncate(read.good_bytes));
    ATOLL_TRY(log.end_->sync());
    result.cut = path + ": cut off " + std::to_string(file.size() - read.good_bytes) +
                 " bytes of a record that was never finished, at byte " +
                 std::to_string(read.good_bytes);
  }
  result.records = std::move(read.records);
  return result;
}

result<void> journal::append(std::span<const std::byte> record) {
  if (end_ == nullptr) return closed(path_);
  if (record.size() > record_bytes_max) {
    return error{errc::invalid_argument,
                 path_ + ": a record of " + std::to_string(record.size()) +
                     " bytes; the most is 1 MiB"};
  }
  const std::uint64_t before = end_->size();
  const auto whole = make_record(next_sequence_, record);
  if (before + whole.size() > file_bytes_max)
    return error{errc::overloaded, path_ + ": is full; compact it"};
  auto written = end_->write(whole);
  if (written.has_value()) written = end_->sync();
  if (written.has_error()) {
    // What is read from now on may not be what is on the disk. Without this piece it is, and if it
    // cannot be cut off, open() judges it.
    is_in_doubt_ = end_->truncate(before).has_error() || end_->sync().has_error();
    end_.reset();
    return written;
  }
  ++next_sequence_;
  return {};
}

bool journal::should_compact() const noexcept {
  return end_ != nullptr && end_->size() > 4 * std::max(compact_bytes_, compact_bytes_min);
}

result<void> journal::compact(std::span<const journal_record> records) {
  if (end_ == nullptr) return closed(path_);
  return write_anew(records, 0);
}

result<void> journal::settle(std::span<const journal_record> records) {
  if (end_ == nullptr) return closed(path_);
  return write_anew(records, compact_bytes_);
}

/// `compact_bytes`: what the last compaction left; 0: this is one.
result<void> journal::write_anew(std::span<const journal_record> records,
                                 std::uint64_t compact_bytes) {
  std::uint64_t bytes = header_bytes + cluster_id_.size();
  for (const journal_record& record : records) {
    if (record.size() > record_bytes_max)
      return error{errc::invalid_argument, path_ + ": a record of more than 1 MiB"};
    bytes += record_header_bytes + record.size();
  }
  if (bytes > file_bytes_max)
    return error{errc::overloaded, path_ + ": too many records for one file"};
  if (compact_bytes == 0) compact_bytes = bytes;
  ATOLL_ASSIGN(const auto file, files_->create(path_));
  ATOLL_TRY(file->write(make_header(cluster_id_, compact_bytes, next_sequence_)));
  std::uint64_t sequence = next_sequence_;
  for (const journal_record& record : records)
    ATOLL_TRY(file->write(make_record(sequence++, record)));
  end_.reset();  // from here on the old file may have lost its name
  ATOLL_TRY(file->commit());
  ATOLL_ASSIGN(end_, files_->append(path_));
  next_sequence_ = sequence;
  compact_bytes_ = compact_bytes;
  return {};
}

}  // namespace atl::cluster
