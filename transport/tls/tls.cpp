#include "transport/tls/tls.hpp"

#include "runtime/base/log.hpp"
#include "transport/tls/incoming.hpp"
#include "transport/tls/outgoing.hpp"
#include "transport/tls/sockets.hpp"

#include <cerrno>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

namespace atl::transport {

namespace tls {
namespace {

constexpr int accepts_at_once = 64;  // then others have their turn
constexpr auto accept_pause = std::chrono::milliseconds{100};
constexpr std::size_t connections_of_peer_max = 4;
constexpr std::size_t idle_buffer_bytes = std::size_t{64} << 20;

class tls_endpoint final : public endpoint {
public:
  explicit tls_endpoint(std::shared_ptr<outbox> to) : outbox_{std::move(to)} {}

  node_identity peer() const noexcept override { return outbox_->peer(); }

  result<void> send(frame f) override {
    {
      const std::lock_guard lock{mutex_};
      if (is_closed_) return error{errc::peer_gone, "this endpoint is closed"};
    }
    return outbox_->put(std::move(f));
  }

  void close() noexcept override {
    const std::lock_guard lock{mutex_};
    is_closed_ = true;
  }

private:
  const std::shared_ptr<outbox> outbox_;
  std::mutex mutex_;
  bool is_closed_ = false;
};

/// One node's connections. Two kinds of members: those under the mutex, for any thread, and those
/// of the I/O thread.
class station final : public hub {
public:
  station(tls_options options,
          std::shared_ptr<address_book> book,
          std::shared_ptr<const context> credentials)
      : options_{std::move(options)},
        book_{std::move(book)},
        credentials_{std::move(credentials)},
        buffers_{idle_buffer_bytes} {}
  station(const station&) = delete;
  station& operator=(const station&) = delete;
  ~station() override { close(); }

  // ---- any thread

  result<void> listen(node_identity self, std::weak_ptr<receiver> to) {
    const std::lock_guard lock{mutex_};
    if (io_) return error{errc::invalid_argument, "this transport listens already"};
    const node_id certified = *credentials_->own().node;
    if (certified != self.node) {
      return error{errc::invalid_argument,
                   "this is node " + std::to_string(self.node.value) +
                       ", but its certificate is of node " + std::to_string(certified.value)};
    }
    const auto known = book_->find(self.node);
    if (known.has_value() && known->self.life >= self.life) {
      return error{errc::invalid_argument,
                   "life " + std::to_string(self.life.value) + " of node " +
                       std::to_string(self.node.value) + " is not larger than the last, " +
                       std::to_string(known->self.life.value)};
    }
    ATOLL_ASSIGN(const int socket, listen_on(options_.listen));
    address_ = local_address_of(socket);
    self_ = self;
    receiver_ = std::move(to);
    io_ = std::make_unique<io_thread>();
    io_->post([this, socket] { begin(socket); });
    return {};
  }

  result<std::shared_ptr<endpoint>> connect(node_id peer) {
    const std::lock_guard lock{mutex_};
    if (!io_) return error{errc::invalid_argument, "connect before listen"};
    if (is_closed_) return error{errc::peer_gone, "this node has closed"};
    ATOLL_ASSIGN(const peer_address found, book_->find(peer));
    if (found.tls.empty()) {
      return error{errc::peer_gone,
                   "node " + std::to_string(peer.value) + " takes no connections over TLS"};
    }
    auto& box = box_to(found.self);
    if (!box || box->is_closed()) {
      auto& sequence = sequences_[peer];
      if (!sequence) sequence = std::make_shared<sequence_counter>();
      box = std::make_shared<outbox>(
          self_, found.self, options_.limits, sequence, [this](const outbox* from) {
            io_->post([this, from] { wake(from); });
          });
      io_->post([this, made = box, where = found.tls] { open(made, where); });
    }
    return std::shared_ptr<endpoint>{std::make_shared<tls_endpoint>(box)};
  }

  void close() noexcept {
    {
      const std::lock_guard lock{mutex_};
      if (!io_ || std::exchange(is_closed_, true)) return;
      for (const auto& [peer, box] : outboxes_) {
        box->close(error{errc::peer_gone, "this node has closed"});
      }
      io_->post([this] { finish(); });
    }
    io_->finish();
    io_->join();
  }

