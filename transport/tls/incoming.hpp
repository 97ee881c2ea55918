// A connection that a peer opened: proves who the peer is, then takes its frames. Nothing is
// allocated for a frame before its header has passed the checks. I/O thread only.
//
//   handshake -> greeting -> header <-> metadata <-> payload
//   any of these -> lingering (an answer must reach the peer) -> closed, or -> closed at once
#pragma once

#include "transport/tls/hub.hpp"

#include <optional>

namespace atl::transport::tls {

class incoming : public std::enable_shared_from_this<incoming> {
public:
  /// Takes the socket over. `id` names the connection on its hub.
  incoming(hub& of, int socket, std::uint64_t id);

  void start();
  /// The hub hears of it.
  void close();

  std::uint64_t id() const noexcept { return id_; }
  /// The peer, once it is proved and admitted.
  const std::optional<node_identity>& peer() const noexcept { return peer_; }
  const certificate_facts& certificate() const noexcept { return channel_.peer(); }

private:
  enum class phase { handshake, greeting, header, metadata, payload, lingering, closed };

  void on_event();
  void advance();
  bool handshake();
  void read_on();
  bool take_part();
  bool take_greeting();
  bool take_header();
  bool take_metadata();
  bool take_frame();
  result<void> check_source(const frame_header& header) const;
  void want(phase next, std::span<std::byte> into);
  void on_deadline();
  bool refuse(const std::string& why);
  bool break_off(const error& why);
  void linger();
  bool drain();

  hub& hub_;
  const std::uint64_t id_;
  watched_socket socket_;
  channel channel_;
  timer deadline_;
  const std::string address_;
  phase phase_ = phase::handshake;
  std::optional<node_identity> peer_;
  std::uint64_t last_sequence_ = 0;
  std::span<std::byte> wanted_;  // the rest of the part that is being read
  greeting_bytes greeting_{};
  header_bytes header_{};
  frame frame_;
  std::span<std::byte> payload_;
};

}  // namespace atl::transport::tls
