#include "transport/tls/certificate.hpp"

#include "runtime/base/log.hpp"
#include "transport/tls/openssl.hpp"
#include "transport/tls/secrets.hpp"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <charconv>
#include <ctime>

namespace atl::transport::tls {

namespace {

struct names_delete {
  void operator()(GENERAL_NAMES* it) const noexcept { GENERAL_NAMES_free(it); }
};

std::int64_t unix_of(const ASN1_TIME* when) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(when, &parts) != 1) return 0;
  return static_cast<std::int64_t>(::timegm(&parts));
}

std::string serial_of(const x509_st& certificate) {
  const ASN1_INTEGER* const number = X509_get0_serialNumber(&certificate);
  const auto* const bytes = reinterpret_cast<const std::byte*>(ASN1_STRING_get0_data(number));
  return to_hex({bytes, static_cast<std::size_t>(ASN1_STRING_length(number))});
}

/// One URI: "atoll://CLUSTER/authority", "atoll://CLUSTER/node/ID", "atoll://CLUSTER/role/NAME".
result<void> take_uri(std::string_view uri, certificate_facts& facts) {
  const error refused{errc::invalid_argument, "the certificate names no node of a cluster"};
  constexpr std::string_view scheme = "atoll://";
  if (!uri.starts_with(scheme)) return refused;
  uri.remove_prefix(scheme.size());
  const std::size_t slash = uri.find('/');
  if (slash == std::string_view::npos || slash == 0) return refused;
  const std::string_view cluster = uri.substr(0, slash);
  if (!facts.cluster.empty() && facts.cluster != cluster) return refused;
  facts.cluster = cluster;
  uri.remove_prefix(slash + 1);
  constexpr std::string_view node = "node/";
  constexpr std::string_view role = "role/";
  if (uri.starts_with(node)) {
    uri.remove_prefix(node.size());
    std::uint32_t id = 0;
    const auto read = std::from_chars(uri.data(), uri.data() + uri.size(), id);
    const bool is_whole = read.ec == std::errc{} && read.ptr == uri.data() + uri.size();
    if (!is_whole || facts.node.has_value()) return refused;
    facts.node = node_id{id};
  } else if (uri.starts_with(role)) {
    facts.roles.emplace_back(uri.substr(role.size()));
  } else if (uri != "authority" && uri != "server") {
    return refused;
  }
  return {};
}

std::string describe_clock(std::int64_t now) {
  return "the clock of this machine says " + rfc3339(now * 1000);
}

/// The chain alone; whether it is valid now is said by describe_validity(), with both times.
result<void> check_issuer(x509_st* certificate, x509_st* authority) {
  const openssl_ptr<x509_store_st> store{X509_STORE_new()};
  const openssl_ptr<x509_store_ctx_st> check{X509_STORE_CTX_new()};
  if (!store || !check || X509_STORE_add_cert(store.get(), authority) != 1 ||
      X509_STORE_CTX_init(check.get(), store.get(), certificate, nullptr) != 1) {
    return openssl_failure("a certificate cannot be checked");
  }
  X509_STORE_CTX_set_flags(check.get(), X509_V_FLAG_NO_CHECK_TIME);
  if (X509_verify_cert(check.get()) == 1) return {};
  const char* const why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(check.get()));
  ERR_clear_error();
  return error{errc::unauthorised,
               std::string{"the certificate is not of this cluster's authority ("} + why +
                   "): join again with a token of this cluster"};
}

}  // namespace

result<certificate_facts> read_facts(const x509_st& certificate) {
  certificate_facts facts;
  facts.serial = serial_of(certificate);
  facts.not_before_unix_s = unix_of(X509_get0_notBefore(&certificate));
  facts.not_after_unix_s = unix_of(X509_get0_notAfter(&certificate));
  const std::unique_ptr<GENERAL_NAMES, names_delete> names{static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr))};
  const int count = names ? sk_GENERAL_NAME_num(names.get()) : 0;
  for (int i = 0; i < count; ++i) {
    const GENERAL_NAME* const one = sk_GENERAL_NAME_value(names.get(), i);
    if (one->type != GEN_URI) continue;
    const ASN1_IA5STRING* const uri = one->d.uniformResourceIdentifier;
    ATOLL_TRY(take_uri({reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                        static_cast<std::size_t>(ASN1_STRING_length(uri))},
                       facts));
  }
  if (facts.cluster.empty()) {
    return error{errc::invalid_argument, "the certificate is not of an Atoll cluster"};
  }
  return facts;
}