  std::string local_address() const {
    const std::lock_guard lock{mutex_};
    return address_;
  }

  void use(std::shared_ptr<const context> fresh) {
    const std::lock_guard lock{mutex_};
    credentials_ = std::move(fresh);
  }

  void drop_revoked() {
    const std::lock_guard lock{mutex_};
    if (io_ && !is_closed_) io_->post([this] { end_revoked(); });
  }

  tls_counters counters() const {
    const std::lock_guard lock{mutex_};
    tls_counters now = counters_;
    now.open_outgoing = outboxes_.size();
    for (const auto& [peer, box] : outboxes_) {
      now.queued += box->frames();
      now.overloaded += box->overloaded();
    }
    return now;
  }

  const tls_options& options() const noexcept { return options_; }

  std::shared_ptr<const context> credentials() const override {
    const std::lock_guard lock{mutex_};
    return credentials_;
  }

  // ---- hub

  io_thread& io() noexcept override { return *io_; }
  node_identity self() const noexcept override { return self_; }
  const tls_limits& limits() const noexcept override { return options_.limits; }
  buffer_pool& buffers() noexcept override { return buffers_; }

  void count(const std::function<void(tls_counters&)>& change) override {
    const std::lock_guard lock{mutex_};
    change(counters_);
  }

  void note(const std::string& peer_address, const std::string& reason) override {
    // Reasons that differ in times and lives only are one.
    std::string key = host_of(peer_address) + " " + reason;
    std::erase_if(key, [](char c) { return c >= '0' && c <= '9'; });
    if (!noted_.first(key)) return;
    log_event(log_level::warning,
              "tls: a connection is refused",
              {{"peer", peer_address}, {"reason", reason}});
  }

  void refused_as_revoked() override {
    if (options_.refused_as_revoked) options_.refused_as_revoked();
  }

  greeting_answer admit(incoming& from, node_identity peer) override {
    incarnation& latest = lives_[peer.node];
    if (peer.life < latest) return greeting_answer::stale_life;
    latest = peer.life;
    end_older(peer);
    if (proved_.size() >= options_.limits.connections_max) return greeting_answer::full;
    const auto moved = unproved_.extract(from.id());
    if (!moved.empty()) proved_.emplace(from.id(), moved.mapped());
    count_open();
    return greeting_answer::welcome;
  }

  bool deliver(frame&& f) noexcept override {
    const auto to = receiver_.lock();
    if (to) to->on_frame(std::move(f));
    return to != nullptr;
  }

  void welcomed(outgoing& to, incarnation life) override {
    const node_identity meant = to.box().peer();
    gone_.erase(meant.node);
    if (meant.life == life) return;
    const node_identity met{meant.node, life};
    to.box().meet(life);
    const std::lock_guard lock{mutex_};
    auto entry = outboxes_.extract(meant);
    if (entry.empty()) return;
    entry.key() = met;
    outboxes_.insert(std::move(entry));
  }

  void left(incoming& gone) override {
    unproved_.erase(gone.id());
    proved_.erase(gone.id());
    count_open();
  }

  void left(outgoing& gone, const error* cause) override {
    outgoing_.erase(&gone.box());
    if (cause != nullptr) report_gone(gone.box().peer(), *cause);
    forget(gone.box());
  }

private:
  /// Of the life that is meant; or of any that is connected, where that is not known.
  std::shared_ptr<outbox>& box_to(node_identity peer) {
    if (peer.life == incarnation{}) {
      for (auto& [to, box] : outboxes_) {
        if (to.node == peer.node && !box->is_closed()) return box;
      }
    }
    return outboxes_[peer];
  }

  // ---- I/O thread

  void begin(int socket) {
    listener_.emplace(*io_, socket);
    pause_.emplace(*io_);
    accept_all();
  }

  void accept_all() {
    if (!listener_) return;
    for (int i = 0; i < accepts_at_once; ++i) {
      const int socket = accept_from(listener_->handle());
      if (socket >= 0) {
        take_in(socket);
      } else if (errno == EAGAIN) {
        break;
      } else if (errno != EINTR && errno != ECONNABORTED) {  // out of descriptors or memory
        note(address_, std::error_code{errno, std::generic_category()}.message());
        return pause_->after(accept_pause, [this] { accept_all(); });
      }
    }
    listener_->wait_readable([this] { accept_all(); });
  }

