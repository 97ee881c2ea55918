// What the cluster's authority issues, judged by the TLS library on its own terms.
#include "transport/tls/authority.hpp"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <set>

namespace atl::transport::tls {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t now = 1'790'000'000;  // 2026-09-21
constexpr std::int64_t hour = 3600;

struct x509_delete {
  void operator()(X509* it) const { X509_free(it); }
};
using x509_ptr = std::unique_ptr<X509, x509_delete>;

x509_ptr parsed(const std::string& pem) {
  BIO* const bytes = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  x509_ptr made{PEM_read_bio_X509(bytes, nullptr, nullptr, nullptr)};
  BIO_free(bytes);
  return made;
}

/// The library's verdict on a chain of two at a time, for a purpose.
int verdict(const std::string& root, const std::string& leaf, std::int64_t at, int purpose) {
  const x509_ptr trusted = parsed(root);
  const x509_ptr judged = parsed(leaf);
  X509_STORE* const store = X509_STORE_new();
  X509_STORE_add_cert(store, trusted.get());
  X509_STORE_CTX* const check = X509_STORE_CTX_new();
  X509_STORE_CTX_init(check, store, judged.get(), nullptr);
  X509_STORE_CTX_set_time(check, 0, at);
  X509_STORE_CTX_set_purpose(check, purpose);
  X509_verify_cert(check);
  const int found = X509_STORE_CTX_get_error(check);
  X509_STORE_CTX_free(check);
  X509_STORE_free(store);
  return found;
}

authority test_authority(const char* cluster = "blue") {
  return authority::create(cluster, now).value();
}

struct node {
  explicit node(const authority& root, std::uint32_t id = 3, std::chrono::seconds lifetime = 24h) {
    auto made = make_key_and_request().value();
    order.request_pem = made.request_pem;
    order.node = node_id{id};
    order.roles = {"attention", "expert"};
    order.names = {"host-3.example", "192.0.2.7", "2001:db8::7"};
    order.lifetime = lifetime;
    own = {root.certificate_pem(), root.issue(order, now).value(), made.key_pem};
  }
  certificate_order order;
  credentials own;
};

TEST(authority, makes_a_certificate_that_the_library_trusts_for_both_ends) {
  const authority root = test_authority();
  const node one{root};
  const std::string& leaf = one.own.certificate_pem;
  const std::string& ca = root.certificate_pem();
  EXPECT_EQ(verdict(ca, leaf, now, X509_PURPOSE_SSL_SERVER), X509_V_OK);
  EXPECT_EQ(verdict(ca, leaf, now, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
  const x509_ptr certificate = parsed(leaf);
  EXPECT_EQ(X509_check_host(certificate.get(), "host-3.example", 0, 0, nullptr), 1);
  EXPECT_EQ(X509_check_host(certificate.get(), "other.example", 0, 0, nullptr), 0);
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "192.0.2.7", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "2001:db8::7", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(certificate.get(), "192.0.2.8", 0), 0);
  EXPECT_EQ(X509_check_ca(certificate.get()), 0);
}

TEST(authority, tolerates_five_minutes_of_clock_and_no_hour) {
  const authority root = test_authority();
  const node one{root, 3, 1h};
  const auto at = [&](std::int64_t when) {
    return verdict(root.certificate_pem(), one.own.certificate_pem, when, X509_PURPOSE_SSL_CLIENT);
  };
  EXPECT_EQ(at(now - 299), X509_V_OK);
  EXPECT_EQ(at(now - 301), X509_V_ERR_CERT_NOT_YET_VALID);
  EXPECT_EQ(at(now + hour - 1), X509_V_OK);
  EXPECT_EQ(at(now + hour + 1), X509_V_ERR_CERT_HAS_EXPIRED);
}

TEST(authority, lives_ten_years_and_nothing_it_issues_lives_longer) {
  const authority root = test_authority();
  const auto facts = read_facts(root.certificate_pem()).value();
  EXPECT_EQ(facts.cluster, "blue");
  EXPECT_FALSE(facts.node.has_value());
  EXPECT_NEAR(static_cast<double>(facts.not_after_unix_s - now), 10 * 365.25 * 86'400, 3 * 86'400);
  const node one{root, 3, std::chrono::hours{24 * 365 * 20}};
  EXPECT_EQ(read_facts(one.own.certificate_pem)->not_after_unix_s, facts.not_after_unix_s);
  EXPECT_TRUE(root.issue(one.order, facts.not_after_unix_s).has_error());
}

TEST(authority, names_node_cluster_and_roles_where_they_are_read_back) {
  const authority root = test_authority();
  const node one{root, 4'000'000'000};
  const auto facts = read_facts(one.own.certificate_pem).value();
  EXPECT_EQ(facts.cluster, "blue");
  EXPECT_EQ(facts.node, node_id{4'000'000'000});
  EXPECT_EQ(facts.roles, (std::vector<std::string>{"attention", "expert"}));
  EXPECT_EQ(facts.not_before_unix_s, now - 300);
  EXPECT_EQ(facts.not_after_unix_s, now + 86'400);
}

TEST(authority, never_gives_a_serial_number_twice) {
  const authority root = test_authority();
  const node one{root};
  std::set<std::string> seen;
  for (int i = 0; i < 50; ++i) {
    const auto facts = read_facts(root.issue(one.order, now).value()).value();
    EXPECT_EQ(facts.serial.size(), 32U);
    EXPECT_TRUE(seen.insert(facts.serial).second);
  }
}

TEST(authority, is_saved_and_loaded_as_text) {
  const authority root = test_authority();
  const auto again = authority::load(root.save());
  ASSERT_TRUE(again.has_value()) << again.error().message();
  EXPECT_EQ(again->fingerprint(), root.fingerprint());
  EXPECT_EQ(again->cluster(), "blue");
  const node one{*again};
  EXPECT_EQ(verdict(root.certificate_pem(), one.own.certificate_pem, now, X509_PURPOSE_SSL_SERVER),
            X509_V_OK);
}

TEST(authority, has_the_fingerprint_of_its_der) {
  const authority root = test_authority();
  const x509_ptr certificate = parsed(root.certificate_pem());
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate.get(), &der);
  unsigned char hash[32];
  EVP_Digest(der, static_cast<std::size_t>(size), hash, nullptr, EVP_sha256(), nullptr);
  OPENSSL_free(der);
  std::string hex;
  for (const unsigned char byte : hash) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", byte);
    hex += two;
  }
  EXPECT_EQ(root.fingerprint(), hex);
  EXPECT_NE(root.fingerprint(), test_authority().fingerprint());
}

TEST(authority, refuses_to_load_what_is_none) {
  const authority root = test_authority();
  const authority other = test_authority();
  const node one{root};
  const auto refused = [](const key_pair_pem& text) {
    const auto loaded = authority::load(text);
    EXPECT_TRUE(loaded.has_error());
    return loaded.has_error() ? loaded.error().message() : std::string{};
  };
  EXPECT_NE(refused({root.save().certificate, other.save().key}).find("not that of"),
            std::string::npos);
  EXPECT_NE(refused({one.own.certificate_pem, one.own.key_pem}).find("authority"),
            std::string::npos);
  EXPECT_NE(refused({"", root.save().key}).find("no PEM"), std::string::npos);
  EXPECT_NE(refused({root.save().certificate, "garbage"}).find("private key"), std::string::npos);
}

TEST(authority, takes_a_plain_word_as_the_cluster) {
  EXPECT_TRUE(authority::create("", now).has_error());
  EXPECT_TRUE(authority::create("a/b", now).has_error());
  EXPECT_TRUE(authority::create("Blue", now).has_error());
  EXPECT_TRUE(authority::create(std::string(65, 'a'), now).has_error());
  EXPECT_TRUE(authority::create(std::string(64, 'a'), now).has_value());
}

TEST(authority, issues_for_nothing_but_a_signed_request_of_a_strong_key) {
  const authority root = test_authority();
  node one{root};
  const auto message = [&](const certificate_order& order) {
    const auto issued = root.issue(order, now);
    return issued.has_error() ? issued.error().message() : std::string{"issued"};
  };
  certificate_order order = one.order;
  order.request_pem = one.own.certificate_pem;
  EXPECT_NE(message(order).find("request is not PEM"), std::string::npos);
  order = one.order;
  order.request_pem = std::string(70'000, 'x');
  EXPECT_NE(message(order).find("70000 bytes"), std::string::npos);

  EVP_PKEY* const weak = EVP_RSA_gen(1024);
  EVP_PKEY* const strong = EVP_EC_gen("P-256");
  EVP_PKEY* const another = EVP_EC_gen("P-256");
  const auto request = [](EVP_PKEY* key, EVP_PKEY* signer) {
    X509_REQ* const made = X509_REQ_new();
    X509_REQ_set_pubkey(made, key);
    X509_REQ_sign(made, signer, EVP_sha256());
    BIO* const text = BIO_new(BIO_s_mem());
    PEM_write_bio_X509_REQ(text, made);
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(text, &bytes);
    std::string pem(bytes, static_cast<std::size_t>(size));
    BIO_free(text);
    X509_REQ_free(made);
    return pem;
  };
  order.request_pem = request(weak, weak);
  EXPECT_NE(message(order).find("P-256"), std::string::npos);
  order.request_pem = request(strong, another);
  EXPECT_NE(message(order).find("not signed"), std::string::npos);
  order.request_pem = request(strong, strong);
  EXPECT_EQ(message(order), "issued");
  for (EVP_PKEY* const key : {weak, strong, another}) EVP_PKEY_free(key);
}

TEST(authority, refuses_a_bad_order) {
  const authority root = test_authority();
  const node one{root};
  const auto is_refused = [&](auto change) {
    certificate_order order = one.order;
    change(order);
    return root.issue(order, now).has_error();
  };
  EXPECT_FALSE(is_refused([](certificate_order&) {}));
  EXPECT_TRUE(is_refused([](certificate_order& o) { o.names = {"a b"}; }));
  EXPECT_TRUE(is_refused([](certificate_order& o) { o.names = {"x,URI:atoll://blue/node/1"}; }));
  EXPECT_TRUE(is_refused([](certificate_order& o) { o.names = {""}; }));
  EXPECT_TRUE(is_refused([](certificate_order& o) { o.roles = {"a/b"}; }));
  EXPECT_TRUE(is_refused([](certificate_order& o) { o.lifetime = 59s; }));
  EXPECT_TRUE(is_refused([](certificate_order& o) { o.node.reset(); })) << "roles without a node";
}

TEST(authority, makes_servers_certificates_that_are_no_clients) {
  const authority root = test_authority();
  node one{root};
  one.order.node.reset();
  one.order.roles.clear();
  const std::string leaf = root.issue(one.order, now).value();
  EXPECT_EQ(verdict(root.certificate_pem(), leaf, now, X509_PURPOSE_SSL_SERVER), X509_V_OK);
  EXPECT_EQ(verdict(root.certificate_pem(), leaf, now, X509_PURPOSE_SSL_CLIENT),
            X509_V_ERR_INVALID_PURPOSE);
  EXPECT_FALSE(read_facts(leaf)->node.has_value());
}

TEST(credentials, are_those_of_one_key_one_authority_and_this_time) {
  const authority root = test_authority();
  const authority other = test_authority();
  const node one{root};
  const node another{root, 4};
  const auto message = [](const credentials& own, std::int64_t when) {
    const auto checked = check_credentials(own, when);
    return checked.has_error() ? checked.error().message() : std::string{"fine"};
  };
  EXPECT_EQ(message(one.own, now), "fine");
  EXPECT_EQ(check_credentials(one.own, now)->node, node_id{3});
  credentials mixed = one.own;
  mixed.key_pem = another.own.key_pem;
  EXPECT_NE(message(mixed, now).find("private key does not belong"), std::string::npos);
  mixed = one.own;
  mixed.authority_pem = other.certificate_pem();
  EXPECT_NE(message(mixed, now).find("not of this cluster's authority"), std::string::npos);
  EXPECT_EQ(message(one.own, now - 240), "fine");
  const std::string early = message(one.own, now - hour);
  EXPECT_NE(early.find("2026-09-21T14:08:20"), std::string::npos) << early;
  EXPECT_NE(early.find("2026-09-21T13:13:20"), std::string::npos) << early;
  EXPECT_NE(early.find("clock"), std::string::npos) << early;
  const std::string late = message(one.own, now + 25 * hour);
  EXPECT_NE(late.find("expired at 2026-09-22T14:13:20"), std::string::npos) << late;
  EXPECT_NE(late.find("2026-09-22T15:13:20"), std::string::npos) << late;
}

TEST(credentials, facts_of_a_stranger_are_refused) {
  EXPECT_TRUE(read_facts("").has_error());
  EXPECT_TRUE(
      read_facts("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").has_error());
}

TEST(clocks, may_differ_by_five_minutes) {
  EXPECT_TRUE(check_clocks(now, "node 3", now + 300).has_value());
  EXPECT_TRUE(check_clocks(now, "node 3", now - 300).has_value());
  const auto off = check_clocks(now, "node 3", now + hour);
  ASSERT_TRUE(off.has_error());
  const std::string said = off.error().message();
  EXPECT_NE(said.find("2026-09-21T14:13:20"), std::string::npos) << said;
  EXPECT_NE(said.find("node 3 2026-09-21T15:13:20"), std::string::npos) << said;
  EXPECT_TRUE(check_clocks(now, "node 3", now - 301).has_error());
  EXPECT_TRUE(check_clocks(now, "node 3", std::numeric_limits<std::int64_t>::min()).has_error());
  EXPECT_TRUE(check_clocks(now, "node 3", std::numeric_limits<std::int64_t>::max()).has_error());
}

}  // namespace
}  // namespace atl::transport::tls
