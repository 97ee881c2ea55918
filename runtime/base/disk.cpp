#include "runtime/base/disk.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace atl {
namespace {

error io_error(const std::string& path, const char* doing, int code) {
  const errc kind = code == ENOENT || code == ENOTDIR ? errc::not_found : errc::io;
  const char* remedy = code == ENOSPC ? "; free some space or write elsewhere" : "";
  return {kind, path + ": cannot " + doing + ": " + std::strerror(code) + remedy};
}

class descriptor {
public:
  explicit descriptor(int fd) : fd_{fd} {}
  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;
  descriptor(descriptor&& other) noexcept : fd_{other.release()} {}
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

private:
  int fd_;
};

/// A regular file. A pipe or a device is refused, not waited for.
result<descriptor> open_to_read(const std::string& path) {
  descriptor fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (fd.get() < 0) return io_error(path, "open", errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return io_error(path, "read", errno);
  if (!S_ISREG(info.st_mode))
    return error{errc::io,
                 path + (S_ISDIR(info.st_mode) ? ": is a directory, expected a file"
                                               : ": is not a regular file")};
  return fd;
}

result<void> write_all(const std::string& path, int fd, std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return io_error(path, "write", errno);
    }
    data = data.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

/// EINVAL and EROFS: the file system has nothing to write back to.
result<void> sync_file(const std::string& path, int fd) {
  if (::fsync(fd) == 0 || errno == EINVAL || errno == EROFS) return {};
  return io_error(path, "write", errno);
}

/// A rename is durable when the folder is. A folder that may be written to but not read cannot be
/// opened for that: the rename then waits for the file system's own time.
result<void> sync_folder_of(const std::string& path) {
  std::string folder = std::filesystem::path{path}.parent_path().string();
  if (folder.empty()) folder = ".";
  const descriptor fd{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (fd.get() < 0) return errno == EACCES ? result<void>{} : io_error(folder, "open", errno);
  return sync_file(folder, fd.get());
}

class system_mapped_file final : public mapped_file {
public:
  system_mapped_file(std::string path, void* base, std::size_t size)
      : path_{std::move(path)}, base_{base}, size_{size} {}
  ~system_mapped_file() override {
    if (size_ > 0) ::munmap(base_, size_);
  }
  system_mapped_file(const system_mapped_file&) = delete;
  system_mapped_file& operator=(const system_mapped_file&) = delete;

  std::span<const std::byte> bytes() const noexcept override {
    return {static_cast<const std::byte*>(base_), size_};
  }

  result<void> populate(std::size_t offset, std::size_t length) const override {
    if (offset >= size_ || length == 0) return {};
    const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t begin = offset / page * page;
    const std::size_t end = std::min(size_, offset + std::min(length, size_ - offset));
    auto* address = static_cast<std::byte*>(base_) + begin;
#ifndef MADV_POPULATE_READ
    constexpr int MADV_POPULATE_READ = 22;
#endif
    if (::madvise(address, end - begin, MADV_POPULATE_READ) == 0) return {};
    if (errno != EINVAL) return io_error(path_, "read", errno);
    // Kernels before 5.14: touch one byte a page.
    const volatile std::byte* p = address;
    for (std::size_t i = 0; i < end - begin; i += page) static_cast<void>(p[i]);
    return {};
  }

  void forget(std::size_t offset, std::size_t length) const noexcept override {
    if (offset >= size_) return;
    // Whole pages only: what lies beside the range may be in use.
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t begin = (offset + page - 1) / page * page;
    const std::size_t end = (offset + std::min(length, size_ - offset)) / page * page;
    if (begin < end) ::madvise(static_cast<std::byte*>(base_) + begin, end - begin, MADV_DONTNEED);
  }

private:
  std::string path_;
  void* base_;
  std::size_t size_;
};

class system_file_writer final : public file_writer {
public:
  system_file_writer(std::string path, std::string temporary, int fd)
      : path_{std::move(path)}, temporary_{std::move(temporary)}, fd_{fd} {}
  ~system_file_writer() override {
    if (!committed_) ::unlink(temporary_.c_str());
  }
  system_file_writer(const system_file_writer&) = delete;
  system_file_writer& operator=(const system_file_writer&) = delete;

  result<void> write(std::span<const std::byte> data) override {
    return write_all(path_, fd_.get(), data);
  }

  result<void> commit() override {
    ATOLL_TRY(sync_file(path_, fd_.get()));
    if (::close(fd_.release()) != 0) return io_error(path_, "write", errno);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) return io_error(path_, "create", errno);
    committed_ = true;
    return sync_folder_of(path_);
  }

private:
  std::string path_;
  std::string temporary_;
  descriptor fd_;
  bool committed_ = false;
};

/// What is no file has no name to take over (a device, a pipe): bytes go where they are written to.
class stream_writer final : public file_writer {
public:
  stream_writer(std::string path, int fd) : path_{std::move(path)}, fd_{fd} {}

  result<void> write(std::span<const std::byte> data) override {
    return write_all(path_, fd_.get(), data);
  }

  result<void> commit() override {
    if (::close(fd_.release()) != 0) return io_error(path_, "write", errno);
    return {};
  }

private:
  std::string path_;
  descriptor fd_;
};

class system_file_appender final : public file_appender {
public:
  system_file_appender(std::string path, descriptor fd, std::uint64_t size)
      : path_{std::move(path)}, fd_{std::move(fd)}, size_{size} {}

  std::uint64_t size() const noexcept override { return size_; }

  result<void> write(std::span<const std::byte> data) override {
    ATOLL_TRY(write_all(path_, fd_.get(), data));
    size_ += data.size();
    return {};
  }

  result<void> sync() override { return sync_file(path_, fd_.get()); }

  result<void> truncate(std::uint64_t size) override {
    if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0)
      return io_error(path_, "shorten", errno);
    size_ = size;
    return {};
  }

private:
  std::string path_;
  descriptor fd_;
  std::uint64_t size_;
};

/// The file that `path` names when symbolic links are followed, whether it is there yet or not.
std::string followed(const std::string& path) {
  constexpr int links_max = 40;  // as Linux
  std::filesystem::path at = path;
  std::error_code failure;
  for (int i = 0; i < links_max && std::filesystem::is_symlink(at, failure); ++i)
    at = at.parent_path() / std::filesystem::read_symlink(at, failure);
  return at.string();
}

class system_disk_impl final : public disk {
public:
  result<std::shared_ptr<const mapped_file>> map(const std::string& path) override {
    ATOLL_ASSIGN(const descriptor fd, open_to_read(path));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return io_error(path, "read", errno);
    const auto size = static_cast<std::size_t>(info.st_size);
    void* base = nullptr;
    if (size > 0) {
      base = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
      if (base == MAP_FAILED) return io_error(path, "map", errno);
    }
    return std::shared_ptr<const mapped_file>{
        std::make_shared<system_mapped_file>(path, base, size)};
  }

