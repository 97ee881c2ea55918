#include "tests/unit/transport/tls/raw_peer.hpp"

#include "runtime/base/log.hpp"
#include "transport/tls/sockets.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace atl::transport {

struct raw_peer::impl {
  int socket = -1;
  SSL_CTX* context = nullptr;
  SSL* tls = nullptr;
};

namespace {

void set_pem(SSL_CTX* context, const tls::credentials& own) {
  BIO* const certificate =
      BIO_new_mem_buf(own.certificate_pem.data(), static_cast<int>(own.certificate_pem.size()));
  X509* const parsed = PEM_read_bio_X509(certificate, nullptr, nullptr, nullptr);
  SSL_CTX_use_certificate(context, parsed);
  X509_free(parsed);
  BIO_free(certificate);
  BIO* const key = BIO_new_mem_buf(own.key_pem.data(), static_cast<int>(own.key_pem.size()));
  EVP_PKEY* const parsed_key = PEM_read_bio_PrivateKey(key, nullptr, nullptr, nullptr);
  SSL_CTX_use_PrivateKey(context, parsed_key);
  EVP_PKEY_free(parsed_key);
  BIO_free(key);
}

}  // namespace

raw_peer::raw_peer(const std::string& address) : impl_{std::make_unique<impl>()} {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  ::inet_pton(AF_INET, tls::host_of(address).c_str(), &to.sin_addr);
  to.sin_port =
      htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  impl_->socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  static_cast<void>(::connect(impl_->socket, reinterpret_cast<const sockaddr*>(&to), sizeof to));
  const timeval patience{10, 0};
  ::setsockopt(impl_->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

raw_peer::~raw_peer() {
  SSL_free(impl_->tls);
  SSL_CTX_free(impl_->context);
  ::close(impl_->socket);
}

void raw_peer::send_plain(std::string_view bytes) const {
  ::send(impl_->socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

bool raw_peer::is_closed_by_peer() const {
  char ignored[256];
  for (;;) {
    const ssize_t count = ::recv(impl_->socket, ignored, sizeof ignored, 0);
    if (count == 0 || (count < 0 && errno == ECONNRESET)) return true;
    if (count < 0) return false;
  }
}

bool raw_peer::start_tls(const std::optional<tls::credentials>& own, int newest_version) {
  impl_->context = SSL_CTX_new(TLS_client_method());
  if (newest_version != 0) SSL_CTX_set_max_proto_version(impl_->context, newest_version);
  if (own) set_pem(impl_->context, *own);
  impl_->tls = SSL_new(impl_->context);
  SSL_set_fd(impl_->tls, impl_->socket);
  ERR_clear_error();
  if (SSL_connect(impl_->tls) == 1) return true;
  const char* const text = ERR_reason_error_string(ERR_peek_error());
  reason_ = text == nullptr ? "" : text;
  return false;
}

bool raw_peer::send(std::span<const std::byte> bytes) {
  ERR_clear_error();
  return SSL_write(impl_->tls, bytes.data(), static_cast<int>(bytes.size())) ==
         static_cast<int>(bytes.size());
}

std::vector<std::byte> raw_peer::read(std::size_t bytes) {
  std::vector<std::byte> got(bytes);
  std::size_t have = 0;
  while (have < bytes) {
    ERR_clear_error();
    const int count = SSL_read(impl_->tls, got.data() + have, static_cast<int>(bytes - have));
    if (count <= 0) {
      const char* const text = ERR_reason_error_string(ERR_peek_error());
      reason_ = text == nullptr ? "" : text;
      break;
    }
    have += static_cast<std::size_t>(count);
  }
  got.resize(have);
  return got;
}

std::string raw_peer::serial_of_server() const {
  X509* const shown = SSL_get1_peer_certificate(impl_->tls);
  std::string serial = shown == nullptr ? std::string{} : tls::read_facts(*shown)->serial;
  X509_free(shown);
  return serial;
}

std::optional<tls::greeting> raw_peer::greet(node_identity from, node_identity to) {
  tls::greeting mine{.from = from, .to = to};
  mine.unix_s = unix_time_ms() / 1000;
  if (!send(tls::encode(mine))) return std::nullopt;
  const auto answer = read(tls::greeting_size);
  if (answer.size() != tls::greeting_size) return std::nullopt;
  tls::greeting_bytes bytes{};
  std::copy(answer.begin(), answer.end(), bytes.begin());
  const auto parsed = tls::parse_greeting(bytes);
  return parsed.has_value() ? std::optional{*parsed} : std::nullopt;
}

bool raw_peer::send_frame(frame f) {
  const auto head = seal(f).value();
  std::vector<std::byte> bytes{head.begin(), head.end()};
  bytes.insert(bytes.end(), f.metadata.begin(), f.metadata.end());
  bytes.insert(bytes.end(), f.payload.bytes.begin(), f.payload.bytes.end());
  return send(bytes);
}

silent_listener::silent_listener() : socket_{tls::listen_on("127.0.0.1").value()} {}

silent_listener::~silent_listener() { ::close(socket_); }

std::string silent_listener::address() const { return tls::local_address_of(socket_); }

}  // namespace atl::transport
