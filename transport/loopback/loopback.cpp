#include "transport/loopback/loopback.hpp"

#include "runtime/base/assert.hpp"
#include "transport/node_directory.hpp"

#include <utility>

namespace atl::transport {

namespace {

using life = node_directory::life;

/// What arrives is built only from bytes that passed the checks of any medium.
result<void> deliver(frame f, receiver& to) {
  f.header.flags &= static_cast<std::uint16_t>(~flag_payload_checksummed);
  ATOLL_ASSIGN(const header_bytes bytes, seal(f));
  ATOLL_ASSIGN(f.header, parse_header(bytes));
  ATOLL_TRY(check_metadata(f.header, f.metadata));
  ATOLL_TRY(check_payload(f.header, f.payload.bytes));
  to.on_frame(std::move(f));
  return {};
}

class loopback_endpoint final : public endpoint {
public:
  loopback_endpoint(std::shared_ptr<node_directory> nodes, life from, life to)
      : nodes_{std::move(nodes)}, from_{std::move(from)}, to_{std::move(to)} {}

  node_identity peer() const noexcept override { return to_->self; }

  result<void> send(frame f) override {
    if (!nodes_->is_open(from_)) return error{errc::peer_gone, "this node has closed"};
    ATOLL_ASSIGN(const auto to, nodes_->receiver_of(to_));
    {
      const std::lock_guard lock{mutex_};
      if (is_closed_) return error{errc::peer_gone, "this endpoint is closed"};
    }
    const node_id peer = to_->self.node;
    stamp(f, from_->self, peer, nodes_->next_sequence(from_, peer));
    return deliver(std::move(f), *to);
  }

  void close() noexcept override {
    const std::lock_guard lock{mutex_};
    is_closed_ = true;
  }

private:
  std::shared_ptr<node_directory> nodes_;
  life from_;
  life to_;
  std::mutex mutex_;
  bool is_closed_ = false;
};

class loopback_transport final : public transport {
public:
  explicit loopback_transport(std::shared_ptr<node_directory> nodes) : nodes_{std::move(nodes)} {}
  loopback_transport(const loopback_transport&) = delete;
  loopback_transport& operator=(const loopback_transport&) = delete;
  ~loopback_transport() override { loopback_transport::close(); }

  result<void> listen(node_identity self, std::weak_ptr<receiver> to) override {
    if (self_ != nullptr) return error{errc::invalid_argument, "this transport listens already"};
    ATOLL_ASSIGN(self_, nodes_->open(self, std::move(to)));
    return {};
  }

  result<std::shared_ptr<endpoint>> connect(node_id peer) override {
    if (self_ == nullptr) return error{errc::invalid_argument, "connect before listen"};
    ATOLL_ASSIGN(auto to, nodes_->watch(self_, peer));
    return std::shared_ptr<endpoint>{
        std::make_shared<loopback_endpoint>(nodes_, self_, std::move(to))};
  }

  result<std::unique_ptr<memory_region>> register_memory(std::span<std::byte> bytes) override {
    return plain_region(bytes);
  }

  void close() noexcept override {
    if (self_ == nullptr) return;
    const error cause{errc::peer_gone, "the peer has closed"};
    for (const life& watcher : nodes_->close(self_)) {
      if (auto to = nodes_->receiver_of(watcher); to.has_value()) {
        (*to)->on_peer_gone(self_->self, cause);
      }
    }
  }

private:
  std::shared_ptr<node_directory> nodes_;
  life self_;  // null before listen
};

}  // namespace

loopback_network::loopback_network() : nodes_{std::make_shared<node_directory>()} {}

std::unique_ptr<transport> loopback_network::join() {
  return std::make_unique<loopback_transport>(nodes_);
}

}  // namespace atl::transport
