#include "apps/cluster/audit_api.hpp"

#include "apps/cluster/api_fields.hpp"
#include "apps/serve/access.hpp"

#include <boost/json.hpp>

#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

constexpr std::uint64_t limit_default = 100;

/// What an answer says, for people.
std::string outcome_of(const http::response& reply) {
  boost::system::error_code code;
  const json::value v = json::parse(reply.body, code);
  const auto* o = code ? nullptr : v.if_object();
  if (o == nullptr) return "";
  for (const char* name : {"detail", "state"})
    if (const auto* said = o->if_contains(name); said != nullptr && said->is_string()) {
      const std::string text{said->get_string()};
      if (!text.empty() && (reply.status >= 400 || name == std::string_view{"state"})) return text;
    }
  return reply.status < 300 ? "done" : "";
}

}  // namespace

result<question> list_audit(const call& c, const api_backend& on) {
  ATOLL_TRY(read_body(c.request.body, {}));
  ATOLL_ASSIGN(const auto parameters, read_query(c.request.query, {"since", "limit"}));
  std::uint64_t since = 0, limit = limit_default;
  for (const auto& [name, value] : parameters) {
    const auto number = number_of<std::uint64_t>(name, value);
    const bool is_limit = name == "limit";
    if (number.has_error() || (is_limit && (*number == 0 || *number > audit_log::kept)))
      return error{errc::invalid_argument,
                   is_limit ? "limit: expected a number from 1 to 1024"
                            : "since: expected the number of an entry"};
    (is_limit ? limit : since) = *number;
  }
  if (on.audit == nullptr) return error{errc::unavailable, "there is no audit log"};
  return question{
      [log = on.audit, since, limit](cluster::control&, time_point_ns) -> result<api_reply> {
        const auto found = log->since(since, static_cast<std::size_t>(limit));
        json::array items;
        boost::system::error_code code;
        for (const auto& line : found.lines) items.push_back(json::parse(line, code));
        return api_reply{200,
                         json::object{{"items", std::move(items)},
                                      {"last", found.last},
                                      {"complete_since", found.complete_since}}};
      }};
}

audit_entry audit_of(const call& c, const api_backend& on) {
  audit_entry e;
  e.unix_ms = on.unix_ms();
  const auto key = on.keys->find(serve::bearer_token(c.request));
  e.who = key ? key->name : std::string{};
  e.from = c.request.peer;
  e.what = c.request.method + " " + c.request.path;
  if (!c.request.query.empty()) e.what += "?" + c.request.query;
  e.body = c.request.body;
  return e;
}

void answer_audited(const api_backend& on,
                    audit_entry entry,
                    http::response reply,
                    const std::shared_ptr<http::exchange>& answer) {
  entry.status = reply.status;
  if (entry.outcome.empty()) entry.outcome = outcome_of(reply);
  if (on.audit == nullptr) return answer->reply(std::move(reply));
  const auto held = std::make_shared<http::response>(std::move(reply));
  on.audit->append(std::move(entry), [answer, held] { answer->reply(std::move(*held)); });
}

}  // namespace atl::ops
