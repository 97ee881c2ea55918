#include "apps/cluster/top_view.hpp"

#include "apps/cluster/operator_output.hpp"
#include "apps/cluster/table.hpp"
#include "apps/values.hpp"
#include "runtime/base/sizes.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

double real_at(const json::value& v, std::string_view name) {
  const auto* object = v.if_object();
  const auto* field = object == nullptr ? nullptr : object->if_contains(name);
  if (field == nullptr || !field->is_number()) return 0;
  return field->to_number<double>();
}

const json::value& field_at(const json::value& v, std::string_view name) {
  static const json::value none;
  const auto* object = v.if_object();
  const auto* field = object == nullptr ? nullptr : object->if_contains(name);
  return field == nullptr ? none : *field;
}

std::string rate_text(const json::value& v) {
  return v.is_number() ? apps::fixed(v.to_number<double>(), 1) : "-";
}

/// What runs, or waits for a word.
json::array open_of(const json::array& all, std::initializer_list<std::string_view> states) {
  json::array found;
  for (const auto& one : all)
    if (std::find(states.begin(), states.end(), text_at(one, "state")) != states.end())
      found.push_back(one);
  return found;
}

std::string bytes_text(const json::value& node) {
  const auto bytes = std::max<std::int64_t>(number_at(node, "expert_bytes"), 0);
  return human_size(static_cast<std::size_t>(bytes));
}

void add_lines(std::vector<std::string>& to, const std::string& text) {
  std::istringstream from{text};
  for (std::string line; std::getline(from, line);) to.push_back(line);
}

/// At most so many bytes, and no half of a letter.
std::string cut(std::string line, std::size_t columns) {
  if (line.size() <= columns) return line;
  std::size_t end = columns;
  while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xC0U) == 0x80U) --end;
  line.resize(end);
  return line;
}

std::string head_text(const json::value& s) {
  std::string text = "cluster " + text_at(s, "cluster");
  if (!text_at(s, "name").empty()) text += " (" + text_at(s, "name") + ")";
  text += ": " + text_at(s, "state");
  if (!text_at(s, "reason").empty()) text += ", " + text_at(s, "reason");
  text += "\nepoch " + text_at(s, "epoch") + ", " + text_at(s, "loads_open") +
          " copies being loaded   " + text_at(s, "requests") + " requests, " +
          text_at(s, "sequences") + " sequences   " + rate_text(field_at(s, "rows_per_s")) +
          " rows/s";
  if (field_at(s, "tokens_per_s").is_number())
    text += ", " + rate_text(field_at(s, "tokens_per_s")) + " tokens/s";
  return text + "\n\n";
}

std::string nodes_text(const json::value& s) {
  table t{{"ID",
           "NAME",
           "ROLE",
           "STATE",
           "REQ",
           "SEQ",
           "IN FLIGHT",
           "ROWS/S",
           "EXPERTS",
           "WEIGHTS",
           "NOTE"}};
  for (const auto& n : list_at(s, "nodes"))
    t.add({text_at(n, "id"),
           text_at(n, "name"),
           text_at(n, "role"),
           text_at(n, "state"),
           text_at(n, "requests"),
           text_at(n, "sequences"),
           text_at(n, "rows_in_flight"),
           rate_text(field_at(n, "rows_per_s")),
           text_at(n, "experts"),
           bytes_text(n),
           text_at(n, "note")});
  return t.text();
}

std::string hottest_text(const json::value& s) {
  table t{{"HOTTEST", "ROWS/S", "COPIES", "NODES"}};
  for (const auto& e : list_at(s, "hottest"))
    t.add({text_at(e, "id"),
           rate_text(field_at(e, "rows_per_s")),
           text_at(e, "copies"),
           text_at(e, "nodes")});
  return "\n" + t.text();
}

std::string under_way_text(const json::value& s) {
  std::string text;
  for (const auto& o : list_at(s, "operations"))
    text += "operation " + text_at(o, "id") + ": " + text_at(o, "subject") + ", " +
            text_at(o, "percent") + " %\n";
  for (const auto& p : list_at(s, "plans"))
    text += "plan " + text_at(p, "id") + ": " + text_at(p, "state") + ", " + text_at(p, "percent") +
            " %, " + text_at(p, "reason") + "\n";
  return text.empty() ? text : "\n" + text;
}

}  // namespace

json::object top_summary(const top_answers& from, std::size_t hottest_most) {
  const json::value& c = from.cluster;
  double rows = 0;
  std::map<std::int64_t, double> rows_of;
  std::vector<std::pair<double, const json::value*>> experts;
  for (const auto& e : list_at(from.experts, "items")) {
    const double rate = real_at(field_at(e, "load"), "fast");
    rows += rate;
    if (rate > 0) experts.emplace_back(rate, &e);
    for (const auto& r : list_at(e, "replicas"))
      rows_of[number_at(r, "node")] += rate * real_at(r, "share");
  }
  std::stable_sort(experts.begin(), experts.end(), [](const auto& a, const auto& b) {
    return a.first > b.first;
  });
  if (experts.size() > hottest_most) experts.resize(hottest_most);
  json::array hottest;
  for (const auto& [rate, e] : experts) {
    std::string nodes;
    for (const auto& r : list_at(*e, "replicas"))
      if (text_at(r, "state") == "serving")
        nodes += (nodes.empty() ? "" : "+") + text_at(r, "node");
    hottest.push_back({{"id", text_at(*e, "id")},
                       {"rows_per_s", rate},
                       {"copies", number_at(*e, "copies")},
                       {"nodes", nodes}});
  }
  std::int64_t requests = 0, sequences = 0;
  json::array nodes;
  for (const auto& n : list_at(c, "nodes")) {
    if (text_at(n, "state") == "removed") continue;
    json::object one = n.as_object();
    one["rows_per_s"] = rows_of[number_at(n, "id")];
    requests += number_at(n, "requests");
    sequences += number_at(n, "sequences");
    nodes.push_back(std::move(one));
  }
  const json::value& rates = field_at(from.status, "rates");
  const json::value& placement = field_at(c, "placement");
  return {{"cluster", text_at(c, "cluster")},
          {"name", text_at(c, "name")},
          {"state", text_at(c, "state")},
          {"reason", text_at(c, "reason")},
          {"epoch", number_at(placement, "epoch")},
          {"loads_open", number_at(placement, "loads_open")},
          {"requests", requests},
          {"sequences", sequences},
          {"rows_per_s", rows},
          {"tokens_per_s", field_at(rates, "tokens_per_second")},
          {"nodes", std::move(nodes)},
          {"hottest", std::move(hottest)},
          {"operations", open_of(list_at(c, "operations"), {"running"})},
          {"plans", open_of(list_at(from.plans, "items"), {"advised", "applying"})}};
}

std::vector<std::string>
top_lines(const json::object& summary, std::size_t columns, std::size_t lines) {
  const json::value s(summary);
  std::vector<std::string> all;
  add_lines(all, head_text(s) + nodes_text(s) + under_way_text(s) + hottest_text(s));
  if (all.size() > lines) all.resize(lines);
  for (auto& line : all) {
    // What a node's name or note says must not steer the terminal.
    std::replace_if(
        line.begin(), line.end(), [](unsigned char b) { return b < 0x20 || b == 0x7f; }, ' ');
    line = cut(std::move(line), columns);
  }
  return all;
}

}  // namespace atl::ops
