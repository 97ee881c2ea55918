// Frames that wait for a connection to a peer: put by any thread, taken by the I/O thread. Bounded.
#pragma once

#include "transport/tls/tls.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

namespace atl::transport::tls {

/// Numbers frames from one life of this node to one node, whatever carries them.
class sequence_counter {
public:
  std::uint64_t next() {
    const std::lock_guard lock{mutex_};
    return ++last_;
  }

private:
  std::mutex mutex_;
  std::uint64_t last_ = 0;
};

class outbox {
public:
  /// `wake` tells the I/O thread that there is something to take; it is not called again before
  /// take(), nor after close(). It may only compare the pointer.
  outbox(node_identity from,
         node_identity to,
         const tls_limits& limits,
         std::shared_ptr<sequence_counter> sequence,
         std::function<void(const outbox*)> wake);

  /// Any thread. Life 0: not known yet.
  node_identity peer() const noexcept;
  /// I/O thread: whoever answers for the node is in this life.
  void meet(incarnation life);

  /// Any thread. errc::overloaded beyond the bounds; errc::peer_gone after close().
  result<void> put(frame f);

  /// Any thread: later frames are refused for this reason; those that wait stay.
  void close(const error& cause);
  bool is_closed() const;
  /// Any thread: frames put and not released.
  std::size_t frames() const;
  /// Any thread: frames that found the queue full.
  std::uint64_t overloaded() const;

  /// I/O thread: what waits, in order. It counts against the bounds until release().
  std::deque<frame> take();
  void release(const frame& f);

private:
  const node_identity from_;
  const std::size_t bytes_max_;
  const std::size_t frames_max_;
  const std::shared_ptr<sequence_counter> sequence_;
  mutable std::mutex mutex_;
  node_identity to_;
  std::function<void(const outbox*)> wake_;
  std::deque<frame> waiting_;
  std::size_t bytes_ = 0;   // of frames put and not released
  std::size_t frames_ = 0;  // likewise
  std::uint64_t overloaded_ = 0;
  bool is_woken_ = false;
  std::optional<error> closed_;
};

}  // namespace atl::transport::tls