result<certificate_facts> read_facts(std::string_view certificate_pem) {
  ATOLL_ASSIGN(const auto certificate, read_certificate_pem(certificate_pem));
  return read_facts(*certificate);
}

result<std::string> fingerprint_of(std::string_view certificate_pem) {
  ATOLL_ASSIGN(const auto certificate, read_certificate_pem(certificate_pem));
  digest made{};
  auto* const out = reinterpret_cast<unsigned char*>(made.data());
  if (X509_digest(certificate.get(), EVP_sha256(), out, nullptr) != 1) {
    return openssl_failure("the fingerprint of a certificate");
  }
  return to_hex(made);
}

result<certificate_facts> check_credentials(const credentials& own, std::int64_t now_unix_s) {
  ATOLL_ASSIGN(const auto root, read_certificate_pem(own.authority_pem));
  ATOLL_ASSIGN(const auto certificate, read_certificate_pem(own.certificate_pem));
  ATOLL_ASSIGN(const auto key, read_key_pem(own.key_pem));
  ATOLL_ASSIGN(const certificate_facts of_root, read_facts(*root));
  ATOLL_ASSIGN(certificate_facts facts, read_facts(*certificate));
  ATOLL_TRY(check_issuer(certificate.get(), root.get()));
  if (facts.cluster != of_root.cluster) {
    return error{errc::unauthorised,
                 "the certificate is of cluster '" + facts.cluster + "', its authority of '" +
                     of_root.cluster + "'"};
  }
  if (X509_check_private_key(certificate.get(), key.get()) != 1) {
    ERR_clear_error();
    return error{errc::unauthorised,
                 "the private key does not belong to the certificate: join again"};
  }
  if (auto why = describe_validity(facts, now_unix_s); !why.empty()) {
    return error{errc::unauthorised, "the certificate " + why};
  }
  return facts;
}

result<key_and_request> make_key_and_request() {
  ERR_clear_error();
  const key_ptr key{EVP_EC_gen("P-256")};
  const openssl_ptr<X509_req_st> request{X509_REQ_new()};
  const openssl_ptr<bio_st> key_text{BIO_new(BIO_s_mem())};
  const openssl_ptr<bio_st> request_text{BIO_new(BIO_s_mem())};
  if (!key || !request || !key_text || !request_text ||
      X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0 ||
      PEM_write_bio_PKCS8PrivateKey(
          key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1 ||
      PEM_write_bio_X509_REQ(request_text.get(), request.get()) != 1) {
    return openssl_failure("a key cannot be made");
  }
  return key_and_request{text_of(key_text.get()), text_of(request_text.get())};
}

std::string describe_validity(const certificate_facts& facts, std::int64_t now_unix_s) {
  if (now_unix_s < facts.not_before_unix_s) {
    return "is valid from " + rfc3339(facts.not_before_unix_s * 1000) + " on, and " +
           describe_clock(now_unix_s) +
           ": one of the clocks is off; set them (five minutes are tolerated)";
  }
  if (now_unix_s > facts.not_after_unix_s) {
    return "expired at " + rfc3339(facts.not_after_unix_s * 1000) + ", and " +
           describe_clock(now_unix_s) +
           ": it was not renewed in time, or one of the clocks is off; set the clock or join again";
  }
  return {};
}

result<void>
check_clocks(std::int64_t own_unix_s, std::string_view whose, std::int64_t theirs_unix_s) {
  // Theirs came from outside and may be any number, so the bounds are kept on our side.
  if (theirs_unix_s >= own_unix_s - clock_skew_max_s &&
      theirs_unix_s <= own_unix_s + clock_skew_max_s) {
    return {};
  }
  constexpr std::int64_t year_9999_unix_s = 253'402'300'799;
  const bool is_date = theirs_unix_s >= 0 && theirs_unix_s <= year_9999_unix_s;
  return error{errc::unauthorised,
               "the clocks differ by more than five minutes: " + describe_clock(own_unix_s) +
                   ", that of " + std::string{whose} + " " +
                   (is_date ? rfc3339(theirs_unix_s * 1000) : std::string{"no date at all"}) +
                   "; set them"};
}

}  // namespace atl::transport::tls
