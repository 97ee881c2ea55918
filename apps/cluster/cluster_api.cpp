#include "apps/cluster/cluster_api.hpp"

#include "apps/cluster/api_fields.hpp"
#include "apps/cluster/api_question.hpp"
#include "apps/cluster/audit_api.hpp"
#include "apps/cluster/certificate_api.hpp"
#include "apps/cluster/config_api.hpp"
#include "apps/cluster/event_api.hpp"
#include "apps/cluster/expert_api.hpp"
#include "apps/cluster/log_api.hpp"
#include "apps/cluster/node_api.hpp"
#include "apps/cluster/operation_api.hpp"
#include "apps/cluster/placement_api.hpp"
#include "apps/cluster/plan_api.hpp"
#include "apps/cluster/request_api.hpp"
#include "apps/cluster/roles.hpp"
#include "apps/cluster/token_api.hpp"
#include "apps/cluster/views.hpp"
#include "apps/serve/access.hpp"
#include "apps/serve/board.hpp"
#include "runtime/base/log.hpp"

#include <boost/json.hpp>

#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

enum class access { open, token, read, admin };

/// Who asked for a plan is told so long after it is there, at most.
constexpr std::chrono::milliseconds plan_look_gap{20};

/// What is answered to a change that could not be written down.
error not_now(const error& trouble) {
  return {errc::unavailable, "nothing was changed: " + trouble.message()};
}

}  // namespace

class cluster_api::impl : public std::enable_shared_from_this<impl> {
public:
  explicit impl(api_backend on) : on_{std::move(on)} {}

  struct entry {
    std::string_view method;
    std::string_view path;
    access needs;
    result<question> (*make)(const call&, const api_backend&);  // null: one of the next
    void (impl::*serve)(call&&) = nullptr;
  };
  static const std::vector<entry>& table();

  struct match {
    const entry* to = nullptr;
    std::string id;
    std::string allow;
  };
  static match find(std::string_view method, std::string_view path);
  std::optional<http::response> refusal(const http::request& head, const match& m) const;
  void handle(http::request&& request, std::shared_ptr<http::exchange> answer);

private:
  void ask(const call& c, question q, std::optional<audit_entry> noted);
  void events(call&& c) { events_->handle(std::move(c)); }
  void list_requests(call&& c) { requests_->list(std::move(c)); }
  void show_request(call&& c) { requests_->show(std::move(c)); }
  void cancel_request(call&& c) { requests_->cancel(std::move(c)); }
  void line(call&& c) { requests_->line(std::move(c)); }
  void join(call&& c);
  void renew(call&& c);
  void live(call&& c);
  void ready(call&& c);
  void document(call&& c);
  void version(call&& c);
  void page(call&& c);

  api_backend on_;
  std::shared_ptr<event_feed> events_ = std::make_shared<event_feed>(on_);
  std::shared_ptr<request_desk> requests_ = std::make_shared<request_desk>(on_);
  std::shared_ptr<log_once> noted_ = std::make_shared<log_once>();
};

