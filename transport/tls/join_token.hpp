// How a machine shows that an operator wants it in the cluster, once: a token of an id, a secret
// and the fingerprint of the cluster's authority, by which the machine knows the cluster in turn.
// The text is shown once, when it is made; what is kept is a hash of the secret. Plain values:
// whoever keeps the list guards it and writes it down.
#pragma once

#include "runtime/base/result.hpp"
#include "transport/tls/secrets.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace atl::transport::tls {

struct join_token {
  std::string id;           // 12 hex digits; no secret, names the token in lists and logs
  std::string secret;       // 64 hex digits: 32 random bytes
  std::string fingerprint;  // of the authority's certificate (authority.hpp)
  friend bool operator==(const join_token&, const join_token&) = default;
};

join_token make_join_token(std::string fingerprint, const random_bytes& random = secure_random);

/// "atoll-join-<id>.<secret>.<fingerprint>": letters, digits, '-' and '.' only.
std::string to_text(const join_token& token);
/// White space around the text is no matter. errc::invalid_argument names what is wrong with it but
/// repeats nothing of it.
result<join_token> parse_join_token(std::string_view text);

/// SHA-256 as hex. The secret is 256 random bits, so a fast hash is as good as a slow one.
std::string hash_secret(std::string_view secret);

/// What the cluster remembers of a token.
struct token_record {
  std::string id;
  std::string secret_hash;
  std::vector<std::string> roles;  // that a machine may take with it
  std::int64_t expires_unix_s = 0;
  std::uint32_t uses_left = 0;
  bool is_revoked = false;
  friend bool operator==(const token_record&, const token_record&) = default;
};

struct token_list {
  std::vector<token_record> records;

  /// Takes one use of a token for a machine that asks for these roles. errc::unauthorised, and
  /// nothing is taken: the token is unknown, wrong, revoked, expired, used up, or not for a role.
  /// Only who knows the secret hears more than the first two.
  result<void> consume(std::string_view id,
                       std::string_view secret,
                       const std::vector<std::string>& roles,
                       std::int64_t now_unix_s);

  /// errc::not_found: no such token.
  result<void> revoke(std::string_view id);

  friend bool operator==(const token_list&, const token_list&) = default;
};

}  // namespace atl::transport::tls
