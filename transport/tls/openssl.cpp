#include "transport/tls/openssl.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

namespace atl::transport::tls {

void openssl_delete::operator()(bio_st* it) const noexcept { BIO_free_all(it); }

void openssl_delete::operator()(evp_pkey_st* it) const noexcept { EVP_PKEY_free(it); }

void openssl_delete::operator()(ssl_ctx_st* it) const noexcept { SSL_CTX_free(it); }

void openssl_delete::operator()(ssl_st* it) const noexcept { SSL_free(it); }

void openssl_delete::operator()(x509_st* it) const noexcept { X509_free(it); }

void openssl_delete::operator()(X509_req_st* it) const noexcept { X509_REQ_free(it); }

void openssl_delete::operator()(x509_store_ctx_st* it) const noexcept { X509_STORE_CTX_free(it); }

void openssl_delete::operator()(x509_store_st* it) const noexcept { X509_STORE_free(it); }

std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  const char* text = ERR_reason_error_string(code);
  std::string what = text == nullptr ? "unknown reason" : text;
  ERR_clear_error();
  return what;
}

error openssl_failure(std::string_view what) {
  return error{errc::internal, std::string{what} + ": " + openssl_reason()};
}

namespace {

/// No pass phrase is asked for: a terminal is nothing a server waits for.
int no_pass_phrase(char*, int, int, void*) { return -1; }

template <class T, class Read>
result<openssl_ptr<T>> read_pem(std::string_view pem, const char* what, Read read) {
  if (pem.empty() || pem.size() > pem_bytes_max) {
    return error{errc::invalid_argument,
                 std::string{what} + " of " + std::to_string(pem.size()) + " bytes is no PEM text"};
  }
  ERR_clear_error();
  const openssl_ptr<bio_st> bytes{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  if (!bytes) return openssl_failure("memory for PEM text");
  openssl_ptr<T> made{read(bytes.get(), nullptr, no_pass_phrase, nullptr)};
  if (!made) {
    return error{errc::invalid_argument, std::string{what} + " is not PEM: " + openssl_reason()};
  }
  return made;
}

}  // namespace

result<certificate_ptr> read_certificate_pem(std::string_view pem) {
  return read_pem<x509_st>(pem, "the certificate", PEM_read_bio_X509);
}

result<key_ptr> read_key_pem(std::string_view pem) {
  return read_pem<evp_pkey_st>(pem, "the private key", PEM_read_bio_PrivateKey);
}

result<openssl_ptr<X509_req_st>> read_request_pem(std::string_view pem) {
  return read_pem<X509_req_st>(pem, "the certificate request", PEM_read_bio_X509_REQ);
}

std::string text_of(bio_st* memory) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(memory, &bytes);
  return size > 0 ? std::string(bytes, static_cast<std::size_t>(size)) : std::string{};
}

}  // namespace atl::transport::tls
