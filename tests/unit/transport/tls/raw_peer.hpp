// The other end of a connection, byte by byte: what a node would never send.
#pragma once

#include "transport/frame.hpp"
#include "transport/tls/certificate.hpp"
#include "transport/tls/greeting.hpp"

#include <memory>
#include <optional>
#include <string>

namespace atl::transport {

/// A blocking client without any rules of its own. Reads give up after ten seconds.
class raw_peer {
public:
  explicit raw_peer(const std::string& address);
  raw_peer(const raw_peer&) = delete;
  raw_peer& operator=(const raw_peer&) = delete;
  ~raw_peer();

  void send_plain(std::string_view bytes) const;
  /// True once the other end has closed or reset the connection.
  bool is_closed_by_peer() const;

  /// A TLS client that shows these credentials, if any, and believes whatever the server shows.
  bool start_tls(const std::optional<tls::credentials>& own, int newest_version = 0);
  bool send(std::span<const std::byte> bytes);
  /// What came; fewer bytes than asked for at the end of the connection.
  std::vector<std::byte> read(std::size_t bytes);
  /// The reason that TLS gave for the last failure, an alert of the server for example.
  const std::string& reason() const { return reason_; }
  std::string serial_of_server() const;

  /// Both greetings; the answer of the server.
  std::optional<tls::greeting> greet(node_identity from, node_identity to);
  bool send_frame(frame f);

private:
  struct impl;
  std::unique_ptr<impl> impl_;
  std::string reason_;
};

/// A TCP listener that accepts nothing and says nothing.
class silent_listener {
public:
  silent_listener();
  silent_listener(const silent_listener&) = delete;
  silent_listener& operator=(const silent_listener&) = delete;
  ~silent_listener();
  std::string address() const;

private:
  int socket_;
};

}  // namespace atl::transport
