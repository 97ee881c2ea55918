#include "apps/inbox.hpp"
#include "apps/serve/service.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace atl::serve {
namespace {

using std::chrono::milliseconds;

/// What a service manager binds.
class manager : public testing::Test {
protected:
  void SetUp() override {
    socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ASSERT_GE(socket_, 0);
  }
  void TearDown() override {
    ::close(socket_);
    ::unlink(path_.c_str());
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
  }

  void bind(const std::string& name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    ASSERT_EQ(::bind(socket_, reinterpret_cast<const sockaddr*>(&address), size), 0);
  }

  std::string received() const {
    char text[4096];
    const ssize_t n = ::recv(socket_, text, sizeof text, 0);
    return n < 0 ? "nothing" : std::string(text, static_cast<std::size_t>(n));
  }

  std::string path_ = "/tmp/atoll-notify-" + std::to_string(::getpid());
  int socket_ = -1;
};

TEST_F(manager, is_told_each_state) {
  bind(path_);
  const service_notifier notifier{path_};
  ASSERT_TRUE(notifier.is_connected());
  notifier.ready("serving tiny on http://127.0.0.1:8000");
  EXPECT_EQ(received(), "READY=1\nSTATUS=serving tiny on http://127.0.0.1:8000");
  notifier.status("two\nlines");
  EXPECT_EQ(received(), "STATUS=two lines");
  notifier.reloading();
  const std::string reloading = received();
  EXPECT_TRUE(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC=")) << reloading;
  EXPECT_GT(std::stoll(reloading.substr(reloading.rfind('=') + 1)), 0);
  notifier.watchdog();
  EXPECT_EQ(received(), "WATCHDOG=1");
  notifier.stopping("draining");
  EXPECT_EQ(received(), "STOPPING=1\nSTATUS=draining");
  EXPECT_EQ(received(), "nothing");
}

TEST_F(manager, is_found_by_its_variable_also_under_an_abstract_name) {
  const std::string name = "@atoll-notify-" + std::to_string(::getpid());
  bind(name);
  ::setenv("NOTIFY_SOCKET", name.c_str(), 1);
  ::setenv("WATCHDOG_USEC", "30000000", 1);
  const auto notifier = service_notifier::from_environment();
  EXPECT_EQ(notifier.watchdog_interval(), milliseconds{15'000});
  notifier.watchdog();
  EXPECT_EQ(received(), "WATCHDOG=1");
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(service_notifier::from_environment().watchdog_interval(), std::nullopt);
}

TEST_F(manager, may_be_absent) {
  for (const std::string& name : {std::string{},
                                  std::string{"/tmp/no-such-socket"},
                                  std::string{"relative"},
                                  std::string(300, '/')}) {
    const service_notifier notifier{name, std::chrono::seconds{30}};
    EXPECT_FALSE(notifier.is_connected());
    EXPECT_EQ(notifier.watchdog_interval(), std::nullopt);
    notifier.ready("nobody listens");
  }
}

TEST_F(manager, never_makes_the_server_wait) {
  bind(path_);
  const service_notifier notifier{path_};
  for (int i = 0; i < 100'000; ++i) notifier.watchdog();
  EXPECT_EQ(received(), "WATCHDOG=1");
}

/// Signals are held for the whole program, as in a server.
class signals : public testing::Test {
protected:
  void SetUp() override {
    // A shell starts what runs in the background with these ignored: they would never come.
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::signal(number, SIG_DFL);
    apps::hold_interrupts();
    apps::take_interrupt();
  }
  static void raise(int signal) { ASSERT_EQ(::kill(::getpid(), signal), 0); }
};

TEST_F(signals, the_first_drains_and_the_second_stops) {
  service_signals waiting;
  raise(SIGTERM);
  EXPECT_EQ(waiting.wait(), service_event::drain);
  EXPECT_EQ(waiting.last_signal(), SIGTERM);
  EXPECT_EQ(waiting.wait(milliseconds{0}), service_event::timeout);
  raise(SIGINT);
  EXPECT_EQ(waiting.wait(), service_event::stop_now);
  EXPECT_EQ(waiting.last_signal(), SIGINT);
}

TEST_F(signals, a_hangup_reloads_also_while_draining) {
  service_signals waiting;
  raise(SIGHUP);
  EXPECT_EQ(waiting.wait(), service_event::reload);
  raise(SIGINT);
  EXPECT_EQ(waiting.wait(), service_event::drain);
  raise(SIGHUP);
  EXPECT_EQ(waiting.wait(), service_event::reload);
}

TEST_F(signals, another_thread_can_wake_it) {
  service_signals waiting;
  std::thread other{[&] { waiting.wake(); }};
  EXPECT_EQ(waiting.wait(), service_event::woken);
  other.join();
  EXPECT_EQ(waiting.wait(milliseconds{1}), service_event::timeout);
}

}  // namespace
}  // namespace atl::serve
