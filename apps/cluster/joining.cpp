#include "apps/cluster/joining.hpp"

#include "apps/cluster/operator_session.hpp"
#include "apps/http/client.hpp"
#include "apps/http/peer_chain.hpp"
#include "apps/serve/keys.hpp"
#include "runtime/base/log.hpp"
#include "transport/tls/join_token.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <filesystem>

namespace atl::ops {
namespace {

namespace json = boost::json;
namespace tls = transport::tls;

constexpr std::chrono::seconds connect_patience{10};
constexpr std::chrono::seconds answer_patience{30};

result<tls::join_token> read_token(const std::string& file) {
  if (file.empty())
    return error{errc::invalid_argument,
                 "--token-file: a node that joins needs a token in a file; make one with `atoll "
                 "join-token create`"};
  ATOLL_ASSIGN(const std::string text, serve::read_key_file(file));
  const auto token = tls::parse_join_token(text);
  if (token.has_error())
    return error{errc::invalid_argument, "--token-file " + file + ": " + token.error().message()};
  return *token;
}

/// The authority's certificate among those that the server shows, known by its fingerprint.
result<std::string> find_authority(const http::server_url& server, const std::string& fingerprint) {
  ATOLL_ASSIGN(const auto chain, http::fetch_chain(server, connect_patience));
  for (const auto& pem : chain) {
    const auto shown = tls::fingerprint_of(pem);
    if (!shown.has_value() || *shown != fingerprint) continue;
    // TLS would only say that a certificate is not accepted.
    const auto facts = tls::read_facts(chain.front());
    if (facts.has_value())
      if (auto why = tls::describe_validity(*facts, unix_time_ms() / 1000); !why.empty())
        return error{errc::unauthorised, "the certificate of " + server.text() + " " + why};
    return pem;
  }
  return error{errc::unauthorised,
               server.text() +
                   " is not of the cluster that the token is for (none of its certificates has "
                   "the fingerprint in the token); nothing was sent to it"};
}

result<json::object> post(const http::server_url& server,
                          const std::string& ca_file,
                          const std::string& path,
                          const json::object& body) {
  http::client_options o;
  o.server = server;
  o.ca_file = ca_file;
  o.connect_time = connect_patience;
  ATOLL_ASSIGN(auto client, http::client::create(std::move(o)));
  http::call_request r;
  r.method = "POST";
  r.path = path;
  r.body = json::serialize(body);
  r.time = answer_patience;
  ATOLL_ASSIGN(const auto reply, client->exchange(std::move(r)));
  if (reply.status != 200) {
    const error said = remote::refusal(server.text(), reply.status, reply.headers, reply.body);
    // The token or the certificate counts here, and no key that an option could give.
    const std::string text = said.message().substr(0, said.message().find("; give a key by "));
    return error{said.code(), text};
  }
  boost::system::error_code code;
  json::value parsed = json::parse(reply.body, code);
  if (code || !parsed.is_object())
    return error{errc::malformed_frame, server.text() + path + ": the answer is no JSON object"};
  return std::move(parsed.get_object());
}

std::string text_in(const json::object& from, std::string_view name) {
  const auto* v = from.if_contains(name);
  return v != nullptr && v->is_string() ? std::string{v->get_string()} : std::string{};
}

result<void> keep_model(const std::string& dir, const json::object& told) {
  const std::string config = text_in(told, "model_config");
  if (config.empty()) return {};
  std::error_code failure;
  std::filesystem::create_directories(dir + "/model", failure);
  if (failure) return error{errc::io, dir + "/model: " + failure.message()};
  ATOLL_TRY(write_private(dir + "/model/config.json", config));
  const std::string generation = text_in(told, "generation_config");
  if (!generation.empty())
    ATOLL_TRY(write_private(dir + "/model/generation_config.json", generation));
  return {};
}

result<tls::credentials> keep_certificate(const std::string& dir,
                                          const json::object& told,
                                          const std::string& key,
                                          const std::string& ca) {
  const tls::credentials own{ca, text_in(told, "certificate"), key};
  ATOLL_TRY(tls::check_credentials(own, unix_time_ms() / 1000));
  ATOLL_TRY(write_private(dir + "/node.pem", own.certificate_pem));
  return own;
}

}  // namespace

result<node_card> join_cluster(const join_options& o) {
  ATOLL_ASSIGN(const tls::join_token token, read_token(o.token_file));
  ATOLL_ASSIGN(const http::server_url server, http::parse_server_url(o.server));
  if (!server.is_tls)
    return error{errc::invalid_argument, "--join " + o.server + ": give an https URL"};
  ATOLL_ASSIGN(const std::string ca, find_authority(server, token.fingerprint));
  ATOLL_TRY(write_private(o.dir + "/ca.pem", ca));
  ATOLL_ASSIGN(const auto made, tls::make_key_and_request());
  ATOLL_TRY(write_private(o.dir + "/node.key", made.key_pem));
  ATOLL_TRY(write_private(o.dir + "/node.csr", made.request_pem));
  json::array roles;
  for (const auto& r : o.roles) roles.emplace_back(r);
  json::object body{{"token", tls::to_text(token)},
                    {"name", o.name},
                    {"roles", std::move(roles)},
                    {"csr", made.request_pem},
                    {"version", o.version},
                    {"unix_s", unix_time_ms() / 1000}};
  if (!o.model.empty()) body["model"] = o.model;
  ATOLL_ASSIGN(json::object told, post(server, o.dir + "/ca.pem", "/api/v1/join", body));
  ATOLL_TRY(keep_certificate(o.dir, told, made.key_pem, ca));
  ATOLL_TRY(keep_model(o.dir, told));
  told["server"] = server.text();
  told["name"] = o.name;
  told["roles"] = body.at("roles");
  ATOLL_ASSIGN(const node_card card, parse_node_card(json::serialize(told), "the answer to join"));
  ATOLL_TRY(write_node_card(o.dir, card));
  return card;
}

result<tls::credentials> read_credentials(const std::string& dir) {
  tls::credentials own;
  ATOLL_ASSIGN(own.authority_pem, read_text(dir + "/ca.pem"));
  ATOLL_ASSIGN(own.certificate_pem, read_text(dir + "/node.pem"));
  ATOLL_ASSIGN(own.key_pem, serve::read_key_file(dir + "/node.key"));
  return own;
}

std::int64_t renewal_due_unix_s(const tls::certificate_facts& facts) noexcept {
  return facts.not_before_unix_s + (facts.not_after_unix_s - facts.not_before_unix_s) / 2;
}

result<tls::credentials> renew_certificate(const std::string& dir, const node_card& card) {
  ATOLL_ASSIGN(const tls::credentials old, read_credentials(dir));
  ATOLL_ASSIGN(const std::string request, read_text(dir + "/node.csr"));
  ATOLL_ASSIGN(const http::server_url server, http::parse_server_url(card.server));
  const json::object body{{"certificate", old.certificate_pem}, {"csr", request}};
  ATOLL_ASSIGN(const json::object told, post(server, dir + "/ca.pem", "/api/v1/renew", body));
  return keep_certificate(dir, told, old.key_pem, old.authority_pem);
}

}  // namespace atl::ops
