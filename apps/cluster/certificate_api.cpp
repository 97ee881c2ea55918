#include "apps/cluster/certificate_api.hpp"

#include "apps/cluster/views.hpp"
#include "cluster/certificates.hpp"

#include <boost/json.hpp>

#include <utility>

namespace atl::ops {

namespace json = boost::json;

result<question> list_certificates(const call& c, const api_backend& on) {
  ATOLL_TRY(no_more(c));
  return question{[now_ms = on.unix_ms()](cluster::control& s, time_point_ns) -> result<api_reply> {
    json::array items;
    for (const auto& v : cluster::valid_certificates(s.kept(), now_ms)) items.push_back(to_json(v));
    return api_reply{200, json::object{{"items", std::move(items)}}};
  }};
}

result<question> revoke_certificate(const call& c, const api_backend& on) {
  ATOLL_TRY(no_more(c));
  return question{[serial = c.id, revoked = on.revoked, after = on.after](
                      cluster::control& s, time_point_ns now) -> result<api_reply> {
    ATOLL_TRY(s.revoke_certificate(serial, now));
    const auto& made = s.kept().certificates.at(serial);
    if (revoked) after({}, [revoked, serial, node = made.node] { revoked(serial, node); });
    return api_reply{200, to_json(made)};
  }};
}

}  // namespace atl::ops
