// Where a command's results go: standard output, or a file that appears whole or not at all. One
// thread.
#pragma once

#include "runtime/base/disk.hpp"
#include "runtime/base/result.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace atl::apps {

class output {
public:
  /// Standard output where `path` is empty or "-".
  static result<output> open(disk& files, const std::string& path);

  bool is_file() const noexcept { return file_ != nullptr; }
  /// Collected in blocks; see flush().
  result<void> write(std::string_view text);
  /// Hands on what was collected, so that a person sees it.
  result<void> flush();
  /// Flushes; a file gets its final name.
  result<void> finish();

private:
  explicit output(std::unique_ptr<file_writer> file) : file_{std::move(file)} {}

  std::unique_ptr<file_writer> file_;  // null: standard output
  std::string held_;
};

/// The error of a reader that went away ("atoll ... | head"): ends a command without a message.
bool is_closed_pipe(const error& e) noexcept;

/// Progress and summaries, on standard error; a failure to write is ignored.
void note(std::string_view text);

}  // namespace atl::apps