const std::vector<cluster_api::impl::entry>& cluster_api::impl::table() {
  static const std::vector<entry> all{
      {"GET", "/api/v1/cluster", access::read, get_cluster},
      {"GET", "/api/v1/nodes", access::read, list_nodes},
      {"GET", "/api/v1/nodes/{id}", access::read, get_node},
      {"DELETE", "/api/v1/nodes/{id}", access::admin, remove_node},
      {"POST", "/api/v1/nodes/{id}/cordon", access::admin, cordon},
      {"POST", "/api/v1/nodes/{id}/uncordon", access::admin, uncordon},
      {"POST", "/api/v1/nodes/{id}/drain", access::admin, drain},
      {"DELETE", "/api/v1/nodes/{id}/drain", access::admin, cancel_drain},
      {"GET", "/api/v1/join-tokens", access::read, list_tokens},
      {"POST", "/api/v1/join-tokens", access::admin, create_token},
      {"DELETE", "/api/v1/join-tokens/{id}", access::admin, revoke_token},
      {"GET", "/api/v1/certificates", access::read, list_certificates},
      {"POST", "/api/v1/certificates/{id}/revoke", access::admin, revoke_certificate},
      {"GET", "/api/v1/load", access::read, get_load},
      {"GET", "/api/v1/operations", access::read, list_operations},
      {"GET", "/api/v1/operations/{id}", access::read, get_operation},
      {"DELETE", "/api/v1/operations/{id}", access::admin, cancel_operation},
      {"GET", "/api/v1/models", access::read, list_models},
      {"GET", "/api/v1/experts", access::read, list_experts},
      {"GET", "/api/v1/experts/{id}", access::read, get_expert},
      {"POST", "/api/v1/experts/{id}/move", access::admin, move_expert},
      {"POST", "/api/v1/experts/{id}/replicate", access::admin, replicate_expert},
      {"POST", "/api/v1/experts/{id}/drop", access::admin, drop_expert},
      {"POST", "/api/v1/experts/{id}/pin", access::admin, pin_expert},
      {"POST", "/api/v1/experts/{id}/unpin", access::admin, unpin_expert},
      {"GET", "/api/v1/placement", access::read, get_placement},
      {"PUT", "/api/v1/placement", access::admin, put_placement},
      {"POST", "/api/v1/placement/rebalance", access::admin, rebalance},
      {"GET", "/api/v1/plans", access::read, list_plans},
      {"GET", "/api/v1/plans/{id}", access::read, get_plan},
      {"DELETE", "/api/v1/plans/{id}", access::admin, cancel_plan},
      {"POST", "/api/v1/plans/{id}/apply", access::admin, apply_plan},
      {"GET", "/api/v1/policy", access::read, get_policy},
      {"PUT", "/api/v1/policy", access::admin, set_policy},
      {"GET", "/api/v1/audit", access::admin, list_audit},
      {"GET", "/api/v1/config", access::read, get_config},
      {"PUT", "/api/v1/config", access::admin, set_config},
      {"GET", "/api/v1/log-level", access::read, get_log_level},
      {"PUT", "/api/v1/log-level", access::admin, set_log_level_of},
      {"GET", "/api/v1/events", access::read, nullptr, &impl::events},
      {"GET", "/api/v1/requests", access::read, nullptr, &impl::list_requests},
      {"GET", "/api/v1/requests/{id}", access::read, nullptr, &impl::show_request},
      {"DELETE", "/api/v1/requests/{id}", access::admin, nullptr, &impl::cancel_request},
      {"POST", "/api/v1/gateways/line", access::token, nullptr, &impl::line},
      {"POST", "/api/v1/join", access::token, nullptr, &impl::join},
      {"POST", "/api/v1/renew", access::token, nullptr, &impl::renew},
      {"GET", "/api/v1/openapi.json", access::open, nullptr, &impl::document},
      {"GET", "/live", access::open, nullptr, &impl::live},
      {"GET", "/ready", access::open, nullptr, &impl::ready},
      {"GET", "/version", access::open, nullptr, &impl::version},
      {"GET", "/", access::open, nullptr, &impl::page},
      {"GET", "/static/{id}", access::open, nullptr, &impl::page},
  };
  return all;
}

cluster_api::impl::match cluster_api::impl::find(std::string_view method, std::string_view path) {
  match m;
  for (const entry& e : table()) {
    std::string id;
    const std::size_t open = e.path.find("{id}");
    if (open == std::string_view::npos) {
      if (e.path != path) continue;
    } else {
      const std::string_view before = e.path.substr(0, open), after = e.path.substr(open + 4);
      if (path.size() <= before.size() + after.size() || !path.starts_with(before) ||
          !path.ends_with(after))
        continue;
      id = path.substr(before.size(), path.size() - before.size() - after.size());
      if (id.find('/') != std::string::npos) continue;
    }
    if (e.method == method) return {&e, id, {}};
    m.allow += (m.allow.empty() ? "" : ", ") + std::string{e.method};
  }
  return m;
}

