#include "transport/ucx/engine.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/base/thread_name.hpp"
#include "transport/ucx/worker.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace atl::transport::ucx {

namespace {

constexpr int progress_max = 64;  // calls in a row before other work is looked at
constexpr unsigned spin_penalty_max = 64;
constexpr duration_ns flush_limit = std::chrono::milliseconds{500};
constexpr duration_ns farewell_limit = std::chrono::milliseconds{500};
constexpr duration_ns closing_limit = std::chrono::seconds{1};
constexpr duration_ns linger_limit = std::chrono::milliseconds{200};
constexpr duration_ns linger_quiet = std::chrono::milliseconds{20};
constexpr int closing_poll_ms = 10;

error closed() { return {errc::peer_gone, "this node has closed"}; }

std::string name(node_identity id) {
  return "node " + std::to_string(id.node.value) + " life " + std::to_string(id.life.value);
}

}  // namespace

engine::engine(ucx_options options,
               std::shared_ptr<address_book> book,
               std::shared_ptr<context> home)
    : options_{std::move(options)},
      book_{std::move(book)},
      home_{std::move(home)},
      pool_{std::make_shared<registered_pool>(
          home_, options_.receive_bytes_max, options_.idle_bytes_max)},
      arrivals_{pool_, counts_} {}

engine::~engine() { stop(); }

result<void> engine::start(node_identity self, std::weak_ptr<receiver> to) {
  if (thread_.joinable() || is_stopping_) {
    return error{errc::invalid_argument, "this transport listens already"};
  }
  self_ = self;
  to_ = std::move(to);
  wake_fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake_fd_ < 0) return error{errc::io, std::string{"eventfd: "} + std::strerror(errno)};
  std::promise<result<void>> started;
  auto outcome = started.get_future();
  thread_ = std::thread{[this, s = std::move(started)]() mutable { run(std::move(s)); }};
  return outcome.get();
}

result<std::shared_ptr<link>> engine::connect(peer_address to) {
  std::unique_lock lock{mutex_};
  if (is_stopping_) return closed();
  if (!is_listening_) return error{errc::invalid_argument, "connect before listen"};
  auto& slot = links_[to.self.node];
  const bool is_fresh = slot == nullptr || slot->is_lost || slot->peer.life < to.self.life;
  if (!is_fresh && slot->peer.life != to.self.life) {
    return error{errc::peer_gone, name(to.self) + " is over: a later life has connected"};
  }
  std::shared_ptr<link> earlier;
  if (is_fresh) earlier = std::exchange(slot, std::make_shared<link>(*this, to.self));
  const auto found = slot;
  if (!std::exchange(found->is_watched, true)) {
    orders_.push_back(
        {found, std::make_unique<peer_address>(std::move(to)), std::move(earlier), true, {}});
    wake(std::move(lock));
  }
  return found;
}

result<void> engine::send(const std::shared_ptr<link>& to, frame f) {
  // Shared memory and `lo` do not damage bytes.
  f.header.flags = options_.interface.empty() ? 0 : flag_payload_checksummed;
  ATOLL_TRY(seal_payload(f));
  const std::size_t bytes = f.metadata.size() + f.payload.bytes.size();
  std::unique_lock lock{mutex_};
  if (is_stopping_) return closed();
  if (to->is_lost) return error{errc::peer_gone, name(to->peer) + " is gone"};
  if (to->queued_frames >= options_.queued_frames_max ||
      (to->queued_frames > 0 && to->queued_bytes + bytes > options_.queued_bytes_max)) {
    return error{errc::overloaded,
                 std::to_string(to->queued_frames) + " frames of " +
                     std::to_string(to->queued_bytes) + " bytes wait for " + name(to->peer)};
  }
  ++to->queued_frames;
  to->queued_bytes += bytes;
  counts_.taken.fetch_add(1, std::memory_order_relaxed);
  orders_.push_back({to, nullptr, nullptr, false, std::move(f)});
  wake(std::move(lock));
  return {};
}

void engine::stop() noexcept {
  {
    std::unique_lock lock{mutex_};
    is_stopping_ = true;
    wake(std::move(lock));
  }
  if (thread_.joinable()) {
    ATOLL_ASSERT(thread_.get_id() != std::this_thread::get_id());
    thread_.join();
  }
  if (wake_fd_ >= 0) ::close(std::exchange(wake_fd_, -1));
}

bool engine::is_listening() const {
  const std::lock_guard lock{mutex_};
  return is_listening_;
}

std::vector<std::byte> engine::local_address() const {
  const std::lock_guard lock{mutex_};
  return address_;
}

ucx_counts engine::counts() const {
  const auto read = [](const auto& n) { return n.load(std::memory_order_relaxed); };
  return {read(counts_.taken),
          read(counts_.lost),
          read(counts_.delivered),
          read(counts_.bytes_delivered),
          read(counts_.refused),
          read(counts_.hellos_refused),
          pool_->registered_bytes()};
}

/// The lock is of mutex_. Writing is needed only for a thread that sleeps or is about to.
void engine::wake(std::unique_lock<std::mutex> lock) {
  const bool is_needed = std::exchange(is_asleep_, false);
  if (!is_needed) return;
  const std::uint64_t one = 1;
  static_cast<void>(::write(wake_fd_, &one, sizeof one));
  lock.unlock();
}

