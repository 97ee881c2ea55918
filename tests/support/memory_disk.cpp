#include "tests/support/memory_disk.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace atl::test {

namespace {

constexpr std::size_t sector_bytes = 512;

error failed(const std::string& path, const char* doing) {
  return {errc::io, path + ": cannot " + doing + ": Input/output error"};
}

struct stored_file {
  std::string content;  // as read now
  std::string durable;  // as after a crash, apart from what was written since
  std::vector<std::pair<std::size_t, std::size_t>> given_up;  // [begin, end) of a failed sync
  bool is_replaced = false;  // by a rename that is not durable: after a crash one or the other
  bool is_new = true;        // no file of that name is durable
  std::uint64_t inode = 0;

  void acknowledge() {
    durable = content;
    is_replaced = false;
    is_new = false;
    for (const auto& [begin, end] : given_up)
      std::fill(durable.begin() + static_cast<std::ptrdiff_t>(std::min(begin, durable.size())),
                durable.begin() + static_cast<std::ptrdiff_t>(std::min(end, durable.size())),
                '\0');
  }
};

class memory_file final : public mapped_file {
public:
  explicit memory_file(std::string content) : content_{std::move(content)} {}
  std::span<const std::byte> bytes() const noexcept override {
    return std::as_bytes(std::span{content_});
  }
  result<void> populate(std::size_t, std::size_t) const override { return {}; }

private:
  std::string content_;
};

}  // namespace

struct memory_disk::state {
  mutable std::mutex mutex;
  std::map<std::string, stored_file> files;
  fault fails;
  std::uint64_t capacity = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t being_written = 0;  // bytes of files that have no name yet
  std::uint64_t crashes = 0;
  std::uint64_t inodes = 0;

  bool does_fail(disk_operation what, const std::string& path) const {
    return fails && fails(what, path);
  }

  std::uint64_t used() const {
    std::uint64_t bytes = being_written;
    for (const auto& [path, file] : files) bytes += file.content.size();
    return bytes;
  }

  /// Adds what a write leaves to `content`; the number of bytes added is not all if it fails.
  result<void>
  write(const std::string& path, std::string& content, std::span<const std::byte> data) {
    const bool is_failing = does_fail(disk_operation::write, path);
    const std::uint64_t room = capacity - std::min(capacity, used());
    const std::size_t fits =
        std::min<std::uint64_t>(room, is_failing ? data.size() / 2 : data.size());
    content.append(reinterpret_cast<const char*>(data.data()), fits);
    if (is_failing) return failed(path, "write");
    if (fits < data.size())
      return error{errc::io, path + ": cannot write: No space left on device"};
    return {};
  }
};

namespace {

using shared_state = std::shared_ptr<memory_disk::state>;

class writer final : public file_writer {
public:
  writer(shared_state disk, std::string path)
      : disk_{std::move(disk)}, path_{std::move(path)}, born_{disk_->crashes} {}
  ~writer() override { forget(); }
  writer(const writer&) = delete;
  writer& operator=(const writer&) = delete;

  result<void> write(std::span<const std::byte> data) override {
    const std::lock_guard lock{disk_->mutex};
    if (disk_->crashes != born_) return failed(path_, "write");
    const std::size_t before = content_.size();
    const auto done = disk_->write(path_, content_, data);
    disk_->being_written += content_.size() - before;
    return done;
  }

  result<void> commit() override {
    forget();
    const std::lock_guard lock{disk_->mutex};
    if (disk_->crashes != born_ || disk_->does_fail(disk_operation::sync, path_))
      return failed(path_, "write");
    if (disk_->does_fail(disk_operation::rename, path_)) return failed(path_, "create");
    stored_file& file = disk_->files[path_];
    file.content = std::move(content_);
    file.given_up.clear();
    file.is_replaced = true;
    file.inode = ++disk_->inodes;
    if (disk_->does_fail(disk_operation::sync_folder, path_)) return failed(path_, "write");
    file.acknowledge();
    return {};
  }

private:
  void forget() {
    const std::lock_guard lock{disk_->mutex};
    if (disk_->crashes == born_ && !is_forgotten_) disk_->being_written -= content_.size();
    is_forgotten_ = true;
  }

  shared_state disk_;
  std::string path_;
  std::uint64_t born_;
  std::string content_;
  bool is_forgotten_ = false;
};

/// Fails once its file is replaced. The machine's own would not, but what is written to a file
/// without a name is lost.
class appender final : public file_appender {
public:
  appender(shared_state disk, std::string path, const stored_file& file)
      : disk_{std::move(disk)},
        path_{std::move(path)},
        born_{disk_->crashes},
        inode_{file.inode},
        size_{file.content.size()} {}

  std::uint64_t size() const noexcept override { return size_; }

  result<void> write(std::span<const std::byte> data) override {
    const std::lock_guard lock{disk_->mutex};
    if (!is_there()) return failed(path_, "write");
    ATOLL_TRY(disk_->write(path_, disk_->files[path_].content, data));
    size_ += data.size();
    return {};
  }

  result<void> sync() override {
    const std::lock_guard lock{disk_->mutex};
    if (!is_there()) return failed(path_, "write");
    stored_file& file = disk_->files[path_];
    if (disk_->does_fail(disk_operation::sync, path_)) {
      if (file.content.size() > file.durable.size())
        file.given_up.emplace_back(file.durable.size(), file.content.size());
      return failed(path_, "write");
    }
    file.acknowledge();
    return {};
  }

