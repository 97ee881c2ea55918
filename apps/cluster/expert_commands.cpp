#include "apps/cluster/expert_commands.hpp"

#include "apps/cluster/operator_output.hpp"
#include "apps/cluster/table.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <cmath>
#include <functional>

namespace atl::ops {
namespace {

namespace json = boost::json;

// Of a line of the map, its layer's number aside.
constexpr std::size_t line_columns = 92;

/// "4 (loading)", "3"; of those that serve, with their share where it is uneven.
std::string where_text(const json::value& expert) {
  std::string text;
  const auto& replicas = list_at(expert, "replicas");
  for (const auto& r : replicas) {
    const std::string state = text_at(r, "state");
    text += (text.empty() ? "" : ", ") + text_at(r, "node");
    if (state != "serving") text += " (" + state + ")";
  }
  return text.empty() ? "-" : text;
}

/// Of late.
double rows_per_s(const json::value& expert) {
  const auto* load = expert.as_object().if_contains("load");
  if (load == nullptr || !load->is_object()) return 0;
  const auto* fast = load->get_object().if_contains("fast");
  return fast != nullptr && fast->is_double() ? fast->get_double() : 0;
}

/// The nodes of one expert, "3+4", or "-".
std::string cell_text(const json::value& serving) {
  std::string text;
  const auto* all = serving.if_array();
  if (all == nullptr) return "-";
  for (const auto& r : *all) text += (text.empty() ? "" : "+") + text_at(r, "node");
  return text.empty() ? "-" : text;
}

/// As many experts to a line as fit; each block of lines has its experts' numbers above it.
std::string map_text(const json::value& placement) {
  std::vector<std::string> layers;
  std::vector<std::vector<std::string>> cells;
  std::size_t width = 0;
  std::size_t experts = 0;
  for (const auto& layer : list_at(placement, "layers")) {
    layers.push_back(text_at(layer, "layer"));
    auto& row = cells.emplace_back();
    for (const auto& serving : list_at(layer, "experts")) row.push_back(cell_text(serving));
    for (const auto& cell : row) width = std::max(width, cell.size());
    experts = std::max(experts, row.size());
  }
  width = std::max(width, std::to_string(experts).size());
  const std::size_t block = std::max<std::size_t>(1, line_columns / (width + 2));
  std::string text = "epoch " + text_at(placement, "epoch") + "; nodes that serve each expert\n";
  for (std::size_t first = 0; first < experts; first += block) {
    std::vector<std::string> names{"LAYER"};
    const std::size_t end = std::min(experts, first + block);
    for (std::size_t e = first; e < end; ++e) names.push_back(std::to_string(e));
    table t{names};
    for (std::size_t l = 0; l < layers.size(); ++l) {
      std::vector<std::string> row{layers[l]};
      for (std::size_t e = first; e < end; ++e)
        row.push_back(e < cells[l].size() ? cells[l][e] : "");
      t.add(std::move(row));
    }
    text += "\n" + t.text();
  }
  return text;
}

/// The body's fields for the nodes that were named.
using body_of = std::function<result<json::object>(operator_session&)>;

result<json::value> node_number(operator_session& at, const std::string& given) {
  ATOLL_ASSIGN(const std::string node, find_node(at, given));
  return json::parse(node);
}

result<int> change(const expert_options& o, const char* what, const body_of& body) {
  const bool is_name =
      !o.expert.empty() && std::all_of(o.expert.begin(), o.expert.end(), [](char c) {
        return (c >= '0' && c <= '9') || c == ':';
      });
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    if (!is_name)
      return error{errc::invalid_argument,
                   o.expert + ": name an expert as LAYER:EXPERT, as in 3:17"};
    ATOLL_ASSIGN(const json::object fields, body(at));
    ATOLL_ASSIGN(
        json::value operation,
        at.ask("POST", "/api/v1/experts/" + o.expert + "/" + what, json::serialize(fields)));
    if (!o.detaches) {
      ATOLL_ASSIGN(operation, wait_for_end(at, std::move(operation)));
    }
    return show_operation(o.at, operation);
  });
}

}  // namespace

result<int> run_expert_list(const expert_list_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    if (o.sort != "load" && o.sort != "layer")
      return error{errc::invalid_argument, "--sort " + o.sort + ": expected layer or load"};
    const std::string which = o.layer ? "?layer=" + std::to_string(*o.layer) : std::string{};
    ATOLL_ASSIGN(const json::value all, at.ask("GET", "/api/v1/experts" + which));
    std::vector<json::value> experts{list_at(all, "items").begin(), list_at(all, "items").end()};
    if (o.sort == "load")
      std::stable_sort(experts.begin(), experts.end(), [](const auto& a, const auto& b) {
        return rows_per_s(a) > rows_per_s(b);
      });
    if (o.at.as_json) return print(json::value(json::array(experts.begin(), experts.end())));
    table t{{"EXPERT", "ROWS/S", "COPIES", "WANTED", "NODES", "PINNED TO"}};
    for (const auto& e : experts) {
      std::string pins;
      for (const auto& pin : list_at(e, "pins"))
        pins += (pins.empty() ? "" : ", ") + json::serialize(pin);
      t.add({text_at(e, "id"),
             std::to_string(std::llround(rows_per_s(e))),
             text_at(e, "copies"),
             text_at(e, "copies_wanted"),
             where_text(e),
             pins});
    }
    return print(t.text());
  });
}

result<int> run_expert_map(const expert_list_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value placement, at.ask("GET", "/api/v1/placement"));
    return o.at.as_json ? print(placement) : print(map_text(placement));
  });
}

result<int> run_expert_move(const expert_options& o) {
  return change(o, "move", [&](operator_session& at) -> result<json::object> {
    json::object body;
    ATOLL_ASSIGN(body["to"], node_number(at, o.node));
    if (!o.from.empty()) {
      ATOLL_ASSIGN(body["from"], node_number(at, o.from));
    }
    return body;
  });
}

result<int> run_expert_replicate(const expert_options& o) {
  return change(o, "replicate", [&](operator_session&) -> result<json::object> {
    return json::object{{"copies", o.copies}};
  });
}

result<int> run_expert_drop(const expert_options& o) {
  return change(o, "drop", [&](operator_session& at) -> result<json::object> {
    json::object body{{"force", o.force}};
    ATOLL_ASSIGN(body["node"], node_number(at, o.node));
    return body;
  });
}

result<int> run_expert_pin(const expert_options& o) {
  return change(o, "pin", [&](operator_session& at) -> result<json::object> {
    json::object body;
    ATOLL_ASSIGN(body["node"], node_number(at, o.node));
    return body;
  });
}

result<int> run_expert_unpin(const expert_options& o) {
  return change(o, "unpin", [&](operator_session& at) -> result<json::object> {
    json::object body;
    if (!o.node.empty()) {
      ATOLL_ASSIGN(body["node"], node_number(at, o.node));
    }
    return body;
  });
}

}  // namespace atl::ops