  result<std::string> read(const std::string& path, std::size_t bytes_max) override {
    const descriptor fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (fd.get() < 0) return io_error(path, "open", errno);
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return io_error(path, "read", errno);
    if (S_ISDIR(info.st_mode)) return error{errc::io, path + ": is a directory, expected a file"};
    std::string text;
    char block[65536];
    for (;;) {
      const ssize_t n = ::read(fd.get(), block, sizeof block);
      if (n < 0) {
        if (errno == EINTR) continue;
        return io_error(path, "read", errno);
      }
      if (n == 0) return text;
      text.append(block, static_cast<std::size_t>(n));
      if (text.size() > bytes_max)
        return error{errc::io,
                     path + ": is larger than " + std::to_string(bytes_max) +
                         " bytes, the most accepted here"};
    }
  }

  result<std::unique_ptr<file_writer>> create(const std::string& path) override {
    struct stat info {};
    const bool exists = ::stat(path.c_str(), &info) == 0;
    if (exists && S_ISDIR(info.st_mode))
      return error{errc::invalid_argument, path + ": is a directory; name a file"};
    if (exists && !S_ISREG(info.st_mode)) {
      const int stream = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
      if (stream < 0) return io_error(path, "open", errno);
      return std::unique_ptr<file_writer>{std::make_unique<stream_writer>(path, stream)};
    }
    std::string final_path = followed(path);
    std::string temporary = final_path + ".XXXXXX";
    const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);
    if (fd < 0) return io_error(path, "create", errno);
    ::fchmod(fd, exists ? info.st_mode & 0777 : 0644);
    return std::unique_ptr<file_writer>{
        std::make_unique<system_file_writer>(std::move(final_path), std::move(temporary), fd)};
  }

  result<std::unique_ptr<file_appender>> append(const std::string& path) override {
    descriptor fd{::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK)};
    if (fd.get() < 0) return io_error(path, "open", errno);
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) return io_error(path, "open", errno);
    if (!S_ISREG(info.st_mode)) return error{errc::io, path + ": is not a regular file"};
    return std::unique_ptr<file_appender>{std::make_unique<system_file_appender>(
        path, std::move(fd), static_cast<std::uint64_t>(info.st_size))};
  }

  bool is_file(const std::string& path) override {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
  }

  bool is_directory(const std::string& path) override {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
  }

  result<std::vector<std::string>> list(const std::string& path) override {
    DIR* directory = ::opendir(path.c_str());
    if (directory == nullptr) return io_error(path, "list", errno);
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(directory)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    ::closedir(directory);
    std::sort(names.begin(), names.end());
    return names;
  }
};

}  // namespace

std::shared_ptr<disk> system_disk() { return std::make_shared<system_disk_impl>(); }

result<std::uint64_t> read_through(const std::string& path, std::size_t block_bytes) {
  ATOLL_ASSIGN(const descriptor fd, open_to_read(path));
  std::vector<std::byte> block(block_bytes);
  std::uint64_t bytes = 0;
  for (;;) {
    const ssize_t n = ::read(fd.get(), block.data(), block.size());
    if (n == 0) return bytes;
    if (n > 0)
      bytes += static_cast<std::uint64_t>(n);
    else if (errno != EINTR)
      return io_error(path, "read", errno);
  }
}

}  // namespace atl
