// Owners of OpenSSL's objects, and its reasons as text; for the .cpp files of this folder.
#pragma once

#include "runtime/base/result.hpp"

#include <memory>
#include <string>
#include <string_view>

struct bio_st;
struct evp_pkey_st;
struct ssl_ctx_st;
struct ssl_st;
struct x509_st;
struct X509_req_st;
struct x509_store_ctx_st;
struct x509_store_st;

namespace atl::transport::tls {

struct openssl_delete {
  void operator()(bio_st* it) const noexcept;
  void operator()(evp_pkey_st* it) const noexcept;
  void operator()(ssl_ctx_st* it) const noexcept;
  void operator()(ssl_st* it) const noexcept;
  void operator()(x509_st* it) const noexcept;
  void operator()(X509_req_st* it) const noexcept;
  void operator()(x509_store_ctx_st* it) const noexcept;
  void operator()(x509_store_st* it) const noexcept;
};

template <class T>
using openssl_ptr = std::unique_ptr<T, openssl_delete>;

using certificate_ptr = openssl_ptr<x509_st>;
using key_ptr = openssl_ptr<evp_pkey_st>;

/// Why the last call of this thread failed; clears its error queue.
std::string openssl_reason();

/// `what` and the reason, as errc::internal: for calls that fail only when memory is short.
error openssl_failure(std::string_view what);

/// Text larger than this is no certificate, key or request of ours.
inline constexpr std::size_t pem_bytes_max = 65'536;

result<certificate_ptr> read_certificate_pem(std::string_view pem);
result<key_ptr> read_key_pem(std::string_view pem);
result<openssl_ptr<X509_req_st>> read_request_pem(std::string_view pem);

/// What was written to a memory BIO.
std::string text_of(bio_st* memory);

}  // namespace atl::transport::tls
