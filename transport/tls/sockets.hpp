// TCP sockets of a transport: non-blocking, closed on exec, without Nagle's delay. Addresses are
// text: "192.0.2.7:7400", "[2001:db8::7]:7400". Plain functions, any thread; a returned socket
// belongs to the caller.
#pragma once

#include "runtime/base/result.hpp"

#include <chrono>
#include <string>

namespace atl::transport::tls {

/// `where`: an IP address or the name of a network interface, with ":PORT" or for any free port
/// without. One address of this machine, never all: peers are told it. errc::invalid_argument names
/// what this machine has where there is no such interface.
result<int> listen_on(const std::string& where);

/// A connection that is under way; writable once it stands or has failed. `unacknowledged_max`:
/// after so long without the peer's acknowledgement of what was sent, the connection is lost.
result<int> begin_connect(const std::string& where, std::chrono::milliseconds unacknowledged_max);

/// Why a connection that was begun has failed; empty: it stands.
std::string connect_failure(int socket);

/// A connection that waits at a listening socket; -1 and errno where none does.
int accept_from(int listening);

std::string local_address_of(int socket);
/// Empty: the peer is gone already.
std::string peer_address_of(int socket);

/// The host of an address: what stands before its port.
std::string host_of(const std::string& address);

}  // namespace atl::transport::tls
