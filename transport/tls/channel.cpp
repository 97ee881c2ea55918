#include "transport/tls/channel.hpp"

#include "runtime/base/assert.hpp"
#include "transport/tls/openssl.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <exception>
#include <sys/socket.h>
#include <system_error>

namespace atl::transport::tls {

namespace {

/// Who judges a peer's certificate; OpenSSL's callback finds it at the connection.
struct judge {
  judge() = default;
  judge(const judge&) = delete;
  judge& operator=(const judge&) = delete;
  virtual ~judge() = default;
  /// X509_V_OK, or the code that says most to the peer.
  virtual int verdict_on(X509_STORE_CTX* check) = 0;
};

}  // namespace

struct channel::impl final : judge {
  std::shared_ptr<const context> with;
  std::optional<node_id> expected;
  certificate_facts peer;
  std::string refusal;  // why this end refused the peer's certificate
  std::string failure;
  bool is_refused_as_revoked = false;
  int socket = -1;
  openssl_ptr<ssl_st> tls;

  int verdict_on(X509_STORE_CTX* check) override;
  outcome outcome_of(int returned);
  std::string describe_reason(int reason) const;
};

namespace {

constexpr std::size_t read_ahead_bytes = std::size_t{256} * 1024;  // several records a system call
constexpr const char* ciphers = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                "TLS_CHACHA20_POLY1305_SHA256";

std::string node_text(node_id node) { return "node " + std::to_string(node.value); }

/// Called by OpenSSL in place of its own check, which it calls first.
int judge_certificate(X509_STORE_CTX* check, void*) {
  auto* const tls =
      static_cast<SSL*>(X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx()));
  int verdict = X509_V_ERR_UNSPECIFIED;
  try {
    verdict = static_cast<judge*>(SSL_get_app_data(tls))->verdict_on(check);
  } catch (const std::exception&) {  // out of memory: refused
    verdict = X509_V_ERR_OUT_OF_MEM;
  }
  X509_STORE_CTX_set_error(check, verdict);
  return verdict == X509_V_OK ? 1 : 0;
}

bool is_about_time(int verdict) {
  return verdict == X509_V_ERR_CERT_NOT_YET_VALID || verdict == X509_V_ERR_CERT_HAS_EXPIRED;
}

}  // namespace

int channel::impl::verdict_on(X509_STORE_CTX* check) {
  const peer_rules& rules = with->rules();
  const std::int64_t now = rules.now_unix_s();
  X509_STORE_CTX_set_time(check, 0, now);
  const bool is_trusted = X509_verify_cert(check) == 1;
  const int verdict = X509_STORE_CTX_get_error(check);
  const auto facts = read_facts(*X509_STORE_CTX_get0_cert(check));
  if (!is_trusted && !(is_about_time(verdict) && facts.has_value())) {
    refusal = std::string{"the peer's certificate is not accepted: "} +
              X509_verify_cert_error_string(verdict);
    return verdict == X509_V_OK ? X509_V_ERR_UNSPECIFIED : verdict;
  }
  if (!facts.has_value()) {
    refusal = "the peer's certificate is not accepted: " + facts.error().message();
    return X509_V_ERR_INVALID_PURPOSE;
  }
  if (facts->cluster != rules.cluster || !facts->node) {
    refusal = "the peer's certificate is of cluster '" + facts->cluster + "'" +
              (facts->node ? "" : " but of no node") + ", not of a node of '" + rules.cluster + "'";
    return X509_V_ERR_APPLICATION_VERIFICATION;
  }
  if (!is_trusted) {
    refusal =
        "the certificate of " + node_text(*facts->node) + " " + describe_validity(*facts, now);
    return verdict;
  }
  if (rules.is_revoked && rules.is_revoked(facts->serial, *facts->node)) {
    refusal = "the certificate of " + node_text(*facts->node) + " is revoked (serial " +
              facts->serial + ")";
    return X509_V_ERR_CERT_REVOKED;
  }
  if (expected && *facts->node != *expected) {
    refusal = "asked for " + node_text(*expected) + ", but the peer is " + node_text(*facts->node);
    return X509_V_ERR_APPLICATION_VERIFICATION;
  }
  peer = *facts;
  return X509_V_OK;
}

/// What an alert of the peer, or a frequent mistake, means here.
std::string channel::impl::describe_reason(int reason) const {
  const certificate_facts& own = with->own();
  const std::string validity = describe_validity(own, with->rules().now_unix_s());
  std::string text = "the peer refuses this node's certificate: ";
  switch (reason) {
  case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    return text + "it is of another authority; the two are of different clusters";
  case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED: return text + "it is revoked";
  case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
  case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    return text + "by the peer's clock it is not valid; here it " +
           (validity.empty() ? "is valid: one of the clocks is off, set them" : validity);
  case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
  case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
    return text + "it is not of the cluster or node that was expected";
  case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED: return text + "it has shown none";
  case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return "the peer shows no certificate";
  case SSL_R_WRONG_VERSION_NUMBER:
  case SSL_R_HTTP_REQUEST: return "what came is not TLS";
  default: return {};
  }
}