  void take_in(int socket) {
    count([](tls_counters& c) { ++c.accepted; });
    if (unproved_.size() >= options_.limits.unproved_max) {
      const auto oldest = unproved_.begin()->second;
      note("many hosts", "too many connections that do not say who they are");
      count([](tls_counters& c) { ++c.refused; });
      oldest->close();
    }
    try {
      const auto made = std::make_shared<incoming>(*this, socket, ++last_id_);
      unproved_.emplace(made->id(), made);
      made->start();
    } catch (const std::exception& e) {  // out of memory: others may still come
      note("many hosts", e.what());
    }
  }

  void open(const std::shared_ptr<outbox>& box, const std::string& where) {
    const auto give_up = [&](const std::string& why) {
      const error cause{errc::peer_gone, why};
      box->close(cause);
      box->take();
      report_gone(box->peer(), cause);
      forget(*box);
    };
    const auto socket = begin_connect(where, options_.limits.unacknowledged_max);
    if (socket.has_error()) return give_up(socket.error().message());
    try {
      const auto made = std::make_shared<outgoing>(*this, box, *socket, where);
      outgoing_[box.get()] = made;
      made->start();
      if (is_finishing_) made->finish(options_.limits.flush_time);
    } catch (const std::exception& e) {  // out of memory
      outgoing_.erase(box.get());
      give_up(e.what());
    }
  }

  void forget(const outbox& lost) noexcept {
    const std::lock_guard lock{mutex_};
    const auto box = outboxes_.find(lost.peer());
    if (box == outboxes_.end() || box->second.get() != &lost) return;
    counters_.overloaded += lost.overloaded();
    outboxes_.erase(box);
  }

  void wake(const outbox* from) {
    if (const auto found = outgoing_.find(from); found != outgoing_.end()) found->second->wake();
  }

  /// A peer's life shows that its earlier ones are over; of the present one, few connections stay.
  void end_older(node_identity peer) {
    std::vector<std::shared_ptr<incoming>> old;
    std::vector<std::shared_ptr<incoming>> present;
    for (const auto& [id, one] : proved_) {
      if (one->peer() && one->peer()->node == peer.node) {
        (one->peer()->life < peer.life ? old : present).push_back(one);
      }
    }
    if (present.size() >= connections_of_peer_max) old.push_back(present.front());
    for (const auto& one : old) one->close();
    std::vector<std::shared_ptr<outgoing>> over;
    for (const auto& [box, one] : outgoing_) {
      const node_identity to = box->peer();
      const bool is_older = to.life != incarnation{} && to.life < peer.life;
      if (to.node == peer.node && is_older) over.push_back(one);
    }
    for (const auto& one : over) one->lose({errc::peer_gone, "the node has started again"});
  }

  /// Once for each life, and again only where the life was reached again in between.
  void report_gone(node_identity peer, const error& cause) {
    if (is_finishing_) return;
    const auto [known, is_new] = gone_.try_emplace(peer.node, peer.life);
    if (!is_new) {
      if (peer.life <= known->second) return;
      known->second = peer.life;
    }
    if (const auto to = receiver_.lock()) to->on_peer_gone(peer, cause);
  }

  void end_revoked() {
    const auto is_over = [this](const certificate_facts& facts) {
      return facts.node && options_.is_revoked && options_.is_revoked(facts.serial, *facts.node);
    };
    for (const auto& one : copy_of(proved_)) {
      if (is_over(one->certificate())) one->close();
    }
    for (const auto& one : copy_of(outgoing_)) {
      if (is_over(one->certificate())) {
        one->lose({errc::peer_gone, "the certificate of the peer is revoked"});
      }
    }
  }

  void finish() {
    is_finishing_ = true;
    listener_.reset();
    if (pause_) pause_->cancel();
    for (const auto& one : copy_of(unproved_)) one->close();
    for (const auto& one : copy_of(proved_)) one->close();
    for (const auto& one : copy_of(outgoing_)) one->finish(options_.limits.flush_time);
  }

