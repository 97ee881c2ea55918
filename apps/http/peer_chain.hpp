// The certificates that an https server shows, before anything is known of it: for who recognises
// one of them by its fingerprint. Nothing is sent but the handshake, and nothing is trusted.
// Blocks.
#pragma once

#include "apps/http/url.hpp"
#include "runtime/base/result.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace atl::http {

/// PEM texts, the server's own first. errc::peer_gone: no connection; errc::deadline.
result<std::vector<std::string>> fetch_chain(const server_url& server,
                                             std::chrono::milliseconds time);

}  // namespace atl::http
