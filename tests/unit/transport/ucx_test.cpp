// What is particular to UCX; the promises of every backend are in backends_test.cpp.
#include "runtime/base/clock.hpp"
#include "tests/unit/transport/ucx_fabric.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <dirent.h>
#include <fstream>
#include <netinet/in.h>
#include <numeric>
#include <sstream>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace atl::transport {
namespace {

/// Chooses the wires for transports that are made while it lives.
class wires {
public:
  explicit wires(const char* names) { ::setenv("UCX_TLS", names, 1); }
  wires(const wires&) = delete;
  wires& operator=(const wires&) = delete;
  ~wires() { ::unsetenv("UCX_TLS"); }
};

frame large_frame(std::uint64_t number, std::size_t metadata_bytes, std::size_t payload_bytes) {
  frame f = numbered_frame(number);
  f.metadata.resize(std::max<std::size_t>(metadata_bytes, 16));
  for (std::size_t i = 16; i < metadata_bytes; ++i) {
    f.metadata[i] = static_cast<std::byte>(i * 31 + number);
  }
  std::vector<std::uint32_t> values(payload_bytes / 4);
  std::iota(values.begin(), values.end(), static_cast<std::uint32_t>(number));
  f.payload = own_payload(std::move(values));
  return f;
}

bool is_same(const frame& a, const frame& b) {
  return a.metadata == b.metadata && std::equal(a.payload.bytes.begin(),
                                                a.payload.bytes.end(),
                                                b.payload.bytes.begin(),
                                                b.payload.bytes.end());
}

class ucx : public testing::Test {
protected:
  ucx_world world;
  bool settle() {
    return eventually([&] { return world.is_quiet(); });
  }
};

/// The wires that a machine without RDMA has.
class ucx_wires : public ucx, public testing::WithParamInterface<const char*> {
protected:
  wires chosen{GetParam()};
};

TEST_P(ucx_wires, frames_of_all_sizes_arrive_whole_and_in_order) {
  test_node a{world.join(), 1};
  test_node b{world.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  const std::size_t mi = std::size_t{1} << 20;
  // Metadata beyond the head of an active message, payloads on both sides of the rendezvous.
  const std::vector<std::pair<std::size_t, std::size_t>> sizes{
      {16, 0},
      {16, 4},
      {100, 14336},
      {16, 32 * mi},
      {16, 8},
      {100'000, 24},
      {mi, mi},
      {2 * mi, 0},
      {3000, 65536},
      {9000, mi + 4},
      {16, 131072},
      {16, 131068},
      {40'000, 100'000},
      {16, 16},
  };
  std::uint64_t number = 0;
  for (const auto& [metadata, payload] : sizes) {
    ASSERT_TRUE(to_b->send(large_frame(number++, metadata, payload)).has_value());
  }
  ASSERT_TRUE(settle());
  const auto frames = b.in->frames();
  ASSERT_EQ(frames.size(), sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_TRUE(is_same(frames[i], large_frame(i, sizes[i].first, sizes[i].second))) << i;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(frames[i].payload.bytes.data()) % 64, 0U) << i;
    EXPECT_EQ(frames[i].header.flags, flag_payload_checksummed);
  }
}

TEST_P(ucx_wires, many_threads_send_both_ways) {
  test_node a{world.join(), 1};
  test_node b{world.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  const auto to_a = b.net->connect(node_id{1}).value();
  constexpr std::uint64_t each = 100;
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t t = 0; t < 6; ++t) {
      threads.emplace_back([&, t] {
        const auto& to = t % 2 == 0 ? to_b : to_a;
        for (std::uint64_t i = 0; i < each; ++i) {
          // Every tenth by rendezvous.
          const std::size_t bytes = i % 10 == 0 ? 200'000 : 1000;
          ASSERT_TRUE(to->send(large_frame(t * each + i, 16, bytes)).has_value());
        }
      });
    }
  }
  ASSERT_TRUE(settle());
  for (const auto* node : {&a, &b}) {
    const auto frames = node->in->frames();
    ASSERT_EQ(frames.size(), 3 * each);
    std::vector<std::uint64_t> next(6);
    for (std::size_t i = 0; i < frames.size(); ++i) {
      const std::uint64_t number = number_of(frames[i]);
      EXPECT_EQ(number % each, next.at(number / each)++) << "out of order";
      EXPECT_EQ(frames[i].header.sequence, i + 1);
      const std::size_t bytes = number % each % 10 == 0 ? 200'000 : 1000;
      EXPECT_TRUE(is_same(frames[i], large_frame(number, 16, bytes)));
    }
  }
}

/// The child of `a_killed_peer_is_told`: a node that says its address and then only lives.
TEST(ucx_child, DISABLED_listens) {
  auto options = ucx_world::options();
  options.accepts = [](node_identity, node_identity, auto) { return true; };
  const auto net = make_ucx_transport(options, std::make_shared<address_book>()).value();
  const auto in = std::make_shared<inbox>();
  ASSERT_TRUE(net->listen({node_id{2}, incarnation{1}}, in).has_value());
  const auto address = net->local_address();
  const auto bytes = static_cast<std::uint32_t>(address.size());
  ASSERT_EQ(::write(3, &bytes, sizeof bytes), static_cast<ssize_t>(sizeof bytes));
  ASSERT_EQ(::write(3, address.data(), bytes), static_cast<ssize_t>(bytes));
  ASSERT_TRUE(eventually([&] { return !in->frames().empty(); }));
  ASSERT_EQ(::write(3, "!", 1), 1);
  for (;;) ::pause();
}

class child_node {
public:
  child_node() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe(ends.data()), 0);
    id_ = ::fork();
    if (id_ == 0) {
      ::dup2(ends[1], 3);
      ::execl("/proc/self/exe",
              "child",
              "--gtest_also_run_disabled_tests",
              "--gtest_filter=ucx_child.*",
              "--gtest_brief=1",
              nullptr);
      ::_exit(127);
    }
    ::close(ends[1]);
    from_ = ends[0];
    std::uint32_t bytes = 0;
    read(&bytes, sizeof bytes);
    address_.resize(bytes);
    read(address_.data(), bytes);
  }
  child_node(const child_node&) = delete;
  child_node& operator=(const child_node&) = delete;
  ~child_node() {
    kill();
    ::close(from_);
  }

  const std::vector<std::byte>& address() const { return address_; }
  bool has_received() {
    char said = 0;
    read(&said, 1);
    return said == '!';
  }
  void kill() {
    if (id_ <= 0) return;
    ::kill(id_, SIGKILL);
    ::waitpid(id_, nullptr, 0);
    id_ = 0;
  }

