// Where frames become messages and messages frames: the only part of the actors that touches the
// transports. Each node has one. Every frame has passed the transport's checks (header, checksum)
// and the codec's (structure, meaning) before an actor sees it; one that fails is counted, logged
// and dropped. So is a frame of a life that is over, and one that comes a second time.
//
// A message goes by the path of its kind (transport/plane.hpp); one to the node itself goes through
// a loopback, whatever the paths are.
//
// Threads: all members from any thread; what bind() and watch_connections() are given is called
// without a lock that a sender may want.
#pragma once

#include "actors/messages.hpp"
#include "actors/node_links.hpp"
#include "runtime/base/clock.hpp"
#include "transport/sequence_window.hpp"
#include "transport/transport.hpp"
#include "transport/wire/codec.hpp"

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>

namespace atl::actors {

class mailroom {
public:
  using deliver_function = std::function<void(incoming_ptr)>;

  mailroom(transport::node_identity self, node_links links);
  ~mailroom();
  mailroom(const mailroom&) = delete;
  mailroom& operator=(const mailroom&) = delete;

  /// Begins to take frames.
  result<void> open();
  /// Ends this life on every path: peers with an endpoint to it are told.
  void close();

  transport::node_identity self() const noexcept { return self_; }
  node_id node() const noexcept { return self_.node; }

  /// Messages for `slot` go to `deliver`, which only puts them into a mailbox.
  void bind(std::uint32_t slot, deliver_function deliver);
  /// Losses that a medium tells of go to `tell`, likewise.
  void watch_connections(std::function<void(connection_lost)> tell);
  /// Forgets all of them, and with them what names an actor. After the last actor has ended.
  /// Returns when none of them is being called.
  void unbind();

  /// Whose frames are taken from now on, and where peers are. A node that is dead, or was a member
  /// and is none any more, is heard again only in a later life.
  void set_members(const transport::wire::members& all);

  /// Encodes and sends. The error is the codec's or the transport's; nothing was sent then.
  template <class Message>
  result<void> send(std::uint32_t from_slot, transport::address to, const Message& m) {
    ATOLL_ASSIGN(auto f, transport::wire::encode(m, {self_.node, from_slot}, to));
    const auto path = transport::plane_of(f.header.kind);
    return send_frame(path, to.node, std::move(f));
  }
  /// Heartbeats, which go by either path.
  result<void>
  send_heartbeat(transport::plane path, node_id to, const transport::wire::heartbeat& m);

  /// Frames and their bytes (metadata and payload) sent, and frames dropped on arrival: those that
  /// failed a check, those of a life that is over, and repeats.
  struct traffic {
    std::uint64_t frames = 0;
    std::uint64_t bytes = 0;
    std::uint64_t refused = 0;
    std::uint64_t stale = 0;
    std::uint64_t repeated = 0;
  };
  traffic counts() const;

private:
  class port;  // one path's receiver
  using path_index = std::size_t;
  static constexpr path_index self_path = 2;

  struct peer {
    incarnation oldest_heard;  // frames of earlier lives are dropped
    incarnation listed;        // by the last list; 0: by none, or as dead
    // Of the life heard last, for each path.
    std::array<incarnation, 3> life;
    std::array<transport::sequence_window, 3> seen;
    std::array<std::shared_ptr<transport::endpoint>, 3> endpoints;
  };

  result<void> send_frame(transport::plane path, node_id to, transport::frame f);
  result<std::shared_ptr<transport::endpoint>>
  endpoint_to(path_index path, node_id to, std::uint64_t bytes);
  transport::transport& link(path_index path);
  void take(path_index path, transport::frame&& f) noexcept;
  bool is_by_its_path(path_index path, const transport::frame_header& h);
  bool is_news(path_index path, const transport::frame_header& h);
  void lost(path_index path, transport::node_identity who, const error& cause) noexcept;

  transport::node_identity self_;
  node_links links_;
  std::array<std::shared_ptr<port>, 3> ports_;
  std::shared_mutex slots_mutex_;  // the next two; held by many while they deliver
  std::map<std::uint32_t, deliver_function> slots_;
  std::function<void(connection_lost)> tell_lost_;
  mutable std::mutex mutex_;  // peers and counts; not held while sending or delivering
  std::map<node_id, peer> peers_;
  traffic counts_;
};

}  // namespace atl::actors
