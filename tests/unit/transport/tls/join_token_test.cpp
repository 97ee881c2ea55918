#include "transport/tls/join_token.hpp"
#include "transport/tls/ticket.hpp"

#include <gtest/gtest.h>

namespace atl::transport::tls {
namespace {

constexpr std::int64_t now = 1'790'000'000;

/// 0, 1, 2, ... over all calls.
random_bytes counting() {
  return [next = 0](std::span<std::byte> into) mutable {
    for (std::byte& one : into) one = static_cast<std::byte>(next++);
  };
}

const std::string fingerprint(64, 'f');

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span{text});
}

TEST(secrets, hash_as_published) {
  // FIPS 180-2, appendix B.1; RFC 4231, test case 2.
  EXPECT_EQ(to_hex(sha256(bytes_of("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(hmac_sha256(bytes_of("Jefe"), bytes_of("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(secrets, are_not_repeated) {
  std::array<std::byte, 32> one{};
  std::array<std::byte, 32> two{};
  secure_random(one);
  secure_random(two);
  EXPECT_NE(one, two);
}

TEST(secrets, compare_by_size_and_content) {
  EXPECT_TRUE(equal_in_constant_time(bytes_of("abc"), bytes_of("abc")));
  EXPECT_TRUE(equal_in_constant_time({}, {}));
  EXPECT_FALSE(equal_in_constant_time(bytes_of("abc"), bytes_of("abd")));
  EXPECT_FALSE(equal_in_constant_time(bytes_of("abc"), bytes_of("ab")));
}

TEST(join_token, has_a_text_form) {
  const join_token made = make_join_token(fingerprint, counting());
  EXPECT_EQ(to_text(made),
            "atoll-join-000102030405."
            "060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425." +
                fingerprint);
  EXPECT_EQ(parse_join_token(to_text(made)).value(), made);
  EXPECT_EQ(parse_join_token("  " + to_text(made) + "\n").value(), made);
  EXPECT_NE(make_join_token(fingerprint), make_join_token(fingerprint));
}

TEST(join_token, text_that_is_none_is_refused_without_being_repeated) {
  const join_token made = make_join_token(fingerprint, counting());
  const std::string good = to_text(made);
  std::vector<std::string> bad{
      "", "\n", "atoll-join-", good.substr(1), good + "0", "Atoll" + good.substr(5)};
  for (std::size_t size = 0; size < good.size(); ++size) bad.push_back(good.substr(0, size));
  std::string odd = good;
  odd[20] = 'G';
  bad.push_back(odd);
  odd = good;
  odd[23] = '0';
  bad.push_back(odd);
  for (const std::string& text : bad) {
    const auto read = parse_join_token(text);
    ASSERT_TRUE(read.has_error()) << text;
    EXPECT_EQ(read.error().code(), errc::invalid_argument);
    EXPECT_EQ(read.error().message().find(made.secret.substr(0, 8)), std::string::npos);
  }
}

class token_lists : public testing::Test {
protected:
  token_lists() {
    list.records.push_back(
        {token.id, hash_secret(token.secret), {"attention", "expert"}, now + 3600, 2, false});
  }
  std::string use(const std::vector<std::string>& roles, std::int64_t when) {
    return use(token.id, token.secret, roles, when);
  }
  std::string use(std::string_view id,
                  std::string_view secret,
                  const std::vector<std::string>& roles,
                  std::int64_t when) {
    const auto before = list;
    const auto used = list.consume(id, secret, roles, when);
    if (used.has_value()) return "taken";
    EXPECT_EQ(list, before) << "a refusal takes nothing";
    EXPECT_EQ(used.error().code(), errc::unauthorised);
    EXPECT_EQ(used.error().message().find(token.secret), std::string::npos);
    return used.error().message();
  }
  bool says(const std::string& message, std::string_view part) {
    if (message.find(part) != std::string::npos) return true;
    ADD_FAILURE() << "'" << message << "' does not say '" << part << "'";
    return false;
  }

  join_token token = make_join_token(fingerprint, counting());
  token_list list;
};

TEST_F(token_lists, gives_each_use_once) {
  EXPECT_EQ(use({"expert"}, now), "taken");
  EXPECT_EQ(use({"attention", "expert"}, now + 3599), "taken");
  says(use({"expert"}, now), "used up");
}

TEST_F(token_lists, knows_when_a_token_has_expired) {
  says(use({"expert"}, now + 3600), "expired 0 s ago");
  says(use({"expert"}, now + 3600 + 420), "expired 7 min ago");
  says(use({"expert"}, now + 3600 * 4), "expired 3 h ago");
  says(use({"expert"}, now + 3600 * 73), "expired 3 days ago");
}

TEST_F(token_lists, keeps_to_the_roles_of_a_token) {
  says(use({"gateway"}, now), "not for the role 'gateway' but for: attention, expert");
  says(use({"expert", "coordinator"}, now), "create --role coordinator");
  says(use({}, now), "needs a role");
}

TEST_F(token_lists, refuses_strangers_and_wrong_secrets) {
  says(use("aaaaaaaaaaaa", token.secret, {"expert"}, now), "aaaaaaaaaaaa is unknown");
  says(use("evil\nline", token.secret, {"expert"}, now), "of no valid id is unknown");
  std::string wrong = token.secret;
  wrong.back() = wrong.back() == '0' ? '1' : '0';
  says(use(token.id, wrong, {"expert"}, now), "secret it was made with");
  says(use(token.id, "", {"expert"}, now), "secret it was made with");
  says(use(token.id, list.records[0].secret_hash, {"expert"}, now), "secret it was made with");
  says(use(token.id, wrong, {"expert"}, now + 9999), "secret it was made with");
}

TEST_F(token_lists, revokes) {
  EXPECT_EQ(list.revoke("aaaaaaaaaaaa").error().code(), errc::not_found);
  ASSERT_TRUE(list.revoke(token.id).has_value());
  says(use({"expert"}, now), "was revoked");
}

TEST(ticket, names_both_lives_and_the_direction) {
  const ticket_key key = make_ticket_key(counting());
  const node_identity a{node_id{1}, incarnation{11}};
  const node_identity b{node_id{2}, incarnation{22}};
  const auto ticket = issue_ticket(key, a, b);
  EXPECT_EQ(ticket.size(), 32U);
  EXPECT_TRUE(accepts_ticket(key, a, b, ticket));
  EXPECT_FALSE(accepts_ticket(key, b, a, ticket));
  EXPECT_FALSE(accepts_ticket(key, {a.node, incarnation{12}}, b, ticket));
  EXPECT_FALSE(accepts_ticket(key, {node_id{3}, a.life}, b, ticket));
  EXPECT_FALSE(accepts_ticket(key, a, {b.node, incarnation{23}}, ticket));
  EXPECT_FALSE(accepts_ticket(make_ticket_key(), a, b, ticket));
  auto changed = ticket;
  changed[31] ^= std::byte{1};
  EXPECT_FALSE(accepts_ticket(key, a, b, changed));
  changed.resize(31);
  EXPECT_FALSE(accepts_ticket(key, a, b, changed));
  EXPECT_FALSE(accepts_ticket(key, a, b, {}));
}

/// hmac.new(bytes(range(32)), b"atoll ticket 1" + struct.pack("<IQIQ", 1, 11, 2, 22), "sha256")
/// of Python 3.11.
TEST(ticket, is_the_same_in_every_release) {
  const auto ticket = issue_ticket(
      make_ticket_key(counting()), {node_id{1}, incarnation{11}}, {node_id{2}, incarnation{22}});
  EXPECT_EQ(to_hex(ticket), "b14172b86d15a596680c10d7621a2ac64609b18045ac923b521ca25e47db8e12");
}

}  // namespace
}  // namespace atl::transport::tls