private:
  void read(void* into, std::size_t bytes) {
    auto* at = static_cast<char*>(into);
    while (bytes > 0) {
      const ssize_t n = ::read(from_, at, bytes);
      if (n <= 0) return;
      at += n;
      bytes -= static_cast<std::size_t>(n);
    }
  }

  pid_t id_ = 0;
  int from_ = -1;
  std::vector<std::byte> address_;
};

TEST_P(ucx_wires, a_killed_peer_is_told_once) {
  test_node a{world.join(), 1};
  child_node child;
  ASSERT_FALSE(child.address().empty());
  world.book->put({{node_id{2}, incarnation{1}}, {}, child.address(), {}});
  const auto to_b = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(to_b->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(child.has_received());
  EXPECT_TRUE(a.in->gone().empty());
  const steady_clock time;
  const time_point_ns killed = time.now();
  child.kill();
  ASSERT_TRUE(eventually([&] { return !a.in->gone().empty(); }));
  // Over tcp at once; over shared memory within twice the keepalive interval.
  EXPECT_LT(seconds(time.now() - killed), 2.5);
  EXPECT_EQ(a.in->gone(), (std::vector<node_identity>{{node_id{2}, incarnation{1}}}));
  EXPECT_EQ(a.in->causes()[0].code(), errc::peer_gone);
  EXPECT_EQ(to_b->send(numbered_frame(2)).error().code(), errc::peer_gone);
}

std::string name_of(const testing::TestParamInfo<const char*>& chosen) { return chosen.param; }

INSTANTIATE_TEST_SUITE_P(all, ucx_wires, testing::Values("tcp", "posix", "sysv", "all"), name_of);

TEST_F(ucx, an_interface_that_does_not_exist_is_named) {
  auto options = ucx_world::options();
  options.interface = "lo,nosuch7";
  const auto made = make_ucx_transport(options, world.book);
  ASSERT_TRUE(made.has_error());
  EXPECT_EQ(made.error().code(), errc::invalid_argument);
  EXPECT_NE(made.error().message().find("'nosuch7'"), std::string::npos);
  EXPECT_NE(made.error().message().find("this machine has"), std::string::npos);
  EXPECT_NE(made.error().message().find("lo"), std::string::npos);
}

TEST_F(ucx, who_may_connect_has_to_be_said) {
  EXPECT_EQ(make_ucx_transport({}, world.book).error().code(), errc::invalid_argument);
}

TEST_F(ucx, without_a_named_interface_payloads_carry_no_checksum) {
  auto options = ucx_world::options();
  options.interface.clear();
  test_node a{world.join(options), 1};
  const auto to_a = a.net->connect(node_id{1}).value();
  ASSERT_TRUE(to_a->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(settle());
  ASSERT_EQ(a.in->frames().size(), 1U);
  EXPECT_EQ(a.in->frames()[0].header.flags, 0U);
}

TEST_F(ucx, a_wrong_ticket_is_refused_and_the_peer_told) {
  test_node a{world.join(), 1};
  test_node b{world.join(), 2};
  auto known = world.book->find(node_id{2}).value();
  known.ticket = {std::byte{1}};
  world.book->put(known);
  const auto to_b = a.net->connect(node_id{2}).value();
  for (std::uint64_t i = 0; i < 10; ++i) static_cast<void>(to_b->send(numbered_frame(i)));
  ASSERT_TRUE(eventually([&] { return !a.in->gone().empty(); }));
  EXPECT_EQ(a.in->gone(), (std::vector<node_identity>{b.self}));
  EXPECT_EQ(a.in->causes()[0].code(), errc::unauthorised);
  EXPECT_NE(a.in->causes()[0].message().find("ticket"), std::string::npos);
  ASSERT_TRUE(settle());
  EXPECT_TRUE(b.in->frames().empty());
  EXPECT_EQ(counts_of(*b.net).hellos_refused, 1U);
  EXPECT_EQ(counts_of(*b.net).registered_bytes, 0U) << "nothing is allocated for strangers";
  EXPECT_EQ(to_b->send(numbered_frame(11)).error().code(), errc::peer_gone);

  known.ticket = good_ticket;
  world.book->put(known);
  const auto again = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(again->send(numbered_frame(12)).has_value());
  ASSERT_TRUE(settle());
  EXPECT_EQ(numbers_of(b.in->frames()), (std::vector<std::uint64_t>{12}));
}

TEST_F(ucx, frames_of_an_old_life_are_refused) {
  test_node b{world.join(), 2};
  test_node old_life{world.join(), 1, 5};
  const auto from_old = old_life.net->connect(node_id{2}).value();
  ASSERT_TRUE(from_old->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(settle());
  // The node was thought dead and began again; then the old process wakes up.
  test_node new_life{world.join(), 1, 6};
  const auto from_new = new_life.net->connect(node_id{2}).value();
  ASSERT_TRUE(from_new->send(numbered_frame(2)).has_value());
  ASSERT_TRUE(eventually([&] { return b.in->frames().size() == 2; }));
  static_cast<void>(from_old->send(numbered_frame(3)));
  static_cast<void>(from_old->send(large_frame(4, 16, 1 << 20)));
  ASSERT_TRUE(eventually([&] { return from_old->send(numbered_frame(5)).has_error(); }));
  test_node zombie{world.join(), 1, 4};
  const auto from_zombie = zombie.net->connect(node_id{2}).value();
  static_cast<void>(from_zombie->send(numbered_frame(6)));
  ASSERT_TRUE(eventually([&] { return !zombie.in->gone().empty(); }));
  EXPECT_EQ(zombie.in->causes()[0].code(), errc::stale_epoch);
  ASSERT_TRUE(from_new->send(numbered_frame(7)).has_value());
  ASSERT_TRUE(settle());
  EXPECT_EQ(numbers_of(b.in->frames()), (std::vector<std::uint64_t>{1, 2, 7}));
}

TEST_F(ucx, a_hello_for_another_life_is_refused) {
  test_node a{world.join(), 1};
  test_node b{world.join(), 2, 3};
  auto known = world.book->find(node_id{2}).value();
  known.self.life = incarnation{4};
  world.book->put(known);
  const auto to_b = a.net->connect(node_id{2}).value();
  static_cast<void>(to_b->send(numbered_frame(1)));
  ASSERT_TRUE(eventually([&] { return !a.in->gone().empty(); }));
  EXPECT_EQ(a.in->causes()[0].code(), errc::peer_gone);
  ASSERT_TRUE(settle());
  EXPECT_TRUE(b.in->frames().empty());
}

/// Holds the progress thread of its node in the first frame until told.
class blocked final : public receiver {
public:
  void on_frame(frame&& f) noexcept override {
    std::unique_lock lock{mutex_};
    numbers_.push_back(number_of(f));
    changed_.notify_all();
    changed_.wait(lock, [&] { return is_open_; });
  }
  void on_peer_gone(node_identity, const error&) noexcept override {}
  void wait_for_first() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return !numbers_.empty(); });
  }
  void open() {
    const std::lock_guard lock{mutex_};
    is_open_ = true;
    changed_.notify_all();
  }
  std::vector<std::uint64_t> numbers() const {
    const std::lock_guard lock{mutex_};
    return numbers_;
  }

private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::uint64_t> numbers_;
  bool is_open_ = false;
};

