#include "apps/cluster/api_question.hpp"

#include "apps/cluster/api_fields.hpp"
#include "apps/cluster/plan_api.hpp"
#include "apps/cluster/views.hpp"
#include "transport/tls/join_token.hpp"

#include <algorithm>
#include <utility>

namespace atl::ops {

std::optional<error> trouble_of(const api_backend& on) {
  if (on.audit != nullptr)
    if (auto trouble = on.audit->trouble()) return trouble;
  return on.trouble ? on.trouble() : std::nullopt;
}

result<void> no_more(const call& c) {
  ATOLL_TRY(read_body(c.request.body, {}));
  ATOLL_TRY(read_query(c.request.query, {}));
  return {};
}

result<api_reply> operation_reply(const cluster::control& on, result<std::uint64_t> made) {
  if (made.has_error()) return made.error();
  ATOLL_ASSIGN(const auto o, on.find_operation(*made));
  const bool runs = o.state == cluster::operation_state::running;
  return api_reply{runs ? 202 : 200,
                   to_json(o),
                   {{"location", "/api/v1/operations/" + std::to_string(o.id)}},
                   o.id};
}

std::string tag_of(epoch version) { return "\"" + std::to_string(version.value) + "\""; }

bool names_tag(std::string_view header, const std::string& tag) {
  while (!header.empty()) {
    std::string_view one = header.substr(0, header.find(','));
    header.remove_prefix(std::min(header.size(), one.size() + 1));
    while (one.starts_with(' ')) one.remove_prefix(1);
    while (one.ends_with(' ')) one.remove_suffix(1);
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (one == "*" || one == tag) return true;
  }
  return false;
}

question if_matched(const call& c, question q) {
  const std::string match{c.request.header_value("if-match")};
  if (match.empty()) return q;
  return [match, q = std::move(q)](cluster::control& s, time_point_ns now) -> result<api_reply> {
    if (!names_tag(match, tag_of(s.placement_epoch())))
      return error{errc::stale_epoch,
                   "the placement is of epoch " + std::to_string(s.placement_epoch().value) +
                       " by now, not of " + match + "; look at it again"};
    return q(s, now);
  };
}

namespace {

error other_request(const std::string& what, std::uint64_t id) {
  return {errc::invalid_argument,
          "another request was made with this Idempotency-Key; it is " + what + " " +
              std::to_string(id)};
}

/// The plan, and what tells the request that was made with the key.
std::optional<std::pair<std::uint64_t, std::string>> plan_made_by(const cluster::control& on,
                                                                  const std::string& key) {
  for (const auto& [id, p] : on.kept().plans)
    for (const auto& k : p.asked_by)
      if (k.key == key) return std::pair{id, k.digest};
  return std::nullopt;
}

}  // namespace

result<question> once(const call& c, question q) {
  const std::string key{c.request.header_value("idempotency-key")};
  if (key.empty()) return q;
  const bool is_plain = key.size() <= 128 && std::all_of(key.begin(), key.end(), [](char ch) {
                          return ch > ' ' && ch <= '~';
                        });
  if (!is_plain)
    return error{errc::invalid_argument,
                 "Idempotency-Key: expected at most 128 visible characters"};
  const std::string digest = transport::tls::hash_secret(
      c.request.method + "\n" + c.request.path + "\n" + c.request.query + "\n" + c.request.body);
  return question{
      [q = std::move(q), key, digest](cluster::control& s, time_point_ns now) -> result<api_reply> {
        if (const auto before = s.made_by(key)) {
          if (before->request_digest != digest) return other_request("operation", before->id);
          return operation_reply(s, before->id);
        }
        if (const auto before = plan_made_by(s, key)) {
          if (before->second != digest) return other_request("plan", before->first);
          return plan_reply(s, before->first);
        }
        if (const auto waits = s.plan_requests().asked_by(key)) {
          if (waits->second.digest != digest) return other_request("plan request", waits->first);
          return made_reply(s, waits->first);
        }
        ATOLL_ASSIGN(api_reply reply, q(s, now));
        if (reply.asked_plan) s.plan_requests().note_key(*reply.asked_plan, {key, digest});
        if (reply.made) s.note_key(*reply.made, key, digest);
        if (reply.made_plan) s.note_plan_key(*reply.made_plan, {key, digest});
        return reply;
      }};
}

}  // namespace atl::ops
