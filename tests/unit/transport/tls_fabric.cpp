#include "tests/unit/transport/tls_fabric.hpp"

#include "runtime/base/log.hpp"

namespace atl::transport {

class tls_member final : public transport {
public:
  explicit tls_member(tls_world& world) : world_{world} {}
  tls_member(const tls_member&) = delete;
  tls_member& operator=(const tls_member&) = delete;
  ~tls_member() override {
    tls_member::close();
    if (!inner_) return;
    const std::lock_guard lock{world_.mutex_};
    world_.members_.erase(inner_.get());
    const auto c = inner_->counters();
    world_.past_.frames_sent += c.frames_sent;
    world_.past_.frames_received += c.frames_received;
  }

  result<void> listen(node_identity self, std::weak_ptr<receiver> to) override {
    if (inner_) return inner_->listen(self, std::move(to));
    ATOLL_ASSIGN(auto made, make_tls_transport(world_.options(self.node), world_.book));
    ATOLL_TRY(made->listen(self, std::move(to)));
    inner_ = std::move(made);
    world_.book->put({self, inner_->local_address(), {}, {}});
    const std::lock_guard lock{world_.mutex_};
    world_.members_.insert(inner_.get());
    return {};
  }
  result<std::shared_ptr<endpoint>> connect(node_id peer) override {
    if (!inner_) return error{errc::invalid_argument, "connect before listen"};
    return inner_->connect(peer);
  }
  result<std::unique_ptr<memory_region>> register_memory(std::span<std::byte> bytes) override {
    return inner_->register_memory(bytes);
  }
  void close() noexcept override {
    if (!inner_) return;
    inner_->close();
    const auto is_seen = [this] {
      const std::lock_guard lock{world_.mutex_};
      const auto c = world_.sum();
      world_.lost_ = c.frames_sent - c.frames_received;
      return c.open_incoming == c.open_outgoing && c.queued == 0;
    };
    static_cast<void>(eventually(is_seen));
  }

private:
  tls_world& world_;
  std::unique_ptr<tls_transport> inner_;
};

tls_world::tls_world(const std::string& cluster)
    : root{tls::authority::create(cluster, unix_time_ms() / 1000).value()} {}

tls::credentials tls_world::credentials(node_id node) const {
  const auto key = tls::make_key_and_request().value();
  tls::certificate_order order;
  order.request_pem = key.request_pem;
  order.node = node;
  order.roles = {"expert"};
  return {root.certificate_pem(), root.issue(order, unix_time_ms() / 1000).value(), key.key_pem};
}

tls_options tls_world::options(node_id node) const {
  tls_options made;
  made.listen = "127.0.0.1";
  made.own = credentials(node);
  made.limits.flush_time = std::chrono::seconds{5};  // a busy machine is slow to shake hands
  return made;
}

std::unique_ptr<transport> tls_world::join() { return std::make_unique<tls_member>(*this); }

tls_counters tls_world::sum() const {
  tls_counters all = past_;
  for (const auto* member : members_) {
    const auto c = member->counters();
    all.frames_sent += c.frames_sent;
    all.frames_received += c.frames_received;
    all.queued += c.queued;
    all.open_incoming += c.open_incoming;
    all.open_outgoing += c.open_outgoing;
  }
  return all;
}

bool tls_world::is_quiet() const {
  const std::lock_guard lock{mutex_};
  const auto c = sum();
  return c.queued == 0 && c.frames_sent == c.frames_received + lost_ &&
         c.open_incoming == c.open_outgoing;
}

}  // namespace atl::transport
