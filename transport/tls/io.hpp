// The I/O thread of a transport, and what it waits for: sockets and times. Asio is behind it. All
// calls are made on the I/O thread unless said otherwise, and so are all callbacks.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

namespace atl::transport::tls {

class io_thread {
public:
  struct impl;

  io_thread();
  io_thread(const io_thread&) = delete;
  io_thread& operator=(const io_thread&) = delete;
  /// Not on the I/O thread: finishes and joins.
  ~io_thread();

  /// Any thread. What is posted before the thread has ended runs on it.
  void post(std::function<void()> what);
  /// Any thread: the I/O thread ends once nothing waits any more.
  void finish();
  /// Any other thread, after finish().
  void join();
  bool is_this_thread() const noexcept;

  impl& inner() noexcept { return *impl_; }

private:
  std::unique_ptr<impl> impl_;
};

class timer {
public:
  explicit timer(io_thread& io);
  timer(const timer&) = delete;
  timer& operator=(const timer&) = delete;
  ~timer();
  /// Replaces what it was set to.
  void after(std::chrono::nanoseconds delay, std::function<void()> what);
  void cancel();

private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

/// Owns a socket. A wait ends once; one that is under way already is not begun twice.
class watched_socket {
public:
  watched_socket(io_thread& io, int socket);
  watched_socket(const watched_socket&) = delete;
  watched_socket& operator=(const watched_socket&) = delete;
  ~watched_socket();

  int handle() const noexcept;
  void wait_readable(std::function<void()> what);
  void wait_writable(std::function<void()> what);
  /// Waits that are under way are forgotten.
  void close() noexcept;

private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace atl::transport::tls
