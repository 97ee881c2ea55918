#include "apps/serve/front.hpp"

#include "apps/json_text.hpp"
#include "apps/openai/api_error.hpp"

#include <utility>

namespace atl::serve {
namespace {

using apps::quoted;
using openai::api_error;

api_error unauthorized(bool has_token) {
  api_error e{401,
              "authentication_error",
              has_token ? "this server does not know the key that was sent"
                        : "this server asks for a key: send \"Authorization: Bearer KEY\""};
  return e.with_code("invalid_api_key");
}

http::response plain_json(int status, std::string body) {
  http::response r;
  r.status = status;
  r.body = std::move(body);
  if (status == 503) r.headers.push_back({"retry-after", "1"});
  return r;
}

/// Errors under /api are problems, all others OpenAI's.
http::response error_at(std::string_view path, const api_error& why) {
  http::response r = why.to_response();
  if (!path.starts_with("/api/")) return r;
  http::response told = problem(r.status, why.type(), why.message());
  told.headers = std::move(r.headers);
  return told;
}

openai::route api_route(target where) {
  switch (where) {
  case target::chat: return openai::route::chat;
  case target::completions: return openai::route::completions;
  case target::tokenize: return openai::route::tokenize;
  case target::detokenize: return openai::route::detokenize;
  case target::apply_template: return openai::route::apply_template;
  case target::models: return openai::route::models;
  default: return openai::route::one_model;
  }
}

}  // namespace

front::front(front_options options) : options_{std::move(options)} {}

void front::open(openai::service* api, board* seen) {
  const std::lock_guard lock{mutex_};
  parts_.api = api;
  parts_.seen = seen;
  parts_.why_not_ready.clear();
}

void front::set_state(std::string why_not_ready) {
  const std::lock_guard lock{mutex_};
  parts_.why_not_ready = std::move(why_not_ready);
}

void front::close(std::string why) {
  const std::lock_guard lock{mutex_};
  parts_ = {nullptr, nullptr, std::move(why)};
}

void front::forward(http::handler to_cluster) {
  const std::lock_guard lock{mutex_};
  cluster_ = std::move(to_cluster);
}

http::handler front::to_cluster(const http::request& request, const route_match& match) const {
  const bool is_of_operators = request.path.starts_with("/api/v1/") &&
                               (!options_.splits || request.listener == admin_listener);
  const bool is_own = match.is_found ? match.where != target::experts : !match.allow.empty();
  if (!is_of_operators || is_own) return nullptr;
  const std::lock_guard lock{mutex_};
  return cluster_;
}

front::parts front::now() const {
  const std::lock_guard lock{mutex_};
  return parts_;
}

std::optional<http::response> front::origin_refusal(const http::request& request) const {
  const bool is_admin = request.listener == admin_listener;
  if (origin_allowed(request, is_admin ? options_.admin_origin : options_.main_origin))
    return std::nullopt;
  return error_at(request.path,
                  {403,
                   "permission_error",
                   "requests of web pages from elsewhere, and for other host names, are not "
                   "taken here without keys"});
}

std::optional<http::response>
front::refusal(const http::request& request, const route_match& match, openai::caller& who) const {
  if (auto refused = origin_refusal(request)) return refused;
  if (to_cluster(request, match)) {
    if (request.listener == admin_listener ? options_.admin_is_private : options_.main_is_private)
      return std::nullopt;
    return error_at(request.path,
                    {403,
                     "permission_error",
                     "an operator's key would travel in clear text; ask the coordinator, or give "
                     "this gateway a certificate (--tls-cert)"});
  }
  if (!match.is_found) {
    if (match.allow.empty())
      return error_at(request.path,
                      {404, "not_found_error", "there is nothing at " + request.path});
    if (request.method == "OPTIONS") {
      http::response r;
      r.status = 204;
      r.headers.push_back({"allow", match.allow});
      return r;
    }
    auto r = error_at(request.path,
                      {405,
                       "invalid_request_error",
                       request.path + " does not know " + request.method + "; use " + match.allow});
    r.headers.push_back({"allow", match.allow});
    return r;
  }
  if (options_.keys == nullptr || match.needs == access::open) return std::nullopt;
  const auto key = options_.keys->find(bearer_token(request));
  if (!key) {
    auto r = error_at(request.path, unauthorized(!bearer_token(request).empty()));
    r.headers.push_back({"www-authenticate", "Bearer"});
    return r;
  }
  if (!is_allowed(*key, match.needs))
    return error_at(request.path,
                    {403,
                     "permission_error",
                     "this key's scopes are " + scopes_text(key->scopes) + ", which do not reach " +
                         request.path});
  who = {key->name, static_cast<std::uint32_t>(key->tenant), key->weight, key->priority};
  return std::nullopt;
}

std::optional<http::response> front::check(const http::request& head) {
  const route_match match = find_route(head.method, head.path, head.listener, options_.splits);
  openai::caller who;
  auto refused = refusal(head, match, who);
  if (refused) {
    const parts p = now();
    if (p.seen != nullptr) p.seen->refused(refused->status);
  }
  return refused;
}

http::response front::probe(target where, const parts& p) const {
  const bool is_ready = p.why_not_ready.empty();
  switch (where) {
  case target::live: return plain_json(200, "{\"status\":\"ok\"}");
  case target::version: {
    const std::lock_guard lock{mutex_};
    return plain_json(200, version_json({"generation", cluster_ ? "cluster" : ""}));
  }
  default:
    return plain_json(is_ready ? 200 : 503,
                      "{\"status\":" + quoted(is_ready ? "ok" : p.why_not_ready) + "}");
  }
}

void front::handle(http::request&& request, std::shared_ptr<http::exchange> answer) {
  route_match match = find_route(request.method, request.path, request.listener, options_.splits);
  openai::caller who;
  if (auto refused = refusal(request, match, who)) return answer->reply(std::move(*refused));
  if (const auto cluster = to_cluster(request, match))
    return cluster(std::move(request), std::move(answer));
  const parts p = now();
  switch (match.where) {
  case target::health:
  case target::live:
  case target::ready:
  case target::version: return answer->reply(probe(match.where, p));
  case target::web:
    if (auto file = web_file(request.path)) return answer->reply(std::move(*file));
    return answer->reply(
        api_error{404, "not_found_error", "there is nothing at " + request.path}.to_response());
  default: break;
  }
  if (p.api == nullptr || p.seen == nullptr)
    return answer->reply(error_at(request.path, api_error::unavailable(1, p.why_not_ready)));
  switch (match.where) {
  case target::metrics: return answer->reply(p.seen->metrics());
  case target::status: return answer->reply(p.seen->status(p.api->live()));
  case target::experts: return answer->reply(p.seen->experts(request.query));
  default:
    p.api->handle(api_route(match.where), std::move(request), std::move(answer), who, match.id);
  }
}

}  // namespace atl::serve
