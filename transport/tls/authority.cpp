#include "transport/tls/authority.hpp"

#include "runtime/base/assert.hpp"
#include "transport/tls/openssl.hpp"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <arpa/inet.h>

namespace atl::transport::tls {

struct authority::parts {
  std::string cluster;
  std::string certificate_pem;
  std::string key_pem;
  std::string fingerprint;
  certificate_facts facts;
  certificate_ptr certificate;
  key_ptr key;
};

namespace {

constexpr std::int64_t authority_lifetime_s = 10LL * 365 * 24 * 3600;
constexpr std::size_t serial_bytes = 16;

bool is_word(std::string_view text) {
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), is_allowed);
}

bool is_host_name(std::string_view text) {
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  };
  return !text.empty() && text.size() <= 253 && std::all_of(text.begin(), text.end(), is_allowed);
}

/// The network bytes of an IP address; empty for anything else.
std::vector<unsigned char> ip_bytes(const std::string& text) {
  std::vector<unsigned char> bytes(16);
  if (::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return bytes;
  if (::inet_pton(AF_INET, text.c_str(), bytes.data()) != 1) return {};
  bytes.resize(4);
  return bytes;
}

class names {
public:
  names() : list_{sk_GENERAL_NAME_new_null()} { ATOLL_ASSERT(list_ != nullptr); }
  names(const names&) = delete;
  names& operator=(const names&) = delete;
  ~names() { sk_GENERAL_NAME_pop_free(list_, GENERAL_NAME_free); }

  void add_uri(const std::string& uri) {
    add(GEN_URI, ASN1_IA5STRING_new(), uri.data(), uri.size());
  }
  void add_host(const std::string& host) {
    if (const auto ip = ip_bytes(host); !ip.empty()) {
      add(GEN_IPADD, ASN1_OCTET_STRING_new(), ip.data(), ip.size());
    } else {
      add(GEN_DNS, ASN1_IA5STRING_new(), host.data(), host.size());
    }
  }
  bool put_into(x509_st* certificate) const {
    return X509_add1_ext_i2d(certificate, NID_subject_alt_name, list_, 0, 0) == 1;
  }

private:
  void add(int type, ASN1_STRING* value, const void* bytes, std::size_t size) {
    GENERAL_NAME* const one = GENERAL_NAME_new();
    ATOLL_ASSERT(one != nullptr && value != nullptr);
    ATOLL_ASSERT(ASN1_STRING_set(value, bytes, static_cast<int>(size)) == 1);
    GENERAL_NAME_set0_value(one, type, value);
    ATOLL_ASSERT(sk_GENERAL_NAME_push(list_, one) > 0);
  }

  GENERAL_NAMES* list_;
};

bool put_extension(x509_st* certificate, x509_st* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const made = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  const bool is_put = made != nullptr && X509_add_ext(certificate, made, -1) == 1;
  X509_EXTENSION_free(made);
  return is_put;
}

bool put_serial(x509_st* certificate, const random_bytes& random) {
  std::array<std::byte, serial_bytes> bytes{};
  random(bytes);
  bytes[0] = (bytes[0] & std::byte{0x3F}) | std::byte{0x40};  // positive, and always 16 bytes
  return ASN1_STRING_set(X509_get_serialNumber(certificate), bytes.data(), serial_bytes) == 1;
}

bool put_subject(x509_st* certificate, const std::string& cluster, const std::string& name) {
  const auto bytes = [](const std::string& text) {
    return reinterpret_cast<const unsigned char*>(text.c_str());
  };
  X509_NAME* const subject = X509_get_subject_name(certificate);
  return X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, bytes(cluster), -1, -1, 0) == 1 &&
         X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, bytes(name), -1, -1, 0) == 1;
}

/// Version, serial number, subject, times and key; without issuer, extensions and signature.
result<certificate_ptr> begin_certificate(const std::string& cluster,
                                          const std::string& name,
                                          evp_pkey_st* key,
                                          std::int64_t from,
                                          std::int64_t to,
                                          const random_bytes& random) {
  ERR_clear_error();
  certificate_ptr made{X509_new()};
  if (!made || X509_set_version(made.get(), X509_VERSION_3) != 1 ||
      !put_serial(made.get(), random) || !put_subject(made.get(), cluster, name) ||
      ASN1_TIME_set(X509_getm_notBefore(made.get()), from) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(made.get()), to) == nullptr ||
      X509_set_pubkey(made.get(), key) != 1) {
    return openssl_failure("a certificate cannot be made");
  }
  return made;
}

template <class Write>
result<std::string> to_pem(Write write) {
  const openssl_ptr<bio_st> text{BIO_new(BIO_s_mem())};
  if (!text || write(text.get()) != 1) return openssl_failure("PEM text cannot be written");
  return text_of(text.get());
}

/// The public key of a request whose sender has the private one.
result<key_ptr> key_of_request(const std::string& pem) {
  ATOLL_ASSIGN(const auto request, read_request_pem(pem));
  key_ptr key{X509_REQ_get_pubkey(request.get())};
  char group[32] = {};
  const bool is_p256 = key && EVP_PKEY_is_a(key.get(), "EC") == 1 &&
                       EVP_PKEY_get_group_name(key.get(), group, sizeof group, nullptr) == 1 &&
                       std::string_view{group} == "prime256v1";
  if (!is_p256) {
    ERR_clear_error();
    return error{errc::invalid_argument, "the certificate request's key is not EC P-256"};
  }
  if (X509_REQ_verify(request.get(), key.get()) != 1) {
    ERR_clear_error();
    return error{errc::invalid_argument,
                 "the certificate request is not signed by the key it is for"};
  }
  return key;
}

