#include "apps/cluster/token_api.hpp"

#include "apps/cluster/api_fields.hpp"
#include "apps/cluster/roles.hpp"
#include "apps/cluster/views.hpp"
#include "transport/tls/join_token.hpp"

#include <boost/json.hpp>

#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;
namespace tls = transport::tls;

constexpr std::int64_t ttl_most_s = 2'592'000;
constexpr std::int64_t uses_most = 4096;

}  // namespace

result<question> list_tokens(const call& c, const api_backend& on) {
  ATOLL_TRY(no_more(c));
  return question{[now_ms = on.unix_ms()](cluster::control& s, time_point_ns) -> result<api_reply> {
    json::array items;
    for (const auto& t : s.tokens()) items.push_back(to_json(t, now_ms));
    return api_reply{200, json::object{{"items", std::move(items)}}};
  }};
}

result<question> revoke_token(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  return question{[id = c.id](cluster::control& s, time_point_ns) -> result<api_reply> {
    ATOLL_TRY(s.revoke_token(id));
    return api_reply{200, json::object{}};
  }};
}

result<question> create_token(const call& c, const api_backend& on) {
  ATOLL_TRY(read_query(c.request.query, {}));
  ATOLL_ASSIGN(const auto body, read_body(c.request.body, {"roles", "ttl_s", "uses"}));
  ATOLL_ASSIGN(const auto roles, words_field(body, "roles", 8));
  ATOLL_ASSIGN(const auto ttl_s, integer_field(body, "ttl_s", 1, ttl_most_s));
  ATOLL_ASSIGN(const auto uses, integer_field(body, "uses", 1, uses_most));
  cluster::join_token kept;
  ATOLL_ASSIGN(kept.roles, role_bits(roles));
  const tls::join_token made = tls::make_join_token(on.fingerprint);
  kept.id = made.id;
  kept.secret_hash = tls::hash_secret(made.secret);
  kept.uses_left = static_cast<std::uint32_t>(uses.value_or(1));
  kept.created_unix_ms = on.unix_ms();
  kept.expires_unix_ms = kept.created_unix_ms + ttl_s.value_or(3600) * 1000;
  return question{[kept, made](cluster::control& s, time_point_ns) -> result<api_reply> {
    ATOLL_TRY(s.create_token(kept));
    json::object shown = to_json(kept, kept.created_unix_ms);
    shown["token"] = tls::to_text(made);
    return api_reply{201, std::move(shown), {{"location", "/api/v1/join-tokens/" + kept.id}}};
  }};
}

}  // namespace atl::ops
