#include "apps/cluster/request_commands.hpp"

#include "apps/cluster/operator_output.hpp"
#include "apps/cluster/table.hpp"
#include "apps/values.hpp"

#include <boost/json.hpp>

namespace atl::ops {
namespace {

namespace json = boost::json;

/// "12.3 s"
std::string age_text(const json::value& request) {
  const auto* o = request.if_object();
  const auto* age = o == nullptr ? nullptr : o->if_contains("age_s");
  boost::system::error_code code;
  const double value = age == nullptr ? 0 : age->to_number<double>(code);
  return apps::fixed(code ? 0 : value, 1) + " s";
}

std::string table_of(const json::array& requests) {
  table t{{"REQUEST", "KEY", "ROUTE", "STATE", "PROMPT", "ANSWER", "AGE"}};
  for (const auto& r : requests)
    t.add({text_at(r, "id"),
           text_at(r, "key"),
           text_at(r, "route"),
           text_at(r, "state"),
           text_at(r, "prompt_tokens"),
           text_at(r, "generated_tokens"),
           age_text(r)});
  return t.text();
}

std::string path_of(const request_options& o) { return "/api/v1/requests/" + o.id; }

/// An id is part of a path.
result<void> check_id(const std::string& id) {
  if (!id.empty() && id.find_first_not_of("0123456789-") == std::string::npos) return {};
  return error{errc::not_found, "there is no request " + id + "; `atoll request list` tells them"};
}

}  // namespace

result<int> run_request_list(const operator_options& o) {
  return with_session(o, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value all, at.ask("GET", "/api/v1/requests"));
    if (o.as_json) return print(all);
    std::string text = table_of(list_at(all, "items"));
    if (number_at(all, "more") > 0) text += "and " + text_at(all, "more") + " more\n";
    for (const auto& gateway : list_at(all, "silent"))
      text += "gateway " + json::serialize(gateway) + " did not answer\n";
    return print(text);
  });
}

result<int> run_request_show(const request_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_TRY(check_id(o.id));
    ATOLL_ASSIGN(const json::value one, at.ask("GET", path_of(o)));
    return o.at.as_json ? print(one) : print(table_of(json::array{one}));
  });
}

result<int> run_request_cancel(const request_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_TRY(check_id(o.id));
    ATOLL_ASSIGN(const json::value said, at.ask("DELETE", path_of(o)));
    return o.at.as_json ? print(said)
                        : print("request " + o.id + ": " + text_at(said, "state") + "\n");
  });
}

}  // namespace atl::ops