result<void> check_order(const certificate_order& order) {
  const auto refuse = [](const std::string& why) {
    return error{errc::invalid_argument, "no certificate is issued: " + why};
  };
  if (order.lifetime < std::chrono::minutes{1}) return refuse("its lifetime is under a minute");
  for (const std::string& role : order.roles) {
    if (!is_word(role)) return refuse("'" + role + "' is no name of a role");
  }
  for (const std::string& name : order.names) {
    if (ip_bytes(name).empty() && !is_host_name(name)) {
      return refuse("'" + name + "' is neither a host name nor an IP address");
    }
  }
  if (!order.node && (order.names.empty() || !order.roles.empty())) {
    return refuse("a server that is no node needs a name or an address, and has no roles");
  }
  return {};
}

}  // namespace

result<authority>
authority::create(const std::string& cluster, std::int64_t now_unix_s, const random_bytes& random) {
  if (!is_word(cluster)) {
    return error{errc::invalid_argument,
                 "cluster id '" + cluster + "' is not 1 to 64 of a-z, 0-9 and '-'"};
  }
  const key_ptr key{EVP_EC_gen("P-256")};
  if (!key) return openssl_failure("a key cannot be made");
  ATOLL_ASSIGN(const auto made,
               begin_certificate(cluster,
                                 "Atoll cluster " + cluster.substr(0, 40),
                                 key.get(),
                                 now_unix_s - clock_skew_max_s,
                                 now_unix_s + authority_lifetime_s,
                                 random));
  x509_st* const root = made.get();
  names identity;
  identity.add_uri("atoll://" + cluster + "/authority");
  if (X509_set_issuer_name(root, X509_get_subject_name(root)) != 1 ||
      !put_extension(root, root, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !put_extension(root, root, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !put_extension(root, root, NID_subject_key_identifier, "hash") || !identity.put_into(root) ||
      X509_sign(root, key.get(), EVP_sha256()) == 0) {
    return openssl_failure("an authority cannot be made");
  }
  key_pair_pem text;
  ATOLL_ASSIGN(text.certificate, to_pem([&](bio_st* to) { return PEM_write_bio_X509(to, root); }));
  ATOLL_ASSIGN(text.key, to_pem([&](bio_st* to) {
                 return PEM_write_bio_PKCS8PrivateKey(
                     to, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
               }));
  return load(text);
}

result<authority> authority::load(const key_pair_pem& saved) {
  auto made = std::make_shared<parts>();
  ATOLL_ASSIGN(made->certificate, read_certificate_pem(saved.certificate));
  ATOLL_ASSIGN(made->key, read_key_pem(saved.key));
  ATOLL_ASSIGN(made->facts, read_facts(*made->certificate));
  ATOLL_ASSIGN(made->fingerprint, fingerprint_of(saved.certificate));
  if (X509_check_ca(made->certificate.get()) != 1) {
    return error{errc::invalid_argument, "the certificate is not that of an authority"};
  }
  if (X509_check_private_key(made->certificate.get(), made->key.get()) != 1) {
    ERR_clear_error();
    return error{errc::invalid_argument, "the key is not that of the authority's certificate"};
  }
  made->cluster = made->facts.cluster;
  made->certificate_pem = saved.certificate;
  made->key_pem = saved.key;
  return authority{std::move(made)};
}

key_pair_pem authority::save() const { return {parts_->certificate_pem, parts_->key_pem}; }

const std::string& authority::cluster() const noexcept { return parts_->cluster; }

const std::string& authority::certificate_pem() const noexcept { return parts_->certificate_pem; }

const std::string& authority::fingerprint() const noexcept { return parts_->fingerprint; }

result<std::string> authority::issue(const certificate_order& order,
                                     std::int64_t now_unix_s,
                                     const random_bytes& random) const {
  ATOLL_TRY(check_order(order));
  ATOLL_ASSIGN(const auto key, key_of_request(order.request_pem));
  const std::int64_t until =
      std::min<std::int64_t>(now_unix_s + order.lifetime.count(), parts_->facts.not_after_unix_s);
  if (until <= now_unix_s) {
    return error{errc::invalid_argument,
                 "the authority's own certificate " + describe_validity(parts_->facts, now_unix_s)};
  }
  const std::string name =
      order.node ? "node " + std::to_string(order.node->value) : order.names[0].substr(0, 64);
  ATOLL_ASSIGN(const auto made,
               begin_certificate(
                   parts_->cluster, name, key.get(), now_unix_s - clock_skew_max_s, until, random));
  const std::string base = "atoll://" + parts_->cluster + "/";
  names alternatives;
  alternatives.add_uri(base +
                       (order.node ? "node/" + std::to_string(order.node->value) : "server"));
  for (const std::string& role : order.roles)
    alternatives.add_uri(std::string{base}.append("role/").append(role));
  for (const std::string& host : order.names) alternatives.add_host(host);
  x509_st* const root = parts_->certificate.get();
  const char* const uses = order.node ? "serverAuth,clientAuth" : "serverAuth";
  if (X509_set_issuer_name(made.get(), X509_get_subject_name(root)) != 1 ||
      !put_extension(made.get(), root, NID_basic_constraints, "critical,CA:FALSE") ||
      !put_extension(made.get(), root, NID_key_usage, "critical,digitalSignature") ||
      !put_extension(made.get(), root, NID_ext_key_usage, uses) ||
      !put_extension(made.get(), root, NID_subject_key_identifier, "hash") ||
      !put_extension(made.get(), root, NID_authority_key_identifier, "keyid") ||
      !alternatives.put_into(made.get()) ||
      X509_sign(made.get(), parts_->key.get(), EVP_sha256()) == 0) {
    return openssl_failure("a certificate cannot be made");
  }
  return to_pem([&](bio_st* to) { return PEM_write_bio_X509(to, made.get()); });
}

}  // namespace atl::transport::tls
