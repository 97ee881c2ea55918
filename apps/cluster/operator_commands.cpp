#include "apps/cluster/operator_commands.hpp"

#include "apps/cluster/operator_output.hpp"
#include "apps/cluster/state.hpp"
#include "apps/cluster/table.hpp"
#include "apps/output.hpp"
#include "runtime/base/disk.hpp"
#include "runtime/base/sizes.hpp"
#include "transport/wire/control.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <filesystem>
#include <functional>

namespace atl::ops {
namespace {

namespace json = boost::json;

std::string bytes_text(std::int64_t bytes) {
  return human_size(static_cast<std::size_t>(std::max<std::int64_t>(bytes, 0)));
}

std::string up_text(const json::value& node) {
  if (text_at(node, "state") == "absent" || text_at(node, "state") == "removed") return "-";
  const std::int64_t s = number_at(node, "up_s");
  if (s < 120) return std::to_string(s) + "s";
  if (s < 7200) return std::to_string(s / 60) + "m";
  return std::to_string(s / 3600) + "h";
}

/// Rows/s for people: "812", "41k", "2.6M".
std::string speed_text(const json::value& node, std::string_view field) {
  const std::int64_t speed = number_at(node, field);
  if (speed <= 0) return "-";
  if (speed < 10'000) return std::to_string(speed);
  if (speed < 1'000'000) return std::to_string(speed / 1000) + "k";
  return std::to_string(speed / 1'000'000) + "." + std::to_string(speed / 100'000 % 10) + "M";
}

std::string wide_node_table(const json::array& nodes) {
  table t{{"ID",
           "NAME",
           "ROLE",
           "STATE",
           "UP",
           "DOMAIN",
           "SPEED",
           "NOW",
           "EXPERTS",
           "WEIGHTS",
           "OF",
           "DEVICE",
           "ISA",
           "MEMORY",
           "ADDRESS",
           "NOTE"}};
  for (const auto& n : nodes)
    t.add({text_at(n, "id"),
           text_at(n, "name"),
           text_at(n, "role"),
           text_at(n, "state"),
           up_text(n),
           text_at(n, "domain"),
           speed_text(n, "speed"),
           speed_text(n, "speed_now"),
           text_at(n, "experts"),
           bytes_text(number_at(n, "expert_bytes")),
           bytes_text(number_at(n, "expert_bytes_max")),
           text_at(n, "device"),
           text_at(n, "instruction_set"),
           bytes_text(number_at(n, "memory_bytes")),
           text_at(n, "address"),
           text_at(n, "note")});
  return t.text();
}

std::string node_table(const json::array& nodes) {
  table t{{"ID", "NAME", "ROLE", "STATE", "UP", "EXPERTS", "WEIGHTS", "SEQUENCES", "NOTE"}};
  for (const auto& n : nodes)
    t.add({text_at(n, "id"),
           text_at(n, "name"),
           text_at(n, "role"),
           text_at(n, "state"),
           up_text(n),
           text_at(n, "experts"),
           bytes_text(number_at(n, "expert_bytes")),
           text_at(n, "sequences"),
           text_at(n, "note")});
  return t.text();
}

result<int> act_on_node(const node_options& o,
                        const std::string& method,
                        const std::string& what,
                        const std::string& body = {}) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const std::string node, find_node(at, o.node));
    ATOLL_ASSIGN(const json::value done, at.ask(method, "/api/v1/nodes/" + node + what, body));
    return show_operation(o.at, done);
  });
}

}  // namespace

result<int> run_node_list(const operator_options& o, bool is_wide) {
  return with_session(o, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value all, at.ask("GET", "/api/v1/nodes"));
    const json::array& nodes = list_at(all, "items");
    if (o.as_json) return print(json::value(nodes));
    return print(is_wide ? wide_node_table(nodes) : node_table(nodes));
  });
}

result<int> run_node_show(const node_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const std::string node, find_node(at, o.node));
    ATOLL_ASSIGN(const json::value v, at.ask("GET", "/api/v1/nodes/" + node));
    if (o.at.as_json) return print(v);
    table t{{}};
    for (const auto& field : v.as_object()) t.add({field.key(), text_at(v, field.key())});
    return print(t.text());
  });
}

result<int> run_node_cordon(const node_options& o) { return act_on_node(o, "POST", "/cordon"); }

result<int> run_node_uncordon(const node_options& o) { return act_on_node(o, "POST", "/uncordon"); }

result<int> run_node_remove(const node_options& o) {
  return act_on_node(o, "DELETE", o.force ? "?force=true" : "");
}

result<int> run_node_cancel_drain(const node_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const std::string node, find_node(at, o.node));
    ATOLL_ASSIGN(const json::value done, at.ask("DELETE", "/api/v1/nodes/" + node + "/drain"));
    return o.at.as_json ? print(done) : print("the drain of node " + node + " was cancelled\n");
  });
}

result<int> run_node_drain(const node_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const std::string node, find_node(at, o.node));
    json::object body{{"force", o.force}};
    if (o.deadline_s) body["deadline_s"] = *o.deadline_s;
    ATOLL_ASSIGN(json::value operation,
                 at.ask("POST", "/api/v1/nodes/" + node + "/drain", json::serialize(body)));
    if (o.detaches) return show_operation(o.at, operation);
    if (!o.at.as_json)
      apps::note("draining node " + node + " until " + text_at(operation, "deadline") +
                 "; leaving this command does not stop it\n");
    ATOLL_ASSIGN(operation, wait_for_end(at, std::move(operation)));
    return show_operation(o.at, operation);
  });
}

