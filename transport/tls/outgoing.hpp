// A connection that this node opens to one life of a peer: proves both ends, then writes the frames
// of an outbox. I/O thread only.
//
//   connecting -> handshake -> greeting -> open -> closed; any of these -> closed
#pragma once

#include "transport/tls/hub.hpp"
#include "transport/tls/outbox.hpp"

namespace atl::transport::tls {

class outgoing : public std::enable_shared_from_this<outgoing> {
public:
  /// Takes over a socket that begin_connect() made.
  outgoing(hub& of, std::shared_ptr<outbox> from, int socket, std::string address);

  void start();
  /// There is something in the outbox.
  void wake();
  /// Writes what waits, then ends; after `within` at the latest.
  void finish(std::chrono::milliseconds within);
  /// The hub hears of it, and why.
  void lose(const error& cause);

  outbox& box() noexcept { return *outbox_; }
  const certificate_facts& certificate() const noexcept { return channel_.peer(); }

private:
  enum class phase { connecting, handshake, greeting, open, closed };

  void on_event();
  void guarded(void (outgoing::*step)());
  void advance();
  void wait_readable();
  void wait_writable();
  void connected();
  void shake_hands();
  void greet();
  void read_answer();
  void take_answer();
  void watch_peer();
  void write_on();
  bool gather();
  std::span<const std::byte> next_bytes() const;
  void took(std::size_t count);
  void end(const error* cause);
  void fail(const std::string& why, errc code = errc::peer_gone);

  hub& hub_;
  const std::shared_ptr<outbox> outbox_;
  watched_socket socket_;
  channel channel_;
  timer deadline_;
  const std::string address_;
  phase phase_ = phase::connecting;
  bool is_finishing_ = false;
  bool is_blocked_ = false;  // the socket takes no more until it says so
  greeting_bytes greeting_{};
  std::span<std::byte> wanted_;        // the rest of the peer's greeting
  std::deque<frame> frames_;           // the first is being written where direct_ is not empty
  std::vector<std::byte> staged_;      // heads and small payloads of one or more frames
  std::size_t staged_at_ = 0;          // written so far
  std::span<const std::byte> direct_;  // the rest of a large payload, written where it lies
};

}  // namespace atl::transport::tls
