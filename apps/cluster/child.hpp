// A process that this one started and looks after: its first line on standard output, its end, its
// log. One thread.
#pragma once

#include "runtime/base/result.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace atl::ops {

class child {
public:
  /// Runs arguments[0], a path, with standard error appended to the file `log`. A terminal's Ctrl-C
  /// does not reach it (it has a process group of its own); SIGTERM does when this process dies.
  static result<child> start(const std::vector<std::string>& arguments, const std::string& log);
  child(child&& other) noexcept;
  child& operator=(child&& other) noexcept;
  /// Kills what still runs.
  ~child();

  pid_t pid() const noexcept { return pid_; }
  bool is_running() const noexcept { return pid_ > 0 && !ended_; }
  /// To wait for: readable when there is output, or when it has ended.
  int output_descriptor() const noexcept { return output_; }
  int end_descriptor() const noexcept { return end_; }

  /// The next whole line of standard output that is there, without its end.
  std::optional<std::string> line();
  void signal(int number) const noexcept;
  /// How it ended, for people ("exit code 2", "signal 9"), once it has.
  const std::optional<std::string>& take_end();
  /// Last lines of its log.
  std::string log_tail(std::size_t bytes_max) const;

private:
  child() = default;
  void let_go() noexcept;

  pid_t pid_ = -1;
  int output_ = -1;
  int end_ = -1;  // a pidfd
  std::string log_;
  std::string held_;
  std::optional<std::string> ended_;
};

}  // namespace atl::ops