  /// Connections take themselves off the list while it is gone through.
  template <class Map>
  static std::vector<typename Map::mapped_type> copy_of(const Map& from) {
    std::vector<typename Map::mapped_type> all;
    all.reserve(from.size());
    for (const auto& [key, one] : from) all.push_back(one);
    return all;
  }

  void count_open() noexcept {
    const std::lock_guard lock{mutex_};
    counters_.open_incoming = proved_.size();
  }

  const tls_options options_;
  const std::shared_ptr<address_book> book_;

  mutable std::mutex mutex_;
  std::shared_ptr<const context> credentials_;
  std::string address_;
  tls_counters counters_;
  bool is_closed_ = false;
  std::map<node_identity, std::shared_ptr<outbox>> outboxes_;  // of connections that are not lost
  std::map<node_id, std::shared_ptr<sequence_counter>> sequences_;

  node_identity self_;  // set once, by listen(), before the I/O thread begins
  std::weak_ptr<receiver> receiver_;
  buffer_pool buffers_;

  std::unique_ptr<io_thread> io_;  // before what waits on it
  log_once noted_;
  bool is_finishing_ = false;
  std::uint64_t last_id_ = 0;
  std::map<std::uint64_t, std::shared_ptr<incoming>> unproved_;  // oldest first
  std::map<std::uint64_t, std::shared_ptr<incoming>> proved_;
  std::map<const outbox*, std::shared_ptr<outgoing>> outgoing_;
  std::map<node_id, incarnation> lives_;  // the latest that has connected
  std::map<node_id, incarnation> gone_;   // the latest that was reported gone
  std::optional<watched_socket> listener_;
  std::optional<timer> pause_;
};

class tls_backend final : public tls_transport {
public:
  explicit tls_backend(std::unique_ptr<station> inner) : station_{std::move(inner)} {}

  result<void> listen(node_identity self, std::weak_ptr<receiver> to) override {
    try {
      return station_->listen(self, std::move(to));
    } catch (const std::exception& e) {
      return error{errc::io, std::string{"cannot listen: "} + e.what()};
    }
  }

  result<std::shared_ptr<endpoint>> connect(node_id peer) override {
    return station_->connect(peer);
  }

  result<std::unique_ptr<memory_region>> register_memory(std::span<std::byte> bytes) override {
    return plain_region(bytes);
  }

  void close() noexcept override { station_->close(); }
  std::string local_address() const override { return station_->local_address(); }
  void drop_revoked() override { station_->drop_revoked(); }
  tls_counters counters() const override { return station_->counters(); }

  result<void> set_credentials(credentials fresh) override {
    const auto present = station_->credentials();
    const peer_rules& rules = present->rules();
    ATOLL_ASSIGN(const certificate_facts facts, check_credentials(fresh, rules.now_unix_s()));
    if (facts.node != present->own().node || facts.cluster != rules.cluster) {
      return error{errc::unauthorised, "the new certificate is of another node or cluster"};
    }
    ATOLL_ASSIGN(auto made, context::make(fresh, rules));
    station_->use(std::move(made));
    return {};
  }

private:
  std::unique_ptr<station> station_;
};

}  // namespace
}  // namespace tls

result<std::unique_ptr<tls_transport>> make_tls_transport(tls_options options,
                                                          std::shared_ptr<address_book> book) {
  if (!options.now_unix_s) options.now_unix_s = [] { return unix_time_ms() / 1000; };
  ATOLL_ASSIGN(const tls::certificate_facts facts,
               tls::check_credentials(options.own, options.now_unix_s()));
  if (!facts.node) {
    return error{errc::unauthorised, "the certificate is of no node of the cluster"};
  }
  tls::peer_rules rules{facts.cluster, options.is_revoked, options.now_unix_s};
  ATOLL_ASSIGN(auto context, tls::context::make(options.own, std::move(rules)));
  auto made =
      std::make_unique<tls::station>(std::move(options), std::move(book), std::move(context));
  return std::unique_ptr<tls_transport>{std::make_unique<tls::tls_backend>(std::move(made))};
}

}  // namespace atl::transport
