// Where frames become messages and messages frames: the only part of the actors that touches the
// transport. Each node has one. Every frame has passed the transport's checks (header, checksum)
// and the codec's (structure, meaning) before an actor sees it; one that fails is counted, logged
// and dropped.
//
// Threads: bind() before the first frame; the rest from any thread.
#pragma once

#include "actors/messages.hpp"
#include "runtime/base/clock.hpp"
#include "transport/transport.hpp"
#include "transport/wire/codec.hpp"

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
  /// Forgets all of them, and with them what names an actor. After the last actor has ended.
  void unbind();

  /// Encodes and sends. The error is the codec's or the transport's; nothing was sent then.
  template <class Message>
  result<void> send(std::uint32_t from_slot, transport::address to, const Message& m) {
    ATOLL_ASSIGN(auto f, transport::wire::encode(m, {self_.node, from_slot}, to));
    return send_frame(to.node, std::move(f));
  }

  void on_frame(transport::frame&& f) noexcept override;
  void on_peer_gone(transport::node_identity peer, const error& cause) noexcept override;

  /// Frames and their bytes (metadata and payload) sent, and frames that failed a check on arrival.
  struct traffic {
    std::uint64_t frames = 0;
    std::uint64_t bytes = 0;
    std::uint64_t refused = 0;
  };
  traffic counts() const;

private:
  result<void> send_frame(node_id to, transport::frame f);
  result<std::shared_ptr<transport::endpoint>> endpoint_to(node_id peer, std::uint64_t bytes);

  transport::node_identity self_;
  std::shared_ptr<transport::transport> link_;
  std::map<std::uint32_t, deliver_function> slots_;
  mutable std::mutex mutex_;  // endpoints and counts; not held while sending
  std::map<node_id, std::shared_ptr<transport::endpoint>> endpoints_;
  traffic counts_;
};

}  // namespace atl::actors
