#include "transport/tls/join_token.hpp"

#include <algorithm>

namespace atl::transport::tls {

namespace {

constexpr std::string_view prefix = "atoll-join-";
constexpr std::size_t id_digits = 12;
constexpr std::size_t secret_digits = 64;
constexpr std::size_t fingerprint_digits = 64;

std::string random_hex(std::size_t digits, const random_bytes& random) {
  std::vector<std::byte> bytes(digits / 2);
  random(bytes);
  return to_hex(bytes);
}

error refused(std::string_view id, const std::string& why) {
  return error{errc::unauthorised, "join token " + std::string{id} + " " + why};
}

/// "40 s", "7 min", "3 h", "2 days".
std::string spoken(std::int64_t seconds) {
  if (seconds < 120) return std::to_string(seconds) + " s";
  if (seconds < 7200) return std::to_string(seconds / 60) + " min";
  if (seconds < 172'800) return std::to_string(seconds / 3600) + " h";
  return std::to_string(seconds / 86'400) + " days";
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text.append(text.empty() ? "" : ", ").append(word);
  return text;
}

constexpr const char* make_another = ": make another with 'atoll join-token create'";

result<void>
check_use(const token_record& known, const std::vector<std::string>& roles, std::int64_t now) {
  if (known.is_revoked) return refused(known.id, std::string{"was revoked"} + make_another);
  if (now >= known.expires_unix_s) {
    return refused(known.id,
                   "expired " + spoken(now - known.expires_unix_s) + " ago" + make_another);
  }
  if (known.uses_left == 0) return refused(known.id, std::string{"is used up"} + make_another);
  if (roles.empty()) return refused(known.id, "needs a role to be used for");
  for (const std::string& role : roles) {
    if (std::find(known.roles.begin(), known.roles.end(), role) != known.roles.end()) continue;
    std::string why = "is not for the role '";
    why.append(role).append("' but for: ").append(joined(known.roles));
    why.append("; make one with 'atoll join-token create --role ").append(role).append("'");
    return refused(known.id, why);
  }
  return {};
}

}  // namespace

join_token make_join_token(std::string fingerprint, const random_bytes& random) {
  join_token made;
  made.id = random_hex(id_digits, random);
  made.secret = random_hex(secret_digits, random);
  made.fingerprint = std::move(fingerprint);
  return made;
}

std::string to_text(const join_token& token) {
  return std::string{prefix} + token.id + "." + token.secret + "." + token.fingerprint;
}

result<join_token> parse_join_token(std::string_view text) {
  const auto refuse = [](const char* why) {
    return error{errc::invalid_argument,
                 std::string{"this is no join token (atoll-join-ID.SECRET.FINGERPRINT): "} + why};
  };
  constexpr std::string_view white = " \t\r\n";
  const std::size_t first = text.find_first_not_of(white);
  if (first == std::string_view::npos) return refuse("it is empty");
  text = text.substr(first, text.find_last_not_of(white) - first + 1);
  if (!text.starts_with(prefix)) return refuse("it does not begin with atoll-join-");
  text.remove_prefix(prefix.size());
  constexpr std::size_t size = id_digits + 1 + secret_digits + 1 + fingerprint_digits;
  if (text.size() != size || text[id_digits] != '.' || text[id_digits + 1 + secret_digits] != '.') {
    return refuse("a part of it is missing or cut short");
  }
  join_token made{std::string{text.substr(0, id_digits)},
                  std::string{text.substr(id_digits + 1, secret_digits)},
                  std::string{text.substr(size - fingerprint_digits)}};
  if (!is_hex(made.id) || !is_hex(made.secret) || !is_hex(made.fingerprint)) {
    return refuse("it has letters that no token has");
  }
  return made;
}

std::string hash_secret(std::string_view secret) {
  return to_hex(sha256(std::as_bytes(std::span{secret})));
}

result<void> token_list::consume(std::string_view id,
                                 std::string_view secret,
                                 const std::vector<std::string>& roles,
                                 std::int64_t now_unix_s) {
  const std::string hash = hash_secret(secret);
  const auto known = std::find_if(
      records.begin(), records.end(), [&](const token_record& one) { return one.id == id; });
  if (known == records.end()) {
    const std::string shown =
        id.size() == id_digits && is_hex(id) ? std::string{id} : "of no valid id";
    return refused(shown, std::string{"is unknown to this cluster"} + make_another);
  }
  if (!equal_in_constant_time(std::as_bytes(std::span{hash}),
                              std::as_bytes(std::span{known->secret_hash}))) {
    return refused(known->id, "does not carry the secret it was made with: copy it whole");
  }
  ATOLL_TRY(check_use(*known, roles, now_unix_s));
  --known->uses_left;
  return {};
}

result<void> token_list::revoke(std::string_view id) {
  for (token_record& one : records) {
    if (one.id != id) continue;
    one.is_revoked = true;
    return {};
  }
  return error{errc::not_found, "no join token has the id '" + std::string{id} + "'"};
}

}  // namespace atl::transport::tls
