// The UCX transport between two processes beside ucx_perftest (Debian: ucx-utils) over the same
// wires, in alternating rounds: half a round trip of 14 KiB frames, and throughput of 1 MiB frames.
// Frames are sealed and checked, payloads hashed. Answers are sent by the receiver, on the progress
// thread. Prints medians over the rounds, the spread from the lowest to the highest quarter, and
// the ratio of medians.
//   link_bench [--wires tcp,posix] [--rounds 9] [--round-trips 2000] [--mebibytes 256]
//              [--window 32] [--rendezvous BYTES] [--spin-us N] [--no-perftest yes]
#include "runtime/base/clock.hpp"
#include "transport/ucx/ucx.hpp"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <poll.h>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace atl;
using namespace atl::transport;

constexpr std::size_t small_bytes = 14336;    // a row of 7,168 bf16 values
constexpr std::size_t large_bytes = 1 << 20;  // 73 such rows
constexpr node_identity near_end{node_id{1}, incarnation{1}};
constexpr node_identity far_end{node_id{2}, incarnation{1}};

struct options {
  std::map<std::string, std::string> given;

  std::string text(const std::string& name, const std::string& otherwise) const {
    const auto at = given.find(name);
    return at == given.end() ? otherwise : at->second;
  }
  std::size_t number(const std::string& name, std::size_t otherwise) const {
    return std::stoul(text(name, std::to_string(otherwise)));
  }
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "link_bench: %s\n", what.c_str());
  std::exit(1);
}

void write_all(int to, const void* data, std::size_t bytes) {
  if (::write(to, data, bytes) != static_cast<ssize_t>(bytes)) fail("a pipe broke");
}

std::vector<std::byte> read_address(int from) {
  std::uint32_t bytes = 0;
  if (::read(from, &bytes, sizeof bytes) != sizeof bytes) fail("the other process ended");
  std::vector<std::byte> out(bytes);
  if (::read(from, out.data(), bytes) != static_cast<ssize_t>(bytes)) fail("a pipe broke");
  return out;
}

void write_address(int to, const std::vector<std::byte>& address) {
  const auto bytes = static_cast<std::uint32_t>(address.size());
  write_all(to, &bytes, sizeof bytes);
  write_all(to, address.data(), address.size());
}

frame make_frame(payload_ref payload) {
  frame f;
  f.header.kind = frame_kind::dispatch;
  f.metadata.resize(128);  // as a dispatch of one row has
  f.payload = std::move(payload);
  return f;
}

/// Answers a small frame with its own payload, a large one with an empty frame.
class echo final : public receiver {
public:
  void on_frame(frame&& f) noexcept override {
    const bool is_small = f.payload.bytes.size() == small_bytes;
    if (to_->send(make_frame(is_small ? f.payload : payload_ref{})).has_error()) std::exit(1);
  }
  void on_peer_gone(node_identity, const error&) noexcept override { std::_Exit(0); }
  std::shared_ptr<endpoint> to_;
};

/// Sends, and the next when an answer comes.
class sender final : public receiver {
public:
  void on_frame(frame&&) noexcept override {
    const time_point_ns now = time_.now();
    if (window_ == 1) trips_.push_back(seconds(now - last_));
    last_ = now;
    ++answered_;
    if (sent_ < count_) {
      send();
    } else if (answered_ == count_) {
      const std::lock_guard lock{mutex_};
      is_done_ = true;
      changed_.notify_one();
    }
  }
  void on_peer_gone(node_identity, const error& cause) noexcept override { fail(cause.message()); }

  /// Seconds from the first frame to the last answer. The progress thread rests meanwhile: nothing
  /// arrives before the first frame.
  double run(endpoint& to, payload_ref payload, std::size_t count, std::size_t window) {
    to_ = &to;
    payload_ = std::move(payload);
    count_ = count;
    window_ = window;
    sent_ = answered_ = 0;
    is_done_ = false;
    trips_.clear();
    const time_point_ns start = last_ = time_.now();
    first(std::min(window, count));
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return is_done_; });
    return seconds(last_ - start);
  }
  std::vector<double> trips() const { return trips_; }

