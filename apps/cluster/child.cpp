#include "apps/cluster/child.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

extern "C" {
#include <sys/pidfd.h>  // of glibc 2.36, which does not say so itself
}

namespace atl::ops {
namespace {

error failed(const std::string& what) { return {errc::io, what + ": " + std::strerror(errno)}; }

/// In the new process, between fork and exec: only calls that are safe there.
[[noreturn]] void become(char* const* arguments, int output, int log, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(127);  // it died before the line above
  ::setpgid(0, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  ::execv(arguments[0], arguments);
  ::_exit(127);
}

}  // namespace

result<child> child::start(const std::vector<std::string>& arguments, const std::string& log) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) return failed("a pipe for a new process");
  ::fcntl(pipe[0], F_SETFL, O_NONBLOCK);
  const int log_file = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log_file < 0) {
    error why = failed("log " + log);
    ::close(pipe[0]);
    ::close(pipe[1]);
    return why;
  }
  std::vector<char*> words;
  words.reserve(arguments.size() + 1);
  for (const auto& a : arguments) words.push_back(const_cast<char*>(a.c_str()));
  words.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(words.data(), pipe[1], log_file, parent);
  ::close(pipe[1]);
  ::close(log_file);
  child made;
  made.output_ = pipe[0];
  made.log_ = log;
  if (pid < 0) return failed("a new process");
  made.pid_ = pid;
  made.end_ = ::pidfd_open(pid, 0);
  if (made.end_ < 0) return failed("a handle of process " + std::to_string(pid));
  return made;
}

child::child(child&& other) noexcept { *this = std::move(other); }

child& child::operator=(child&& other) noexcept {
  if (this == &other) return *this;
  let_go();
  pid_ = std::exchange(other.pid_, -1);
  output_ = std::exchange(other.output_, -1);
  end_ = std::exchange(other.end_, -1);
  log_ = std::move(other.log_);
  held_ = std::move(other.held_);
  ended_ = std::move(other.ended_);
  return *this;
}

child::~child() { let_go(); }

void child::let_go() noexcept {
  if (is_running()) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (output_ >= 0) ::close(output_);
  if (end_ >= 0) ::close(end_);
  pid_ = output_ = end_ = -1;
}

std::optional<std::string> child::line() {
  char block[4096];
  for (ssize_t got = 0; (got = ::read(output_, block, sizeof block)) > 0;)
    held_.append(block, static_cast<std::size_t>(got));
  const auto end = held_.find('\n');
  if (end == std::string::npos) return std::nullopt;
  std::string first = held_.substr(0, end);
  held_.erase(0, end + 1);
  return first;
}

void child::signal(int number) const noexcept {
  if (is_running()) ::kill(pid_, number);
}

const std::optional<std::string>& child::take_end() {
  if (!is_running()) return ended_;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return ended_;
  ended_ = WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                               : "exit code " + std::to_string(WEXITSTATUS(status));
  return ended_;
}

std::string child::log_tail(std::size_t bytes_max) const {
  std::ifstream file{log_, std::ios::binary | std::ios::ate};
  if (!file) return {};
  const auto size = static_cast<std::size_t>(file.tellg());
  const std::size_t from = size - std::min(size, bytes_max);
  file.seekg(static_cast<std::streamoff>(from));
  std::string text(size - from, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  return text;
}

}  // namespace atl::ops