void engine::run(std::promise<result<void>> started) {
  name_this_thread("atoll-ucx");
  auto ready = set_up();
  const bool is_ready = ready.has_value();
  started.set_value(std::move(ready));
  if (!is_ready) return;
  while (!saw_stop_) {
    if (turn() || saw_stop_ || spin()) continue;
    wait(closings_.empty() ? -1 : closing_poll_ms);
  }
  say_farewell();
  tear_down();
}

result<void> engine::set_up() {
  auto made = worker::make(home_);
  if (made.has_error()) return made.error();
  worker_ = std::move(*made);
  ATOLL_TRY(register_handlers());
  ATOLL_ASSIGN(auto address, worker_->address());
  arrivals_.begin(worker_->get(), self_, to_);
  const std::lock_guard lock{mutex_};
  address_ = std::move(address);
  is_listening_ = true;
  return {};
}

/// One look at everything there may be to do; whether there was anything.
bool engine::turn() {
  bool worked = false;
  for (int i = 0; i < progress_max && worker_->progress(); ++i) worked = true;
  worked |= take_orders();
  worked |= finish_endings();
  worked |= finish_closings();
  return worked;
}

/// Looks for work for a while before the thread sleeps; whether there was some, or to stop. Where
/// that does not pay, since work is rare or since what would bring it waits for this processor, it
/// is tried ever less often.
bool engine::spin() {
  if (spins_to_skip_ > 0) {
    --spins_to_skip_;
    return false;
  }
  const time_point_ns end = clock_.now() + options_.spin;
  do {
    if (turn()) {
      spin_penalty_ = 0;
      return true;
    }
    if (saw_stop_) return true;
  } while (clock_.now() < end);
  spin_penalty_ = std::min(std::max(1U, 2 * spin_penalty_), spin_penalty_max);
  spins_to_skip_ = spin_penalty_;
  return false;
}

/// Sleeps until UCX or another thread has something, or the time is up.
void engine::wait(int timeout_ms) {
  {
    const std::lock_guard lock{mutex_};
    if (!orders_.empty() || (is_stopping_ && timeout_ms < 0)) return;
    is_asleep_ = true;
  }
  if (worker_->arm()) {
    std::array<pollfd, 2> on{pollfd{worker_->event_fd(), POLLIN, 0}, pollfd{wake_fd_, POLLIN, 0}};
    static_cast<void>(::poll(on.data(), on.size(), timeout_ms));
    std::uint64_t ignored = 0;
    if (on[1].revents != 0) static_cast<void>(::read(wake_fd_, &ignored, sizeof ignored));
  } else {
    // Also where sends wait for room in shared memory, which the peer makes when it runs.
    std::this_thread::yield();
  }
  const std::lock_guard lock{mutex_};
  is_asleep_ = false;
}

bool engine::take_orders() {
  {
    const std::lock_guard lock{mutex_};
    saw_stop_ = is_stopping_;
    taken_.swap(orders_);
  }
  const bool worked = !taken_.empty();
  for (auto& o : taken_) {
    if (o.open != nullptr) {
      open(o);
    } else {
      send_frame(std::move(o));
    }
  }
  taken_.clear();
  return worked;
}

template <class Done>
void engine::turn_until(duration_ns limit, Done done) {
  const time_point_ns end = clock_.now() + limit;
  while (!done() && clock_.now() < end) {
    if (!turn()) wait(closing_poll_ms);
  }
}

/// What was taken goes out; then the peers hear that this life is over. A goodbye is answered by
/// one, after which nothing of this node is under way to that peer.
void engine::say_farewell() {
  turn_until(flush_limit, [this] { return unfinished_ == 0; });
  is_parting_ = true;
  std::vector<std::shared_ptr<link>> all;
  {
    const std::lock_guard lock{mutex_};
    for (const auto& [node, l] : links_) all.push_back(l);
  }
  for (const auto& l : all) say_goodbye(*l);
  turn_until(farewell_limit, [&] {
    for (const auto& l : all) {
      if (l->has_said_goodbye && !l->has_ended) return false;
    }
    return true;
  });
}

/// UCX 1.13 ends the process when a worker is destroyed while it answers a peer that has just begun
/// to connect. Lets such a peer come as far as its hello, which is refused.
void engine::linger() {
  const time_point_ns end = clock_.now() + linger_limit;
  time_point_ns last = clock_.now();
  while (clock_.now() < end && clock_.now() - last < linger_quiet) {
    if (turn()) {
      last = clock_.now();
    } else {
      wait(1);
    }
  }
}

void engine::tear_down() {
  std::vector<std::shared_ptr<link>> rest;
  {
    const std::lock_guard lock{mutex_};
    for (const auto& [node, l] : links_) rest.push_back(l);
  }
  for (const auto& l : rest) {
    l->is_broken = true;
    end(l, closed());
  }
  turn_until(closing_limit, [this] { return endings_.empty() && closings_.empty(); });
  linger();
  arrivals_.end();
  worker_.reset();
  pool_->close();
}

}  // namespace atl::transport::ucx