private:
  /// What comes after these is sent by answers, so they are counted before the first goes.
  void first(std::size_t frames) {
    sent_ = frames;
    for (std::size_t i = 0; i < frames; ++i) {
      if (to_->send(make_frame(payload_)).has_error()) fail("a frame was not taken");
    }
  }
  void send() {
    ++sent_;
    if (to_->send(make_frame(payload_)).has_error()) fail("a frame was not taken");
  }

  steady_clock time_;
  endpoint* to_ = nullptr;
  payload_ref payload_;
  std::size_t count_ = 0;
  std::size_t window_ = 0;
  std::size_t sent_ = 0;
  std::size_t answered_ = 0;
  time_point_ns last_;
  std::vector<double> trips_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_done_ = false;
};

ucx_options link_options(const options& o) {
  ucx_options with;
  with.interface = "lo";  // named, so payloads are hashed
  with.rendezvous_bytes = o.number("rendezvous", with.rendezvous_bytes);
  with.spin = std::chrono::microseconds{o.number("spin-us", 50)};
  with.accepts = [](node_identity, node_identity, auto) { return true; };
  return with;
}

struct node {
  node(const options& o, node_identity self, std::shared_ptr<receiver> to) : in{std::move(to)} {
    auto made = make_ucx_transport(link_options(o), book);
    if (made.has_error()) fail(made.error().message());
    net = std::move(*made);
    if (auto heard = net->listen(self, in); heard.has_error()) fail(heard.error().message());
  }
  std::shared_ptr<endpoint> reach(node_identity peer, std::vector<std::byte> address) {
    book->put({peer, {}, std::move(address), {}});
    return net->connect(peer.node).value();
  }
  std::shared_ptr<address_book> book = std::make_shared<address_book>();
  std::shared_ptr<receiver> in;
  std::unique_ptr<ucx_transport> net;
};

/// The other process: answers until the first one is gone.
int answer(const options& o) {
  const auto in = std::make_shared<echo>();
  node me{o, far_end, in};
  write_address(STDOUT_FILENO, me.net->local_address());
  in->to_ = me.reach(near_end, read_address(STDIN_FILENO));
  write_all(STDOUT_FILENO, "!", 1);
  for (;;) ::pause();
}

/// Each of the two ends has a processor of its own: where the scheduler puts both on one, all that
/// is seen is who waits for whom.
void pin(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) fail("two processors are needed");
}

struct process {
  process(const std::vector<std::string>& words, int processor) {
    std::array<int, 2> down{};
    std::array<int, 2> up{};
    if (::pipe(down.data()) != 0 || ::pipe(up.data()) != 0) fail("no pipe");
    id = ::fork();
    if (id == 0) {
      pin(processor);
      ::dup2(down[0], STDIN_FILENO);
      ::dup2(up[1], STDOUT_FILENO);
      for (const int end : {down[0], down[1], up[0], up[1]}) ::close(end);
      std::vector<char*> arguments;
      for (const auto& w : words) arguments.push_back(const_cast<char*>(w.c_str()));
      arguments.push_back(nullptr);
      ::execvp(arguments[0], arguments.data());
      ::_exit(127);
    }
    ::close(down[0]);
    ::close(up[1]);
    in = down[1];
    out = up[0];
  }
  process(const process&) = delete;
  process& operator=(const process&) = delete;
  ~process() {
    ::kill(id, SIGKILL);
    ::waitpid(id, nullptr, 0);
    ::close(in);
    ::close(out);
  }
  std::string read_all() const {
    std::string text;
    std::array<char, 4096> part{};
    for (ssize_t n = 0; (n = ::read(out, part.data(), part.size())) > 0;) {
      text.append(part.data(), static_cast<std::size_t>(n));
    }
    return text;
  }
  pid_t id;
  int in = -1;
  int out = -1;
};

/// The columns of the last line that ucx_perftest prints: its median latency in us is number 1,
/// its bandwidth in MiB/s number 5.
std::vector<double> perftest(const std::string& test, std::size_t bytes, std::size_t count) {
  static int port = 20000 + ::getpid() % 20000;
  std::string said;
  for (int attempt = 0; attempt < 20; ++attempt) {
    const std::string at = std::to_string(++port);
    const process server{{"ucx_perftest", "-p", at}, 1};
    ::poll(nullptr, 0, 100 + 50 * attempt);
    const process client{{"ucx_perftest",
                          "127.0.0.1",
                          "-p",
                          at,
                          "-t",
                          test,
                          "-s",
                          std::to_string(bytes),
                          "-n",
                          std::to_string(count),
                          "-w",
                          std::to_string(count / 10),
                          "-f",
                          "-v"},
                         0};
    said = client.read_all();
    std::istringstream lines{said};
    std::string line;
    std::string last;
    while (std::getline(lines, line)) {
      line.erase(0, line.find_first_not_of(' '));
      if (!line.empty() && line[0] >= '0' && line[0] <= '9') last = line;
    }
    std::vector<double> columns;
    std::istringstream values{last};
    while (std::getline(values, line, ',')) columns.push_back(std::stod(line));
    if (columns.size() >= 6) return columns;
  }
  fail("ucx_perftest does not run; is ucx-utils installed? It says: " + said);
}

