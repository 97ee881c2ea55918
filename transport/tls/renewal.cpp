#include "transport/tls/renewal.hpp"

#include "transport/tls/openssl.hpp"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

namespace atl::transport::tls {

result<certificate_facts> check_renewal(std::string_view authority_pem,
                                        std::string_view certificate_pem,
                                        std::string_view request_pem,
                                        std::int64_t now_unix_s) {
  ATOLL_ASSIGN(const auto root, read_certificate_pem(authority_pem));
  ATOLL_ASSIGN(const auto certificate, read_certificate_pem(certificate_pem));
  ATOLL_ASSIGN(const auto request, read_request_pem(request_pem));
  const auto refuse = [](const std::string& why) {
    ERR_clear_error();
    return error{errc::unauthorised, why};
  };
  EVP_PKEY* const root_key = X509_get0_pubkey(root.get());
  if (root_key == nullptr || X509_verify(certificate.get(), root_key) != 1)
    return refuse("the certificate was not issued by this cluster's authority: join again");
  EVP_PKEY* const key = X509_get0_pubkey(certificate.get());
  EVP_PKEY* const asked = X509_REQ_get0_pubkey(request.get());
  if (key == nullptr || asked == nullptr || EVP_PKEY_eq(key, asked) != 1 ||
      X509_REQ_verify(request.get(), asked) != 1)
    return refuse("the request is not signed by the key of the certificate: join again");
  ATOLL_ASSIGN(certificate_facts facts, read_facts(*certificate));
  if (!facts.node) return refuse("the certificate is of no node");
  if (auto why = describe_validity(facts, now_unix_s); !why.empty())
    return refuse("the certificate " + why);
  return facts;
}

}  // namespace atl::transport::tls
