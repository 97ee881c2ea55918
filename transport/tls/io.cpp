#include "transport/tls/io.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/base/log.hpp"
#include "runtime/base/thread_name.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <csignal>
#include <exception>
#include <string>
#include <thread>
#include <utility>

namespace atl::transport::tls {

namespace {

using boost::system::error_code;

void call(const std::function<void()>& what) noexcept {
  try {
    what();
  } catch (const std::exception& e) {  // out of memory
    log_error(std::string{"tls: an event failed: "} + e.what());
  }
}

/// Signals are for the main thread; SIGPIPE is for nobody.
void block_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

}  // namespace

struct io_thread::impl {
  boost::asio::io_context context{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{
      context.get_executor()};
  std::thread thread;

  void run() {
    name_this_thread("tls");
    block_signals();
    for (;;) {
      try {
        context.run();
        return;
      } catch (const std::exception& e) {
        log_error(std::string{"tls: an event failed: "} + e.what());
      }
    }
  }
};

io_thread::io_thread() : impl_{std::make_unique<impl>()} {
  impl_->thread = std::thread{[inner = impl_.get()] { inner->run(); }};
}

io_thread::~io_thread() {
  call([this] {
    finish();
    join();
  });
}

void io_thread::post(std::function<void()> what) {
  boost::asio::post(impl_->context, [what = std::move(what)] { call(what); });
}

void io_thread::finish() {
  boost::asio::post(impl_->context, [inner = impl_.get()] { inner->work.reset(); });
}

void io_thread::join() {
  ATOLL_ASSERT(!is_this_thread());
  if (impl_->thread.joinable()) impl_->thread.join();
}

bool io_thread::is_this_thread() const noexcept {
  return impl_->thread.get_id() == std::this_thread::get_id();
}

struct timer::impl {
  explicit impl(io_thread& io) : waiting{io.inner().context} {}
  boost::asio::steady_timer waiting;
};

timer::timer(io_thread& io) : impl_{std::make_unique<impl>(io)} {}

timer::~timer() = default;

void timer::after(std::chrono::nanoseconds delay, std::function<void()> what) {
  impl_->waiting.expires_after(delay);
  impl_->waiting.async_wait([what = std::move(what)](const error_code& cancelled) {
    if (!cancelled) call(what);
  });
}

void timer::cancel() { impl_->waiting.cancel(); }

struct watched_socket::impl {
  using descriptor = boost::asio::posix::stream_descriptor;

  impl(io_thread& io, int handle) : socket{io.inner().context, handle} {}

  static void wait(const std::shared_ptr<impl>& self,
                   descriptor::wait_type what,
                   bool impl::*waits,
                   std::function<void()> then) {
    if (self.get()->*waits || !self->socket.is_open()) return;
    self.get()->*waits = true;
    self->socket.async_wait(what, [self, waits, then = std::move(then)](const error_code& failed) {
      self.get()->*waits = false;
      if (!failed && self->socket.is_open()) call(then);
    });
  }

  descriptor socket;
  bool waits_readable = false;
  bool waits_writable = false;
};

watched_socket::watched_socket(io_thread& io, int socket)
    : impl_{std::make_shared<impl>(io, socket)} {}

watched_socket::~watched_socket() { close(); }

int watched_socket::handle() const noexcept { return impl_->socket.native_handle(); }

void watched_socket::wait_readable(std::function<void()> what) {
  impl::wait(impl_, impl::descriptor::wait_read, &impl::waits_readable, std::move(what));
}

void watched_socket::wait_writable(std::function<void()> what) {
  impl::wait(impl_, impl::descriptor::wait_write, &impl::waits_writable, std::move(what));
}

void watched_socket::close() noexcept {
  error_code ignored;
  impl_->socket.close(ignored);
}

}  // namespace atl::transport::tls
