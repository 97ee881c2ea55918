#include "apps/cluster/enrolment.hpp"

#include "apps/cluster/api_fields.hpp"
#include "apps/cluster/roles.hpp"
#include "cluster/certificates.hpp"
#include "transport/tls/join_token.hpp"
#include "transport/tls/renewal.hpp"

#include <algorithm>

namespace atl::ops {
namespace {

namespace json = boost::json;
namespace tls = transport::tls;

constexpr std::size_t pem_max = 16'384;
constexpr std::size_t name_max = 64;
constexpr std::int64_t year_9999 = 253'402'300'799;

error missing(const char* field) {
  return {errc::invalid_argument, std::string{field} + ": it must be given"};
}

/// A name that tables, logs and paths can show.
bool is_plain_name(std::string_view name) {
  for (const char c : name) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    if (!is_plain) return false;
  }
  return !name.empty();
}

}  // namespace

result<join_request> enrolment::read_join(std::string_view body) const {
  ATOLL_ASSIGN(const json::object o,
               read_body(body, {"token", "name", "roles", "csr", "version", "unix_s", "model"}));
  join_request r;
  ATOLL_ASSIGN(const std::string token, text_field(o, "token", 512));
  if (token.empty()) return missing("token");
  ATOLL_ASSIGN(const tls::join_token parsed, tls::parse_join_token(token));
  r.token_id = parsed.id;
  r.secret_hash = tls::hash_secret(parsed.secret);
  ATOLL_ASSIGN(r.name, text_field(o, "name", name_max));
  if (!is_plain_name(r.name))
    return error{errc::invalid_argument, "name: 1 to 64 letters of A-Z a-z 0-9 - _ ."};
  ATOLL_ASSIGN(const auto roles, words_field(o, "roles", 8));
  ATOLL_ASSIGN(r.role_bits, role_bits(roles));
  r.roles = role_names(r.role_bits);
  ATOLL_ASSIGN(r.csr, text_field(o, "csr", pem_max));
  ATOLL_ASSIGN(r.version, text_field(o, "version", 255));
  ATOLL_ASSIGN(const auto theirs, integer_field(o, "unix_s", 0, year_9999));
  if (theirs) ATOLL_TRY(tls::check_clocks(unix_s_(), "the machine that joins", *theirs));
  ATOLL_ASSIGN(const std::string model, text_field(o, "model", 64));
  if (!model.empty() && !terms_.fingerprint.empty() && model != terms_.fingerprint)
    return error{errc::invalid_model,
                 "its model has fingerprint " + model + ", the cluster's has " +
                     terms_.fingerprint + ": give every node the same checkpoint"};
  // A request that is none shows before the token loses a use. The certificate is thrown away.
  ATOLL_TRY(authority_.issue({.request_pem = r.csr, .node = {}, .roles = {}, .names = {"check"}},
                             unix_s_()));
  return r;
}

result<node_id> enrolment::admit(cluster::control& on, const join_request& r) {
  ATOLL_TRY(on.check_admission(r.role_bits));  // before the token loses a use
  ATOLL_TRY(on.consume_token(r.token_id, r.secret_hash, r.role_bits));
  return on.admit(r.name, r.role_bits);
}

result<std::string> enrolment::issue(cluster::control& on,
                                     const std::string& csr,
                                     node_id node,
                                     const std::vector<std::string>& roles) const {
  tls::certificate_order order;
  order.request_pem = csr;
  order.node = node;
  order.roles = roles;
  order.lifetime = terms_.certificate_time;
  const std::int64_t now_s = unix_s_();
  ATOLL_ASSIGN(std::string certificate, authority_.issue(order, now_s));
  ATOLL_ASSIGN(const auto facts, tls::read_facts(certificate));
  ATOLL_TRY(on.note_certificate({.serial = facts.serial,
                                 .node = node,
                                 .issued_unix_ms = now_s * 1000,
                                 .not_after_unix_ms = facts.not_after_unix_s * 1000}));
  return certificate;
}

result<json::object>
enrolment::welcome(cluster::control& on, const join_request& r, node_id node) const {
  ATOLL_ASSIGN(const std::string certificate, issue(on, r.csr, node, r.roles));
  return json::object{{"cluster", authority_.cluster()},
                      {"node", node.value},
                      {"certificate", certificate},
                      {"ca", authority_.certificate_pem()},
                      {"coordinator", terms_.coordinator.value},
                      {"control", terms_.control},
                      {"model", terms_.fingerprint},
                      {"model_config", terms_.model_config},
                      {"generation_config", terms_.generation_config},
                      {"heartbeat_ms", terms_.heartbeat_ms},
                      {"suspect_ms", terms_.suspect_ms},
                      {"dead_ms", terms_.dead_ms}};
}

result<enrolment::renewal> enrolment::read_renewal(std::string_view body) const {
  ATOLL_ASSIGN(const json::object o, read_body(body, {"certificate", "csr"}));
  return read_proof(o);
}

result<enrolment::line> enrolment::read_line(std::string_view body) const {
  ATOLL_ASSIGN(const json::object o, read_body(body, {"certificate", "csr", "answers"}));
  ATOLL_ASSIGN(const renewal shown, read_proof(o));
  const auto& roles = shown.facts.roles;
  if (std::find(roles.begin(), roles.end(), "gateway") == roles.end())
    return error{errc::unauthorised,
                 "node " + std::to_string(shown.facts.node->value) + " is no gateway"};
  line l{shown.facts, {}};
  if (const auto* answers = o.if_contains("answers"); answers != nullptr && answers->is_array())
    l.answers = answers->get_array();
  return l;
}

result<enrolment::renewal> enrolment::read_proof(const json::object& o) const {
  renewal r;
  ATOLL_ASSIGN(const std::string certificate, text_field(o, "certificate", pem_max));
  ATOLL_ASSIGN(r.csr, text_field(o, "csr", pem_max));
  if (certificate.empty()) return missing("certificate");
  if (r.csr.empty()) return missing("csr");
  ATOLL_ASSIGN(r.facts,
               tls::check_renewal(authority_.certificate_pem(), certificate, r.csr, unix_s_()));
  return r;
}

result<void> enrolment::check_member(const cluster::control& on,
                                     const tls::certificate_facts& shown,
                                     time_point_ns now) {
  const std::string who = "node " + std::to_string(shown.node->value);
  const auto seen = on.view(*shown.node, now);
  if (seen.has_error() || seen->state == cluster::node_state::removed)
    return error{errc::unauthorised,
                 who + " was removed from the cluster; join anew with a token and an empty state "
                       "directory (--dir)"};
  if (cluster::is_revoked(on.kept(), shown.serial, *shown.node))
    return error{errc::unauthorised,
                 "certificate " + shown.serial + " of " + who +
                     " was revoked; join again with a new token and an empty state directory"};
  return {};
}

result<json::object> enrolment::renew(cluster::control& on, const renewal& r) const {
  ATOLL_ASSIGN(const std::string certificate, issue(on, r.csr, *r.facts.node, r.facts.roles));
  return json::object{{"certificate", certificate}, {"ca", authority_.certificate_pem()}};
}

}  // namespace atl::ops