  result<void> truncate(std::uint64_t size) override {
    const std::lock_guard lock{disk_->mutex};
    if (!is_there() || disk_->does_fail(disk_operation::truncate, path_))
      return failed(path_, "shorten");
    stored_file& file = disk_->files[path_];
    file.content.resize(size);
    for (auto& [begin, end] : file.given_up) end = std::min<std::size_t>(end, size);
    std::erase_if(file.given_up, [](const auto& range) { return range.first >= range.second; });
    size_ = size;
    return {};
  }

private:
  bool is_there() const {
    const auto at = disk_->files.find(path_);
    return disk_->crashes == born_ && at != disk_->files.end() && at->second.inode == inode_;
  }

  shared_state disk_;
  std::string path_;
  std::uint64_t born_;
  std::uint64_t inode_;
  std::uint64_t size_;
};

/// What is left of a file when the power fails.
std::string survivor(const stored_file& file, random_source& random) {
  if (file.is_replaced) return random.below(2) == 0 ? file.content : file.durable;
  if (!file.content.starts_with(file.durable))  // shortened, and that may not have been written
    return random.below(2) == 0 ? file.content : file.durable;
  std::string left = file.durable;
  const std::size_t written = file.content.size() - file.durable.size();
  const std::size_t kept = random.below(written + 1);
  left += file.content.substr(file.durable.size(), kept);
  if (kept > 0 && random.below(2) == 0) {
    const std::size_t torn = 1 + random.below(std::min(kept, sector_bytes));
    for (std::size_t i = left.size() - torn; i < left.size(); ++i)
      left[i] = random.below(2) == 0 ? '\0' : static_cast<char>(random.below(256));
  }
  return left;
}

}  // namespace

memory_disk::memory_disk() : state_{std::make_shared<state>()} {}

result<std::string> memory_disk::read(const std::string& path, std::size_t bytes_max) {
  const std::lock_guard lock{state_->mutex};
  const auto at = state_->files.find(path);
  if (at == state_->files.end()) return error{errc::not_found, path + ": no such file"};
  if (state_->does_fail(disk_operation::read, path)) return failed(path, "read");
  if (at->second.content.size() > bytes_max) return error{errc::io, path + ": is too large"};
  return at->second.content;
}

result<std::shared_ptr<const mapped_file>> memory_disk::map(const std::string& path) {
  ATOLL_ASSIGN(std::string content, read(path, std::numeric_limits<std::size_t>::max()));
  return std::shared_ptr<const mapped_file>{std::make_shared<memory_file>(std::move(content))};
}

result<std::unique_ptr<file_writer>> memory_disk::create(const std::string& path) {
  const std::lock_guard lock{state_->mutex};
  if (state_->does_fail(disk_operation::create, path)) return failed(path, "create");
  return std::unique_ptr<file_writer>{std::make_unique<writer>(state_, path)};
}

result<std::unique_ptr<file_appender>> memory_disk::append(const std::string& path) {
  const std::lock_guard lock{state_->mutex};
  const auto at = state_->files.find(path);
  if (at == state_->files.end()) return error{errc::not_found, path + ": no such file"};
  if (state_->does_fail(disk_operation::append, path)) return failed(path, "open");
  return std::unique_ptr<file_appender>{std::make_unique<appender>(state_, path, at->second)};
}

bool memory_disk::is_file(const std::string& path) {
  const std::lock_guard lock{state_->mutex};
  return state_->files.count(path) > 0;
}

bool memory_disk::is_directory(const std::string& path) {
  const std::lock_guard lock{state_->mutex};
  const auto at = state_->files.lower_bound(path + "/");
  return at != state_->files.end() && at->first.starts_with(path + "/");
}

result<std::vector<std::string>> memory_disk::list(const std::string& path) {
  const std::lock_guard lock{state_->mutex};
  std::vector<std::string> names;
  for (const auto& [name, file] : state_->files) {
    if (!name.starts_with(path + "/")) continue;
    const std::string rest = name.substr(path.size() + 1);
    names.push_back(rest.substr(0, rest.find('/')));
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

void memory_disk::set_fault(fault fails) {
  const std::lock_guard lock{state_->mutex};
  state_->fails = std::move(fails);
}

void memory_disk::set_capacity(std::uint64_t bytes) {
  const std::lock_guard lock{state_->mutex};
  state_->capacity = bytes;
}

void memory_disk::crash(random_source& random) {
  const std::lock_guard lock{state_->mutex};
  ++state_->crashes;
  state_->being_written = 0;
  for (auto at = state_->files.begin(); at != state_->files.end();) {
    stored_file& file = at->second;
    if (file.is_new && random.below(2) == 0) {
      at = state_->files.erase(at);
      continue;
    }
    file.content = file.is_new ? file.content : survivor(file, random);
    file.given_up.clear();
    file.acknowledge();
    ++at;
  }
}

std::string memory_disk::content(const std::string& path) const {
  const std::lock_guard lock{state_->mutex};
  const auto at = state_->files.find(path);
  return at == state_->files.end() ? std::string{} : at->second.content;
}

void memory_disk::set_content(const std::string& path, std::string content) {
  const std::lock_guard lock{state_->mutex};
  stored_file& file = state_->files[path];
  file.content = std::move(content);
  file.given_up.clear();
  file.acknowledge();
}

}  // namespace atl::test
