// TLS on a non-blocking socket, with the rules by which nodes of a cluster know each other: TLS 1.3
// only, both ends show a certificate of the cluster's authority, each names a node, and none is
// revoked. OpenSSL is behind it. A context may be shared by threads; a channel belongs to one.
#pragma once

#include "transport/tls/certificate.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

struct ssl_ctx_st;

namespace atl::transport::tls {

/// What decides about a peer's certificate, beside its signature.
struct peer_rules {
  std::string cluster;
  std::function<bool(const std::string& serial, node_id node)> is_revoked;  // empty: none is
  std::function<std::int64_t()> now_unix_s;
};

class context {
public:
  /// The credentials were checked before (check_credentials).
  static result<std::shared_ptr<const context>> make(const credentials& own, peer_rules rules);

  const peer_rules& rules() const noexcept { return rules_; }
  const certificate_facts& own() const noexcept { return own_; }
  ssl_ctx_st* raw() const noexcept { return raw_.get(); }

private:
  std::shared_ptr<ssl_ctx_st> raw_;
  peer_rules rules_;
  certificate_facts own_;
};

class channel {
public:
  enum class end { server, client };
  enum class state { done, wants_read, wants_write, ended, failed };
  struct outcome {
    state what = state::done;
    std::size_t count = 0;
  };

  /// `expected`: the node that the peer's certificate must name, where that is known. The socket
  /// outlives the channel.
  channel(std::shared_ptr<const context> with,
          int socket,
          end side,
          std::optional<node_id> expected);
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;
  ~channel();

  outcome handshake();
  outcome read(std::span<std::byte> into);
  /// May take a part. After wants_*, the next write begins with the same bytes.
  outcome write(std::span<const std::byte> bytes);
  /// Tells the peer that no more comes.
  void end_writing() noexcept;

  /// What the peer's certificate says; after the handshake.
  const certificate_facts& peer() const noexcept;
  /// Why the last call failed: which end refused the other, and for what reason.
  const std::string& failure() const noexcept;
  /// Whether it was the peer, for this end's certificate being revoked.
  bool is_refused_as_revoked() const noexcept;

private:
  struct impl;
  std::unique_ptr<impl> impl_;
};

}  // namespace atl::transport::tls