TEST_F(ucx, a_full_queue_is_overloaded_and_takes_frames_again) {
  auto options = ucx_world::options();
  options.queued_frames_max = 4;
  options.queued_bytes_max = 3 << 20;
  test_node a{world.join(options), 1};
  const auto slow = std::make_shared<blocked>();
  const auto b = world.join();
  ASSERT_TRUE(b->listen({node_id{2}, incarnation{1}}, slow).has_value());
  const auto to_b = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(to_b->send(numbered_frame(0)).has_value());
  slow->wait_for_first();
  ASSERT_TRUE(eventually([&] { return to_b->send(large_frame(1, 16, 4 << 20)).has_value(); }))
      << "alone, a frame may be larger than the bound";
  EXPECT_EQ(to_b->send(numbered_frame(99)).error().code(), errc::overloaded) << "bytes";
  slow->open();
  ASSERT_TRUE(settle());
  ASSERT_TRUE(eventually([&] { return to_b->send(numbered_frame(2)).has_value(); }));
  ASSERT_TRUE(settle());
  EXPECT_EQ(slow->numbers(), (std::vector<std::uint64_t>{0, 1, 2}));
}

TEST_F(ucx, a_queue_is_bounded_in_frames) {
  auto options = ucx_world::options();
  options.queued_frames_max = 4;
  test_node a{world.join(options), 1};
  const auto slow = std::make_shared<blocked>();
  const auto b = world.join();
  ASSERT_TRUE(b->listen({node_id{2}, incarnation{1}}, slow).has_value());
  const auto to_b = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(to_b->send(numbered_frame(0)).has_value());
  slow->wait_for_first();
  std::uint64_t taken = 1;
  ASSERT_TRUE(eventually([&] {
    auto sent = to_b->send(large_frame(taken, 16, 1 << 20));
    if (sent.has_value()) ++taken;
    return sent.has_error() && sent.error().code() == errc::overloaded;
  }));
  // One more where the first was not yet counted as sent.
  EXPECT_LE(taken, 6U);
  EXPECT_GE(taken, 4U);
  slow->open();
  ASSERT_TRUE(settle());
  EXPECT_EQ(slow->numbers().size(), taken);
}

