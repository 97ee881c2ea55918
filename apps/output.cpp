#include "apps/output.hpp"

#include <cerrno>
#include <cstring>
#include <span>
#include <unistd.h>
#include <utility>

namespace atl::apps {
namespace {

constexpr std::size_t block_bytes = 1 << 18;
constexpr std::string_view closed_pipe = "standard output was closed";

result<void> write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(descriptor, text.data(), text.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EPIPE) return error{errc::cancelled, std::string{closed_pipe}};
      return error{errc::io,
                   std::string{"standard output: cannot write: "} + std::strerror(errno) +
                       "; free some space or write elsewhere"};
    }
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

result<output> output::open(disk& files, const std::string& path) {
  if (path.empty() || path == "-") return output{nullptr};
  ATOLL_ASSIGN(auto file, files.create(path));
  return output{std::move(file)};
}

result<void> output::write(std::string_view text) {
  held_ += text;
  return held_.size() < block_bytes ? result<void>{} : flush();
}

result<void> output::flush() {
  const std::string text = std::exchange(held_, {});
  if (!file_) return write_all(STDOUT_FILENO, text);
  return file_->write(std::as_bytes(std::span{text}));
}

result<void> output::finish() {
  ATOLL_TRY(flush());
  return file_ ? file_->commit() : result<void>{};
}

bool is_closed_pipe(const error& e) noexcept {
  return e.code() == errc::cancelled && e.message() == closed_pipe;
}

void note(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

}  // namespace atl::apps
