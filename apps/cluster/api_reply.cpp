#include "apps/cluster/api_reply.hpp"

#include "apps/serve/board.hpp"

#include <boost/json/serialize.hpp>

#include <utility>

namespace atl::ops {
namespace {

std::pair<int, const char*> status_of(errc code, bool is_conflict) {
  switch (code) {
  case errc::invalid_argument:
    return is_conflict ? std::pair{409, "conflict"} : std::pair{400, "invalid request"};
  case errc::unauthorised: return {401, "not allowed"};
  case errc::not_found: return {404, "not found"};
  case errc::stale_epoch: return {412, "changed meanwhile"};
  case errc::unsupported:
  case errc::unavailable:
  case errc::overloaded:
  case errc::peer_gone:
  case errc::io: return {503, "not now"};
  default: return {500, "internal error"};
  }
}

}  // namespace

http::response to_response(const api_reply& r) {
  http::response made;
  made.status = r.status;
  made.headers = r.headers;
  made.headers.push_back({"cache-control", "no-store"});
  if (r.status == 304) return made;
  made.body = boost::json::serialize(r.body) + "\n";
  return made;
}

http::response to_response(const error& e, bool is_conflict) {
  const auto [status, title] = status_of(e.code(), is_conflict);
  return serve::problem(status, title, e.message());
}

}  // namespace atl::ops