TEST_F(ucx, a_frame_without_a_receive_buffer_is_lost_alone) {
  auto options = ucx_world::options();
  options.receive_bytes_max = 1 << 20;
  test_node a{world.join(), 1};
  test_node b{world.join(options), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(to_b->send(large_frame(1, 16, 100'000)).has_value());
  ASSERT_TRUE(to_b->send(large_frame(2, 16, 2 << 20)).has_value());
  ASSERT_TRUE(to_b->send(large_frame(3, 16, 100'000)).has_value());
  ASSERT_TRUE(settle());
  EXPECT_EQ(numbers_of(b.in->frames()), (std::vector<std::uint64_t>{1, 3}));
  EXPECT_EQ(counts_of(*b.net).frames_refused, 1U);
  EXPECT_EQ(counts_of(*b.net).registered_bytes, 2U * 131072);
}

TEST_F(ucx, a_frame_outlives_the_transport_that_received_it) {
  frame kept;
  {
    test_node a{world.join(), 1};
    test_node b{world.join(), 2};
    ASSERT_TRUE(a.net->connect(node_id{2}).value()->send(large_frame(1, 16, 1 << 20)).has_value());
    ASSERT_TRUE(settle());
    ASSERT_EQ(b.in->frames().size(), 1U);
    kept = b.in->frames()[0];
    b.in->clear();
    b.net->close();
    EXPECT_EQ(counts_of(*b.net).registered_bytes, 1U << 20) << "only what the frame holds";
  }
  EXPECT_TRUE(is_same(kept, large_frame(1, 16, 1 << 20)));
}

/// The ports that this process listens on at 127.0.0.1.
std::vector<std::uint16_t> own_ports() {
  std::set<std::string> sockets;
  DIR* folder = ::opendir("/proc/self/fd");
  while (const dirent* entry = ::readdir(folder)) {
    std::array<char, 64> target{};
    const std::string path = std::string{"/proc/self/fd/"} + entry->d_name;
    if (::readlink(path.c_str(), target.data(), target.size() - 1) <= 0) continue;
    const std::string name = target.data();
    if (name.rfind("socket:[", 0) == 0) sockets.insert(name.substr(8, name.size() - 9));
  }
  ::closedir(folder);
  std::vector<std::uint16_t> out;
  std::ifstream table{"/proc/net/tcp"};
  std::string line;
  while (std::getline(table, line)) {
    std::istringstream fields{line};
    std::string slot, local, remote, state, skipped, inode;
    fields >> slot >> local >> remote >> state;
    for (int i = 0; i < 5; ++i) fields >> skipped;
    fields >> inode;
    if (state != "0A" || sockets.count(inode) == 0) continue;
    out.push_back(static_cast<std::uint16_t>(std::stoul(local.substr(9), nullptr, 16)));
  }
  return out;
}

TEST_F(ucx, garbage_on_the_port_does_no_harm) {
  const wires tcp{"tcp"};
  test_node a{world.join(), 1};
  const auto ports = own_ports();
  ASSERT_FALSE(ports.empty());
  const std::string http = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  for (const auto& bytes : {http, std::string(4096, '\0'), std::string(4096, '\xff')}) {
    for (const std::uint16_t port : ports) {
      const int s = ::socket(AF_INET, SOCK_STREAM, 0);
      sockaddr_in to{};
      to.sin_family = AF_INET;
      to.sin_port = htons(port);
      to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      ASSERT_EQ(::connect(s, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
      EXPECT_GT(::send(s, bytes.data(), bytes.size(), MSG_NOSIGNAL), 0);
      std::array<char, 16> answer{};
      EXPECT_LE(::recv(s, answer.data(), answer.size(), 0), 0) << "the connection is reset";
      ::close(s);
    }
  }
  test_node b{world.join(), 2};
  ASSERT_TRUE(b.net->connect(node_id{1}).value()->send(numbered_frame(8)).has_value());
  ASSERT_TRUE(settle());
  EXPECT_EQ(numbers_of(a.in->frames()), (std::vector<std::uint64_t>{8}));
}

TEST_F(ucx, an_idle_transport_sleeps) {
  test_node a{world.join(), 1};
  test_node b{world.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(to_b->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(settle());
  const auto used = [] {
    rusage u{};
    ::getrusage(RUSAGE_SELF, &u);
    return static_cast<double>(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
  };
  ::poll(nullptr, 0, 20);
  const double before = used();
  ::poll(nullptr, 0, 1000);
  EXPECT_LT(used() - before, 0.02) << "two idle nodes, in a second";
}

}  // namespace
}  // namespace atl::transport