channel::outcome channel::impl::outcome_of(int returned) {
  const int os_failure = errno;
  switch (SSL_get_error(tls.get(), returned)) {
  case SSL_ERROR_WANT_READ: return {state::wants_read, 0};
  case SSL_ERROR_WANT_WRITE: return {state::wants_write, 0};
  case SSL_ERROR_ZERO_RETURN: failure = "the peer has closed the connection"; return {state::ended};
  default: break;
  }
  const unsigned long code = ERR_peek_error();
  const int reason = ERR_GET_REASON(code);
  const bool is_cut = code != 0 && reason == SSL_R_UNEXPECTED_EOF_WHILE_READING;
  if (is_cut) {
    failure = "the connection was cut";
  } else if (!refusal.empty()) {
    failure = refusal;
  } else if (code != 0) {
    is_refused_as_revoked = reason == SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED;
    failure = describe_reason(reason);
    if (failure.empty()) failure = "TLS: " + openssl_reason();
  } else {
    failure = std::error_code{os_failure, std::generic_category()}.message();
  }
  ERR_clear_error();
  return {is_cut ? state::ended : state::failed, 0};
}

result<std::shared_ptr<const context>> context::make(const credentials& own, peer_rules rules) {
  ATOLL_ASSIGN(const auto root, read_certificate_pem(own.authority_pem));
  ATOLL_ASSIGN(const auto certificate, read_certificate_pem(own.certificate_pem));
  ATOLL_ASSIGN(const auto key, read_key_pem(own.key_pem));
  auto made = std::make_shared<context>();
  ATOLL_ASSIGN(made->own_, read_facts(*certificate));
  made->rules_ = std::move(rules);
  ERR_clear_error();
  made->raw_ = {SSL_CTX_new(TLS_method()), [](SSL_CTX* it) { SSL_CTX_free(it); }};
  SSL_CTX* const raw = made->raw_.get();
  if (raw == nullptr || SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(raw, ciphers) != 1 ||
      SSL_CTX_use_certificate(raw, certificate.get()) != 1 ||
      SSL_CTX_use_PrivateKey(raw, key.get()) != 1 ||
      X509_STORE_add_cert(SSL_CTX_get_cert_store(raw), root.get()) != 1) {
    return openssl_failure("TLS cannot be set up");
  }
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(raw,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                       SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(raw, 0);  // every connection shows its certificate anew
  SSL_CTX_set_read_ahead(raw, 1);
  SSL_CTX_set_default_read_buffer_len(raw, read_ahead_bytes);
  SSL_CTX_set_verify(raw, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_cert_verify_callback(raw, judge_certificate, nullptr);
  return std::shared_ptr<const context>{std::move(made)};
}

channel::channel(std::shared_ptr<const context> with,
                 int socket,
                 end side,
                 std::optional<node_id> expected)
    : impl_{std::make_unique<impl>()} {
  impl_->with = std::move(with);
  impl_->expected = expected;
  impl_->socket = socket;
  impl_->tls.reset(SSL_new(impl_->with->raw()));
  SSL* const tls = impl_->tls.get();
  ATOLL_ASSERT(tls != nullptr);
  ATOLL_ASSERT(SSL_set_fd(tls, socket) == 1);
  SSL_set_app_data(tls, static_cast<judge*>(impl_.get()));
  side == end::server ? SSL_set_accept_state(tls) : SSL_set_connect_state(tls);
}

channel::~channel() = default;

channel::outcome channel::handshake() {
  ERR_clear_error();
  const int returned = SSL_do_handshake(impl_->tls.get());
  return returned == 1 ? outcome{} : impl_->outcome_of(returned);
}

channel::outcome channel::read(std::span<std::byte> into) {
  ERR_clear_error();
  std::size_t count = 0;
  const int returned = SSL_read_ex(impl_->tls.get(), into.data(), into.size(), &count);
  return returned == 1 ? outcome{state::done, count} : impl_->outcome_of(returned);
}

channel::outcome channel::write(std::span<const std::byte> bytes) {
  ERR_clear_error();
  std::size_t count = 0;
  const int returned = SSL_write_ex(impl_->tls.get(), bytes.data(), bytes.size(), &count);
  return returned == 1 ? outcome{state::done, count} : impl_->outcome_of(returned);
}

void channel::end_writing() noexcept {
  ERR_clear_error();
  SSL_shutdown(impl_->tls.get());  // sends close_notify; the peer's own is not waited for
  ERR_clear_error();
  ::shutdown(impl_->socket, SHUT_WR);
}

const certificate_facts& channel::peer() const noexcept { return impl_->peer; }

const std::string& channel::failure() const noexcept { return impl_->failure; }

bool channel::is_refused_as_revoked() const noexcept { return impl_->is_refused_as_revoked; }

}  // namespace atl::transport::tls
