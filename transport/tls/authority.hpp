// The cluster's own authority: makes the certificates by which nodes know each other. Holds a
// secret key: who keeps its text keeps it in a file of mode 0600. Immutable after creation; issue()
// may be called from any thread.
#pragma once

#include "transport/tls/certificate.hpp"
#include "transport/tls/secrets.hpp"

#include <chrono>
#include <memory>

namespace atl::transport::tls {

struct key_pair_pem {
  std::string certificate;
  std::string key;  // secret
};

/// For whom a certificate is. A node's serves it as server and as client; without a node, it is a
/// server's only, and no transport takes it.
struct certificate_order {
  std::string request_pem;  // its signature is checked and its key taken; all else is ignored
  std::optional<node_id> node;
  std::vector<std::string> roles;  // of a-z, 0-9 and '-'
  std::vector<std::string> names;  // host names and IP addresses that clients reach it by
  std::chrono::seconds lifetime{std::chrono::hours{24}};  // at least a minute
};

class authority {
public:
  /// A new one (EC P-256, valid for ten years). `cluster`: 1 to 64 of a-z, 0-9 and '-'.
  static result<authority> create(const std::string& cluster,
                                  std::int64_t now_unix_s,
                                  const random_bytes& random = secure_random);
  /// errc::invalid_argument: not PEM, no authority's certificate, or not its key.
  static result<authority> load(const key_pair_pem& saved);

  key_pair_pem save() const;
  const std::string& cluster() const noexcept;
  const std::string& certificate_pem() const noexcept;
  /// By which a machine that joins knows the authority.
  const std::string& fingerprint() const noexcept;

  /// A certificate as PEM text, valid from five minutes ago (clocks differ) for the lifetime from
  /// now, but not longer than the authority itself. errc::invalid_argument: a bad order.
  result<std::string> issue(const certificate_order& order,
                            std::int64_t now_unix_s,
                            const random_bytes& random = secure_random) const;

private:
  struct parts;
  explicit authority(std::shared_ptr<const parts> p) noexcept : parts_{std::move(p)} {}
  std::shared_ptr<const parts> parts_;
};

}  // namespace atl::transport::tls
