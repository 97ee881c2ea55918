// What a certificate of the cluster says, and whether a node may use it. Node and cluster stand in
// it as a URI, atoll://CLUSTER/node/ID, roles as atoll://CLUSTER/role/NAME; its subject is for
// people and is never read. Plain functions, any thread; times are seconds since 1970.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct x509_st;

namespace atl::transport::tls {

/// Clocks of one cluster may differ by this much.
inline constexpr std::int64_t clock_skew_max_s = 300;

struct certificate_facts {
  std::string cluster;
  std::optional<node_id> node;     // none: the authority, or a server that is no node
  std::vector<std::string> roles;  // that the node may take
  std::string serial;              // lower-case hex
  std::int64_t not_before_unix_s = 0;
  std::int64_t not_after_unix_s = 0;
  friend bool operator==(const certificate_facts&, const certificate_facts&) = default;
};

/// Reads a certificate without trusting it. errc::invalid_argument: not PEM, or not of a cluster.
result<certificate_facts> read_facts(std::string_view certificate_pem);
result<certificate_facts> read_facts(const x509_st& certificate);

/// SHA-256 of the certificate's DER, as hex.
result<std::string> fingerprint_of(std::string_view certificate_pem);

/// What a node shows and by what it knows others; PEM texts. The key is secret: a file of it has
/// mode 0600.
struct credentials {
  std::string authority_pem;
  std::string certificate_pem;
  std::string key_pem;
};

/// The certificate's facts, where it is of this authority, belongs to the key and is valid now.
/// errc::unauthorised says which of these fails, and what to do about it.
result<certificate_facts> check_credentials(const credentials& own, std::int64_t now_unix_s);

/// A private key (EC P-256) and the request for a certificate of it.
struct key_and_request {
  std::string key_pem;
  std::string request_pem;
};
result<key_and_request> make_key_and_request();

/// Says that a certificate is not valid yet or any more, with both times; empty where it is valid.
std::string describe_validity(const certificate_facts& facts, std::int64_t now_unix_s);

/// Whether two clocks agree well enough; else errc::unauthorised that names both times. `whose`:
/// "node 3", "the coordinator".
result<void>
check_clocks(std::int64_t own_unix_s, std::string_view whose, std::int64_t theirs_unix_s);

}  // namespace atl::transport::tls