std::optional<http::response> cluster_api::impl::refusal(const http::request& head,
                                                         const match& m) const {
  if (m.to == nullptr && m.allow.empty())
    return serve::problem(404, "not found", "there is nothing at " + head.path);
  if (m.to == nullptr) {
    auto r = serve::problem(
        405, "wrong method", head.path + " does not know " + head.method + "; use " + m.allow);
    r.headers.push_back({"allow", m.allow});
    return r;
  }
  if (m.to->needs == access::open || m.to->needs == access::token) return std::nullopt;
  const auto key = on_.keys->find(serve::bearer_token(head));
  const bool is_admin = key && key->may(serve::scope::admin);
  if (is_admin || (key && m.to->needs == access::read && key->may(serve::scope::read)))
    return std::nullopt;
  auto r = serve::problem(key ? 403 : 401,
                          "not allowed",
                          key ? "this key's scopes are " + serve::scopes_text(key->scopes) +
                                    "; this asks for " +
                                    (m.to->needs == access::read ? "read or admin" : "admin")
                              : "send \"Authorization: Bearer KEY\" with a key that the cluster "
                                "knows");
  if (!key) r.headers.push_back({"www-authenticate", "Bearer"});
  return r;
}

void cluster_api::impl::handle(http::request&& request, std::shared_ptr<http::exchange> answer) {
  match m = find(request.method, request.path);
  if (auto refused = refusal(request, m)) return answer->reply(std::move(*refused));
  call c{std::move(request), std::move(m.id), std::move(answer)};
  if (m.to->make == nullptr) return (this->*m.to->serve)(std::move(c));
  const bool is_read = m.to->method == "GET";
  auto made = m.to->make(c, on_);
  if (made.has_value() && !is_read) made = once(c, std::move(*made));
  if (made.has_error()) return c.answer->reply(to_response(made.error(), false));
  std::optional<audit_entry> noted;
  if (!is_read) {
    noted = audit_of(c, on_);
    log_event(log_level::info,
              "operator's request",
              {{"what", noted->what}, {"key", noted->who}, {"from", noted->from}});
  }
  if (const auto trouble = trouble_of(on_); trouble && !is_read)
    return c.answer->reply(to_response(not_now(*trouble), false));
  ask(c, std::move(*made), std::move(noted));
}

/// An entry: of a change, which is written down before it is answered.
void cluster_api::impl::ask(const call& c, question q, std::optional<audit_entry> noted) {
  const auto outcome = std::make_shared<result<api_reply>>(error{errc::internal, "no answer"});
  const auto answer = c.answer;
  const auto sent = on_.control(
      [outcome, q = std::move(q)](cluster::control& s, time_point_ns now) { *outcome = q(s, now); },
      [outcome, c, answer, noted = std::move(noted), me = shared_from_this()](
          const result<void>& done) mutable {
        if (done.has_value() && outcome->has_value() && (*outcome)->asked_plan) {
          question later = [request = *(*outcome)->asked_plan](cluster::control& s, time_point_ns) {
            return made_reply(s, request);
          };
          return me->on_.after(
              plan_look_gap, [me, c, later = std::move(later), noted = std::move(noted)]() mutable {
                me->ask(c, std::move(later), std::move(noted));
              });
        }
        const bool is_lost = done.has_error() && noted.has_value() && outcome->has_value();
        http::response said = outcome->has_error() ? to_response(outcome->error(), true)
                              : is_lost            ? to_response(done.error(), false)
                                                   : to_response(**outcome);
        if (!noted) return answer->reply(std::move(said));
        if (outcome->has_value()) noted->operation = (*outcome)->made;
        answer_audited(me->on_, std::move(*noted), std::move(said), answer);
      });
  if (sent.has_error()) answer->reply(to_response(sent.error(), false));
}

void cluster_api::impl::join(call&& c) {
  auto asked = on_.joins->read_join(c.request.body);
  const std::string peer = c.request.peer;
  const auto refuse = [peer, noted = noted_, answer = c.answer](const std::string& name,
                                                                const error& why) {
    if (noted->first(peer.substr(0, peer.rfind(':')) + " " + why.message()))
      log_event(log_level::warning,
                "a machine was not let in",
                {{"name", name}, {"from", peer}, {"why", why.message()}});
    answer->reply(to_response(why, false));
  };
  if (asked.has_error()) return refuse("", asked.error());
  if (const auto trouble = trouble_of(on_)) return refuse(asked->name, not_now(*trouble));
  struct outcome {
    node_id node;
    result<json::object> welcome = error{errc::internal, "no answer"};
  };
  const auto made = std::make_shared<outcome>();
  const auto sent = on_.control(
      [made, joins = on_.joins, r = *asked](cluster::control& s, time_point_ns) {
        const auto node = enrolment::admit(s, r);
        if (node.has_value()) made->node = *node;
        made->welcome = node.has_value() ? joins->welcome(s, r, *node) : node.error();
      },
      [made, refuse, me = shared_from_this(), r = *asked, answer = c.answer, peer](
          const result<void>& done) {
        if (made->welcome.has_error()) return refuse(r.name, made->welcome.error());
        if (done.has_error()) return refuse(r.name, done.error());
        log_event(log_level::info,
                  "a machine was let in",
                  {{"name", r.name},
                   {"node", made->node.value},
                   {"roles", roles_text(r.role_bits)},
                   {"token", r.token_id},
                   {"from", peer}});
        audit_entry noted;
        noted.unix_ms = me->on_.unix_ms();
        noted.who = "join token " + r.token_id;
        noted.from = peer;
        noted.what = "POST /api/v1/join";
        noted.outcome = "node " + std::to_string(made->node.value) + " (" + r.name +
                        ") was let in as " + roles_text(r.role_bits);
        answer_audited(me->on_,
                       std::move(noted),
                       to_response(api_reply{200, std::move(*made->welcome)}),
                       answer);
      });
  if (sent.has_error()) refuse(asked->name, sent.error());
}

