#include "apps/http/peer_chain.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <memory>
#include <optional>

namespace atl::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

std::string pem_of(X509* certificate) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> to{BIO_new(BIO_s_mem()), BIO_free};
  if (!to || PEM_write_bio_X509(to.get(), certificate) != 1) return {};
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(to.get(), &bytes);
  return size > 0 ? std::string(bytes, static_cast<std::size_t>(size)) : std::string{};
}

}  // namespace

result<std::vector<std::string>> fetch_chain(const server_url& server,
                                             std::chrono::milliseconds time) {
  const auto failed = [&](const std::string& why) {
    return error{errc::peer_gone, server.text() + ": " + why};
  };
  if (!server.is_tls) return error{errc::invalid_argument, server.text() + " is not https"};
  try {
    asio::io_context io{1};
    error_code code;
    const auto found = tcp::resolver{io}.resolve(server.host, std::to_string(server.port), code);
    if (code) return failed("the host is not known: " + code.message());
    asio::ssl::context context{asio::ssl::context::tls_client};
    context.set_verify_mode(asio::ssl::verify_none);
    asio::ssl::stream<tcp::socket> stream{io, context};
    std::optional<error_code> ended;
    asio::async_connect(
        stream.next_layer(), found, [&](error_code connected, const tcp::endpoint&) {
          if (connected) {
            ended = connected;
            return;
          }
          stream.async_handshake(asio::ssl::stream_base::client,
                                 [&](error_code shaken) { ended = shaken; });
        });
    io.run_for(time);
    if (!ended) return error{errc::deadline, server.text() + ": no TLS connection in time"};
    if (*ended) return failed("no TLS connection: " + ended->message());
    std::vector<std::string> chain;
    STACK_OF(X509)* const all = SSL_get_peer_cert_chain(stream.native_handle());
    for (int i = 0; all != nullptr && i < sk_X509_num(all); ++i)
      chain.push_back(pem_of(sk_X509_value(all, i)));
    return chain;
  } catch (const boost::system::system_error& e) {
    return failed(e.what());
  }
}

}  // namespace atl::http
