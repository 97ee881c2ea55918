// How a machine becomes a node, and stays one: the first start with a join token, and the renewal
// of its certificate. Nothing secret leaves before the server has shown the authority whose
// fingerprint is in the token. Blocks on the network and on files.
#pragma once

#include "apps/cluster/state.hpp"
#include "runtime/base/result.hpp"
#include "transport/tls/certificate.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace atl::ops {

struct join_options {
  std::string dir;
  std::string server;  // --join
  std::string token_file;
  std::string name;
  std::vector<std::string> roles;
  std::string version;
  std::string model;  // its fingerprint; empty: the node has none
};

/// Joins, and keeps in the directory what it was told. errc::unauthorised: the token is refused, or
/// the server is not of the token's cluster.
result<node_card> join_cluster(const join_options& o);

/// Key and certificates of a directory that has joined; checked against the clock.
result<transport::tls::credentials> read_credentials(const std::string& dir);

/// When a certificate is due for renewal: at half its life.
std::int64_t renewal_due_unix_s(const transport::tls::certificate_facts& facts) noexcept;

/// Asks for a fresh certificate of the same key and keeps it.
result<transport::tls::credentials> renew_certificate(const std::string& dir,
                                                      const node_card& card);

}  // namespace atl::ops
