#include "transport/tls/sockets.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <charconv>
#include <ifaddrs.h>
#include <memory>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

namespace atl::transport::tls {

namespace {

constexpr int backlog = 1024;

struct socket_address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
};

std::string reason() { return std::error_code{errno, std::generic_category()}.message(); }

struct host_port {
  std::string host;
  std::uint16_t port = 0;
};

/// The port may be left out where `needs_port` is false.
std::optional<host_port> split(const std::string& text, bool needs_port) {
  in6_addr plain{};
  if (!needs_port && ::inet_pton(AF_INET6, text.c_str(), &plain) == 1) return host_port{text, 0};
  const std::size_t colon = text.rfind(':');
  const bool is_closed = !text.empty() && text.back() == ']';
  host_port parsed;
  if (colon == std::string::npos || is_closed) {
    if (needs_port) return std::nullopt;
    parsed.host = text;
  } else {
    parsed.host = text.substr(0, colon);
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data() + colon + 1, end, parsed.port);
    if (read.ec != std::errc{} || read.ptr != end) return std::nullopt;
  }
  if (parsed.host.starts_with('[') && parsed.host.ends_with(']')) {
    parsed.host = parsed.host.substr(1, parsed.host.size() - 2);
  }
  if (parsed.host.empty()) return std::nullopt;
  return parsed;
}

std::optional<socket_address> numeric(const host_port& where) {
  socket_address made;
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&made.storage);
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&made.storage);
  if (::inet_pton(AF_INET, where.host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(where.port);
    made.size = sizeof *v4;
  } else if (::inet_pton(AF_INET6, where.host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(where.port);
    made.size = sizeof *v6;
  } else {
    return std::nullopt;
  }
  return made;
}

bool is_any(const socket_address& where) {
  if (where.storage.ss_family == AF_INET) {
    return reinterpret_cast<const sockaddr_in&>(where.storage).sin_addr.s_addr == INADDR_ANY;
  }
  return IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6&>(where.storage).sin6_addr);
}

std::string host_text(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address->sa_family == AF_INET) {
    ::inet_ntop(
        AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  } else if (address->sa_family == AF_INET6) {
    ::inet_ntop(
        AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text, sizeof text);
  }
  return text;
}

std::string to_text(const socket_address& where) {
  const bool is_v6 = where.storage.ss_family == AF_INET6;
  const std::uint16_t port =
      ntohs(is_v6 ? reinterpret_cast<const sockaddr_in6&>(where.storage).sin6_port
                  : reinterpret_cast<const sockaddr_in&>(where.storage).sin_port);
  const std::string host = host_text(reinterpret_cast<const sockaddr*>(&where.storage));
  return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

struct interfaces {
  interfaces() {
    if (::getifaddrs(&first) != 0) first = nullptr;
  }
  interfaces(const interfaces&) = delete;
  interfaces& operator=(const interfaces&) = delete;
  ~interfaces() { ::freeifaddrs(first); }

  /// Calls with name and IP address; link-local IPv6 addresses mean nothing without their link.
  template <class Call>
  void each(Call call) const {
    for (const ifaddrs* one = first; one != nullptr; one = one->ifa_next) {
      if (one->ifa_addr == nullptr) continue;
      const std::string host = host_text(one->ifa_addr);
      if (!host.empty() && !host.starts_with("fe80:")) call(std::string{one->ifa_name}, host);
    }
  }

  ifaddrs* first = nullptr;
};

/// An IPv4 address of the interface before any other; empty: there is no such interface.
std::string address_of_interface(const std::string& name) {
  std::string found;
  interfaces{}.each([&](const std::string& interface, const std::string& host) {
    if (interface != name) return;
    const bool is_v4 = host.find(':') == std::string::npos;
    if (found.empty() || (is_v4 && found.find(':') != std::string::npos)) found = host;
  });
  return found;
}

std::string what_there_is() {
  std::string text;
  interfaces{}.each([&](const std::string& interface, const std::string& host) {
    text.append(text.empty() ? "" : ", ").append(interface).append(" ").append(host);
  });
  return text;
}

error no_interface(const std::string& where) {
  return error{errc::invalid_argument,
               "cannot listen on '" + where +
                   "': this machine has no such interface or address; it has " + what_there_is()};
}

result<socket_address> listening_address(const std::string& where) {
  auto parsed = split(where, false);
  if (!parsed) {
    return error{errc::invalid_argument,
                 "listen address '" + where + "' is not IP:PORT, [IPV6]:PORT or INTERFACE:PORT"};
  }
  auto address = numeric(*parsed);
  if (!address) {
    parsed->host = address_of_interface(parsed->host);
    address = numeric(*parsed);
  }
  if (!address) return no_interface(where);
  if (is_any(*address)) {
    return error{errc::invalid_argument,
                 "cannot listen on '" + where +
                     "': name one interface or address, since peers are told it; this machine "
                     "has " +
                     what_there_is()};
  }
  return *address;
}

int new_socket(const socket_address& where) {
  return ::socket(where.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
}

void set(int socket, int level, int name, int value) {
  ::setsockopt(socket, level, name, &value, sizeof value);
}

}  // namespace

result<int> listen_on(const std::string& where) {
  ATOLL_ASSIGN(socket_address address, listening_address(where));
  const int socket = new_socket(address);
  if (socket < 0) return error{errc::io, "cannot listen on '" + where + "': " + reason()};
  set(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  if (::bind(socket, address.raw(), address.size) == 0 && ::listen(socket, backlog) == 0) {
    return socket;
  }
  const bool is_missing = errno == EADDRNOTAVAIL;
  const std::string why = reason();
  ::close(socket);
  if (is_missing) return no_interface(where);
  return error{errc::io, "cannot listen on '" + where + "': " + why};
}

result<int> begin_connect(const std::string& where, std::chrono::milliseconds unacknowledged_max) {
  const auto parsed = split(where, true);
  auto address = parsed ? numeric(*parsed) : std::nullopt;
  if (!address) {
    return error{errc::peer_gone, "the peer's address '" + where + "' is not IP:PORT"};
  }
  const int socket = new_socket(*address);
  if (socket < 0) return error{errc::io, "no socket for a connection: " + reason()};
  set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(unacknowledged_max.count()));
  if (::connect(socket, address->raw(), address->size) == 0 || errno == EINPROGRESS) return socket;
  const std::string why = reason();
  ::close(socket);
  return error{errc::peer_gone, "no connection to " + where + ": " + why};
}

std::string connect_failure(int socket) {
  int failure = 0;
  socklen_t size = sizeof failure;
  if (::getsockopt(socket, SOL_SOCKET, SO_ERROR, &failure, &size) != 0) return reason();
  if (failure == 0) return {};
  return std::error_code{failure, std::generic_category()}.message();
}

int accept_from(int listening) {
  const int socket = ::accept4(listening, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (socket < 0) return socket;
  set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);  // a peer that was cut off leaves no socket behind
  set(socket, IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(socket, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
  return socket;
}

std::string local_address_of(int socket) {
  socket_address address;
  address.size = sizeof address.storage;
  return ::getsockname(socket, address.raw(), &address.size) == 0 ? to_text(address)
                                                                  : std::string{};
}

std::string peer_address_of(int socket) {
  socket_address address;
  address.size = sizeof address.storage;
  return ::getpeername(socket, address.raw(), &address.size) == 0 ? to_text(address)
                                                                  : std::string{};
}

std::string host_of(const std::string& address) { return address.substr(0, address.rfind(':')); }

}  // namespace atl::transport::tls