double quantile(std::vector<double> values, double at) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(at * static_cast<double>(values.size() - 1) + 0.5)];
}

struct series {
  std::vector<double> ours;
  std::vector<double> theirs;
};

void print(
    const char* wires, const char* what, const char* unit, const series& s, const char* bound) {
  const auto three = [](const std::vector<double>& v) {
    std::array<char, 64> text{};
    std::snprintf(text.data(),
                  text.size(),
                  "%9.2f [%.2f, %.2f]",
                  quantile(v, 0.5),
                  quantile(v, 0.25),
                  quantile(v, 0.75));
    return std::string{text.data()};
  };
  std::printf("%-6s %-20s %-6s atoll %s", wires, what, unit, three(s.ours).c_str());
  if (!s.theirs.empty()) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < s.ours.size(); ++i) ratios.push_back(s.ours[i] / s.theirs[i]);
    std::printf("   ucx_perftest %s   ratio of medians %.2f, by round %s%s",
                three(s.theirs).c_str(),
                quantile(s.ours, 0.5) / quantile(s.theirs, 0.5),
                three(ratios).c_str(),
                bound);
  }
  std::printf("\n");
}

void measure(const options& o, const std::string& self, const std::string& wires) {
  ::setenv("UCX_TLS", wires.c_str(), 1);
  ::setenv("UCX_NET_DEVICES", "lo", 1);
  std::vector<std::string> words{self, "--answer", "yes"};
  for (const auto& [name, value] : o.given) {
    words.push_back("--" + name);
    words.push_back(value);
  }
  const process other{words, 1};
  const auto in = std::make_shared<sender>();
  node me{o, near_end, in};
  const auto to = me.reach(far_end, read_address(other.out));
  write_address(other.in, me.net->local_address());
  char ready = 0;
  if (::read(other.out, &ready, 1) != 1) fail("the other process ended");

  const auto small = own_payload(std::vector<std::byte>(small_bytes, std::byte{1}));
  const auto large = own_payload(std::vector<std::byte>(large_bytes, std::byte{2}));
  const std::size_t trips = o.number("round-trips", 2000);
  const std::size_t megabytes = o.number("mebibytes", 256);
  const std::size_t window = o.number("window", 32);
  in->run(*to, small, trips / 10, 1);
  in->run(*to, large, 2 * window, window);
  series latency;
  series throughput;
  const bool is_alone = o.given.count("no-perftest") != 0;
  for (std::size_t round = 0; round < o.number("rounds", 9); ++round) {
    in->run(*to, small, trips, 1);
    latency.ours.push_back(quantile(in->trips(), 0.5) / 2 * 1e6);
    if (!is_alone) latency.theirs.push_back(perftest("ucp_am_lat", small_bytes, trips)[1]);
    throughput.ours.push_back(static_cast<double>(megabytes) /
                              in->run(*to, large, megabytes, window));
    if (!is_alone) throughput.theirs.push_back(perftest("ucp_am_bw", large_bytes, megabytes)[5]);
  }
  const bool is_bound = wires == "tcp";  // shared memory is reported beside it
  print(wires.c_str(), "half trip of 14 KiB", "us", latency, is_bound ? " (at most 1.5)" : "");
  print(wires.c_str(), "frames of 1 MiB", "MiB/s", throughput, is_bound ? " (at least 0.85)" : "");
}

}  // namespace

int main(int argc, char** argv) {
  options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strncmp(argv[i], "--", 2) != 0) break;
    o.given[argv[i] + 2] = argv[i + 1];
  }
  if (static_cast<int>(2 * o.given.size()) != argc - 1) {
    std::fprintf(stderr, "usage: link_bench [--OPTION VALUE ...]; see the head of its source\n");
    return 2;
  }
  if (o.given.count("answer") == 0) pin(0);
  ::signal(SIGPIPE, SIG_IGN);
  if (o.given.count("answer") != 0) return answer(o);
  std::stringstream all{o.text("wires", "tcp,posix")};
  for (std::string wires; std::getline(all, wires, ',');) measure(o, argv[0], wires);
  return 0;
}
