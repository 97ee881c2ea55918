// Where frames become messages and messages frames: the only part of the actors that touches the
// transport. Each node has one. Every frame has passed the transport's checks (header, checksum)
// and the codec's (structure, meaning) before an actor sees it; one that fails is counted, logged
// once a second at most, and dropped.
//
// Threads: bind() before the first frame; the rest from any thread.
#pragma once

#include "actors/messages.hpp"
#include "runtime/base/clock.hpp"
#include "transport/transport.hpp"
#include "transport/wire/codec.hpp"

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

namespace atl::actors {

class mailroom final : public transport::receiver {
public:
  using deliver_function = std::function<void(incoming_ptr)>;

  mailroom(transport::node_identity self, std::shared_ptr<transport::transport> link);

  node_id node() const noexcept { return self_.node; }

  /// Messages for `slot` go to `deliver`, which only puts them into a mailbox.
  void bind(std::uint32_t slot, deliver_function deliver);

  /// Encodes and sends. The error is the codec's or the transport's; nothing was sent then.
  template <class Message>
  result<void> send(std::uint32_t from_slot, transport::address to, const Message& m) {
    ATOLL_ASSIGN(auto f, transport::wire::encode(m, {self_.node, from_slot}, to));
    return send_frame(to.node, std::move(f));
  }

  void on_frame(transport::frame&& f) noexcept override;
  void on_peer_gone(transport::node_identity peer, const error& cause) noexcept override;

  std::uint64_t frames_sent() const noexcept { return sent_.load(std::memory_order_relaxed); }
  std::uint64_t bytes_sent() const noexcept { return bytes_.load(std::memory_order_relaxed); }
  std::uint64_t frames_refused() const noexcept { return refused_.load(std::memory_order_relaxed); }

private:
  result<void> send_frame(node_id to, transport::frame f);
  result<std::shared_ptr<transport::endpoint>> endpoint_to(node_id peer);

  transport::node_identity self_;
  std::shared_ptr<transport::transport> link_;
  std::map<std::uint32_t, deliver_function> slots_;
  std::mutex endpoints_mutex_;
  std::map<node_id, std::shared_ptr<transport::endpoint>> endpoints_;
  std::atomic<std::uint64_t> sent_{0}, bytes_{0}, refused_{0};  // relaxed: counts for people
};

}  // namespace atl::actors
