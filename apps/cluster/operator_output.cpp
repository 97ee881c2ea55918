#include "apps/cluster/operator_output.hpp"

#include "apps/cluster/table.hpp"
#include "apps/output.hpp"
#include "runtime/base/disk.hpp"

#include <boost/json.hpp>

#include <algorithm>

namespace atl::ops {

namespace json = boost::json;

std::string text_at(const json::value& v, std::string_view name) {
  const auto* object = v.if_object();
  const auto* field = object == nullptr ? nullptr : object->if_contains(name);
  if (field == nullptr || field->is_null()) return "";
  if (field->is_string()) return std::string{field->get_string()};
  if (field->is_array()) {
    std::string words;
    for (const auto& word : field->get_array())
      if (word.is_string()) words += (words.empty() ? "" : ",") + std::string{word.get_string()};
    return words;
  }
  return json::serialize(*field);
}

std::int64_t number_at(const json::value& v, std::string_view name) {
  const auto* object = v.if_object();
  const auto* field = object == nullptr ? nullptr : object->if_contains(name);
  if (field == nullptr) return 0;
  boost::system::error_code code;
  const auto number = field->to_number<std::int64_t>(code);
  return code ? 0 : number;
}

const json::array& list_at(const json::value& v, std::string_view name) {
  static const json::array none;
  const auto* object = v.if_object();
  const auto* field = object == nullptr ? nullptr : object->if_contains(name);
  return field == nullptr || !field->is_array() ? none : field->get_array();
}

result<int> print(const std::string& text) {
  const auto files = system_disk();
  ATOLL_ASSIGN(apps::output to, apps::output::open(*files, ""));
  ATOLL_TRY(to.write(text));
  ATOLL_TRY(to.finish());
  return 0;
}

result<int> print(const json::value& v) { return print(json::serialize(v) + "\n"); }

/// Errors are told and become exit codes here.
result<int> with_session(const operator_options& o,
                         const std::function<result<int>(operator_session&)>& what) {
  return remote::report([&]() -> result<int> {
    ATOLL_ASSIGN(operator_session at, operator_session::open(o.server));
    return what(at);
  }());
}

/// The number of a node that was named by its number or its name.
result<int> show_list(const operator_options& o,
                      const std::string& path,
                      const std::vector<list_column>& columns) {
  return with_session(o, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value all, at.ask("GET", path));
    const json::array& items = list_at(all, "items");
    if (o.as_json) return print(json::value(items));
    std::vector<std::string> titles;
    for (const auto& c : columns) titles.push_back(c.title);
    table t{titles};
    for (const auto& i : items) {
      std::vector<std::string> row;
      for (const auto& c : columns) row.push_back(text_at(i, c.field));
      t.add(std::move(row));
    }
    return print(t.text());
  });
}

result<std::string> find_node(operator_session& at, const std::string& given) {
  const bool is_number =
      !given.empty() && given.size() < 11 &&
      std::all_of(given.begin(), given.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (is_number) return given;
  ATOLL_ASSIGN(const json::value all, at.ask("GET", "/api/v1/nodes"));
  std::string found;
  for (const auto& n : list_at(all, "items")) {
    if (text_at(n, "name") != given || text_at(n, "state") == "removed") continue;
    if (!found.empty())
      return error{errc::invalid_argument,
                   "several nodes are called " + given + "; name one by its number"};
    found = text_at(n, "id");
  }
  if (found.empty()) return error{errc::not_found, "there is no node " + given};
  return found;
}

result<int> show_operation(const operator_options& o, const json::value& operation) {
  if (o.as_json) {
    ATOLL_TRY(print(operation));
  } else {
    std::string text = text_at(operation, "subject") + ": " + text_at(operation, "state");
    if (!text_at(operation, "detail").empty()) text += ", " + text_at(operation, "detail");
    ATOLL_TRY(print(text + "\n"));
  }
  const std::string state = text_at(operation, "state");
  return state == "failed" || state == "cancelled" ? 1 : 0;
}

/// Looks again whenever something happened in the cluster, until the operation has ended.
result<json::value> wait_for_end(operator_session& at, json::value operation) {
  const std::string id = text_at(operation, "id");
  std::string since = "0";
  while (text_at(operation, "state") == "running") {
    ATOLL_ASSIGN(const json::value news, at.ask("GET", "/api/v1/events?wait=5&since=" + since));
    since = text_at(news, "revision");
    ATOLL_ASSIGN(operation, at.ask("GET", "/api/v1/operations/" + id));
  }
  return operation;
}

}  // namespace atl::ops
