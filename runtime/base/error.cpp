#include "runtime/base/error.hpp"

#include <utility>

namespace atl {

error::error(errc code, std::string message) : code_{code}, message_{std::move(message)} {}

std::string_view to_string(errc code) noexcept {
  switch (code) {
  case errc::invalid_argument: return "invalid_argument";
  case errc::invalid_model: return "invalid_model";
  case errc::unsupported: return "unsupported";
  case errc::not_found: return "not_found";
  case errc::io: return "io";
  case errc::out_of_memory: return "out_of_memory";
  case errc::malformed_frame: return "malformed_frame";
  case errc::stale_epoch: return "stale_epoch";
  case errc::peer_gone: return "peer_gone";
  case errc::overloaded: return "overloaded";
  case errc::cancelled: return "cancelled";
  case errc::deadline: return "deadline";
  case errc::internal: return "internal";
  case errc::unauthorised: return "unauthorised";
  case errc::unavailable: return "unavailable";
  }
  return "unknown";
}

int exit_code(const error& e) noexcept {
  switch (e.code()) {
  case errc::invalid_argument:
  case errc::invalid_model:
  case errc::unsupported:
  case errc::not_found:
  case errc::out_of_memory: return 2;
  default: return 1;
  }
}

}  // namespace atl