result<int> run_cluster_status(const operator_options& o) {
  return with_session(o, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value v, at.ask("GET", "/api/v1/cluster"));
    const int code = text_at(v, "state") == "healthy" ? 0 : 1;
    if (o.as_json) {
      ATOLL_TRY(print(v));
      return code;
    }
    const auto* placement = v.as_object().if_contains("placement");
    const json::value& p = placement == nullptr ? v : *placement;
    std::string text = "cluster " + text_at(v, "cluster") + " (" + text_at(v, "name") +
                       "): " + text_at(v, "state");
    if (!text_at(v, "reason").empty()) text += ": " + text_at(v, "reason");
    text += "\n" + text_at(p, "experts") + " experts, at least " + text_at(p, "copies_least") +
            " of " + text_at(v, "copies_wanted") + " copies of each, epoch " + text_at(p, "epoch") +
            ", " + text_at(p, "loads_left") + " copies to be loaded\n\n";
    text += node_table(list_at(v, "nodes"));
    for (const auto& operation : list_at(v, "operations"))
      if (text_at(operation, "state") == "running")
        text += "\n" + text_at(operation, "subject") + " runs until " +
                text_at(operation, "deadline") + "\n";
    ATOLL_TRY(print(text));
    return code;
  });
}

result<int> run_operation_list(const operator_options& o) {
  return show_list(o,
                   "/api/v1/operations",
                   {{"ID", "id"},
                    {"WHAT", "subject"},
                    {"STATE", "state"},
                    {"%", "percent"},
                    {"BEGAN", "created"},
                    {"DETAIL", "detail"}});
}

result<int> run_operation_show(const operation_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value v, at.ask("GET", "/api/v1/operations/" + std::to_string(o.id)));
    return show_operation(o.at, v);
  });
}

result<int> run_operation_cancel(const operation_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value v,
                 at.ask("DELETE", "/api/v1/operations/" + std::to_string(o.id)));
    if (o.at.as_json) return print(v);
    return print(text_at(v, "subject") + ": " + text_at(v, "state") + "\n");
  });
}

result<int> run_token_create(const token_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    if (!o.out.empty() && std::filesystem::exists(o.out))
      return error{errc::invalid_argument, "--out " + o.out + ": the file is there already"};
    // The token is shown once: where it goes must be there before it is.
    if (!o.out.empty())
      if (const auto made = write_private(o.out, ""); made.has_error())
        return error{errc::invalid_argument, "--out " + made.error().message()};
    json::array roles;
    for (const auto& r : o.roles) roles.emplace_back(r);
    const json::object body{{"roles", std::move(roles)}, {"ttl_s", o.ttl_s}, {"uses", o.uses}};
    auto answer = at.ask("POST", "/api/v1/join-tokens", json::serialize(body));
    if (answer.has_error()) {
      if (!o.out.empty()) std::filesystem::remove(o.out);
      return answer.error();
    }
    json::value made = std::move(*answer);
    const std::string token = text_at(made, "token");
    if (o.out.empty()) return o.at.as_json ? print(made) : print(token + "\n");
    ATOLL_TRY(write_private(o.out, token + "\n"));
    made.as_object().erase("token");
    if (o.at.as_json) return print(made);
    return print("join token " + text_at(made, "id") + " in " + o.out + ", for " +
                 text_at(made, "roles") + ", until " + text_at(made, "expires") + "\n");
  });
}

result<int> run_token_list(const operator_options& o) {
  return show_list(o,
                   "/api/v1/join-tokens",
                   {{"ID", "id"},
                    {"ROLES", "roles"},
                    {"STATE", "state"},
                    {"USES LEFT", "uses_left"},
                    {"EXPIRES", "expires"}});
}

result<int> run_token_revoke(const token_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    const bool is_id = !o.id.empty() && std::all_of(o.id.begin(), o.id.end(), [](char c) {
      return (c >= 'a' && c <= 'f') || (c >= '0' && c <= '9');
    });
    if (!is_id) return error{errc::invalid_argument, "ID: the 12 digits that `list` shows"};
    ATOLL_ASSIGN(const json::value done, at.ask("DELETE", "/api/v1/join-tokens/" + o.id));
    return o.at.as_json ? print(done) : print("join token " + o.id + " was revoked\n");
  });
}

result<int> run_certificate_list(const operator_options& o) {
  return show_list(o,
                   "/api/v1/certificates",
                   {{"SERIAL", "serial"},
                    {"NODE", "node"},
                    {"STATE", "state"},
                    {"ISSUED", "issued"},
                    {"NOT AFTER", "not_after"}});
}

result<int> run_certificate_revoke(const certificate_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    if (!transport::wire::parse_serial(o.serial))
      return error{errc::invalid_argument, "SERIAL: the 32 digits that `list` shows"};
    ATOLL_ASSIGN(const json::value done,
                 at.ask("POST", "/api/v1/certificates/" + o.serial + "/revoke"));
    if (o.at.as_json) return print(done);
    return print("certificate " + o.serial + " of node " + text_at(done, "node") +
                 " was revoked\n");
  });
}

}  // namespace atl::ops