void cluster_api::impl::renew(call&& c) {
  auto asked = on_.joins->read_renewal(c.request.body);
  const auto refuse = [peer = c.request.peer, answer = c.answer](const error& why) {
    log_event(log_level::warning,
              "a certificate was not renewed",
              {{"from", peer}, {"why", why.message()}});
    answer->reply(to_response(why, false));
  };
  if (asked.has_error()) return refuse(asked.error());
  const auto fresh = std::make_shared<result<json::object>>(error{errc::internal, "no answer"});
  // It is known from now on, and written down when that can be: a full disk outcasts no node.
  const auto sent = on_.control(
      [fresh, joins = on_.joins, r = *asked](cluster::control& s, time_point_ns now) {
        const auto is_member = enrolment::check_member(s, r.facts, now);
        *fresh = is_member.has_value() ? joins->renew(s, r) : is_member.error();
      },
      [fresh,
       refuse,
       me = shared_from_this(),
       r = *asked,
       answer = c.answer,
       peer = c.request.peer](const result<void>&) {
        if (fresh->has_error()) return refuse(fresh->error());
        audit_entry noted;
        noted.unix_ms = me->on_.unix_ms();
        noted.who = "node " + std::to_string(r.facts.node->value);
        noted.from = peer;
        noted.what = "POST /api/v1/renew";
        noted.outcome = "its certificate was renewed";
        answer_audited(
            me->on_, std::move(noted), to_response(api_reply{200, std::move(**fresh)}), answer);
      });
  if (sent.has_error()) refuse(sent.error());
}

void cluster_api::impl::live(call&& c) {
  c.answer->reply(to_response(api_reply{200, json::object{{"status", "ok"}}}));
}

void cluster_api::impl::ready(call&& c) {
  ask(
      c,
      [](cluster::control&, time_point_ns) -> result<api_reply> {
        return api_reply{200, json::object{{"status", "ok"}}};
      },
      std::nullopt);
}

void cluster_api::impl::document(call&& c) {
  auto file = serve::web_file("/api/v1/openapi-cluster.json");
  c.answer->reply(file ? std::move(*file) : serve::problem(404, "not found", "no description"));
}

void cluster_api::impl::version(call&& c) {
  http::response r;
  r.body = serve::version_json({"cluster"});
  c.answer->reply(std::move(r));
}

/// The dashboard.
void cluster_api::impl::page(call&& c) {
  auto file = serve::web_file(c.request.path);
  c.answer->reply(file ? std::move(*file)
                       : serve::problem(404, "not found", "there is nothing at " + c.request.path));
}

std::vector<api_route> cluster_api::routes() {
  std::vector<api_route> all;
  for (const auto& e : impl::table()) all.push_back({e.method, e.path});
  return all;
}

cluster_api::cluster_api(api_backend on) : impl_{std::make_shared<impl>(std::move(on))} {}
cluster_api::~cluster_api() = default;

std::optional<http::response> cluster_api::check(const http::request& head) const {
  return impl_->refusal(head, impl::find(head.method, head.path));
}

void cluster_api::handle(http::request&& request, std::shared_ptr<http::exchange> answer) {
  impl_->handle(std::move(request), std::move(answer));
}

}  // namespace atl::ops
