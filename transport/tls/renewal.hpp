// How a node gets its next certificate: it shows the present one and a request signed by the same
// key. The new certificate is of use to nobody without that key, so overhearing a request gains
// nothing. Plain functions, any thread.
#pragma once

#include "transport/tls/certificate.hpp"

#include <string_view>

namespace atl::transport::tls {

/// Facts of a certificate that may be renewed: issued by this authority to a node, valid now, and
/// the request is signed by its key. errc::unauthorised says which of these fails.
result<certificate_facts> check_renewal(std::string_view authority_pem,
                                        std::string_view certificate_pem,
                                        std::string_view request_pem,
                                        std::int64_t now_unix_s);

}  // namespace atl::transport::tls
