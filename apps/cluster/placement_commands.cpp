#include "apps/cluster/placement_commands.hpp"

#include "apps/cluster/operator_output.hpp"
#include "apps/cluster/state.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

constexpr const char* path = "/api/v1/placement";
constexpr std::size_t file_bytes_max = std::size_t{64} << 20;
constexpr double share_noise = 1e-6;

error wrong(const std::string& what) { return {errc::invalid_argument, what}; }

/// "FILE:LINE:COLUMN: why" where it is no JSON.
result<json::value> parse_file(const std::string& text, const std::string& file) {
  json::stream_parser parser;
  boost::system::error_code code;
  std::size_t at = parser.write_some(text.data(), text.size(), code);
  if (!code && at < text.size() && text.find_first_not_of(" \t\r\n", at) != std::string::npos)
    code = json::make_error_code(json::error::extra_data);
  if (!code) parser.finish(code);
  if (!code) return parser.release();
  at = std::min(at, text.size());
  const auto line =
      1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  const std::size_t begin = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;
  return wrong(file + ":" + std::to_string(line) + ":" + std::to_string(at - begin + 1) + ": " +
               code.message());
}

/// By node: the share, 0 where none is given.
using copies = std::map<std::int64_t, double>;

copies copies_of(const json::value& list) {
  copies all;
  const auto* nodes = list.if_array();
  if (nodes == nullptr) return all;
  for (const auto& n : *nodes) {
    const auto* share = n.is_object() ? n.get_object().if_contains("share") : nullptr;
    boost::system::error_code code;
    const double part = share == nullptr ? 0 : share->to_number<double>(code);
    all[n.is_object() ? number_at(n, "node") : n.is_int64() ? n.get_int64() : 0] = code ? 0 : part;
  }
  return all;
}

bool differ(const copies& wanted, const copies& now) {
  if (wanted.size() != now.size()) return true;
  for (const auto& [node, share] : wanted) {
    const auto at = now.find(node);
    if (at == now.end() || (share > 0 && std::abs(share - at->second) > share_noise)) return true;
  }
  return false;
}

using place = std::pair<std::int64_t, std::size_t>;  // layer, expert

std::map<place, copies> places_of(const json::value& placement) {
  std::map<place, copies> all;
  for (const auto& l : list_at(placement, "layers")) {
    const auto& experts = list_at(l, "experts");
    for (std::size_t e = 0; e < experts.size(); ++e)
      all[{number_at(l, "layer"), e}] = copies_of(experts[e]);
  }
  return all;
}

/// What the file has otherwise than it is.
json::array changes(const json::value& file, const json::value& now) {
  const auto there = places_of(now);
  json::array all;
  for (const auto& l : list_at(file, "layers")) {
    const auto& experts = list_at(l, "experts");
    for (std::size_t e = 0; e < experts.size(); ++e) {
      const auto at = there.find({number_at(l, "layer"), e});
      if (at != there.end() && !differ(copies_of(experts[e]), at->second)) continue;
      all.push_back({{"layer", number_at(l, "layer")}, {"expert", e}, {"nodes", experts[e]}});
    }
  }
  for (const auto& one : list_at(file, "experts")) all.push_back(one);
  return all;
}

result<void> check_form(const json::value& read, const std::string& file) {
  const auto* o = read.if_object();
  if (o == nullptr) return wrong(file + ": expected an object, as `atoll placement get` prints it");
  for (const auto& [name, value] : *o)
    if (name != "epoch" && name != "nodes" && name != "layers" && name != "experts")
      return wrong(file + ": there is no field \"" + std::string{name} +
                   "\" here; known: epoch, nodes, layers, experts");
  return {};
}

}  // namespace

result<int> run_placement_get(const operator_options& o) {
  return with_session(o, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const json::value now, at.ask("GET", path));
    return print(now);
  });
}

result<int> run_placement_apply(const placement_apply_options& o) {
  return with_session(o.at, [&](operator_session& at) -> result<int> {
    ATOLL_ASSIGN(const std::string text, read_text(o.file, file_bytes_max));
    ATOLL_ASSIGN(const json::value file, parse_file(text, o.file));
    ATOLL_TRY(check_form(file, o.file));
    ATOLL_ASSIGN(const json::value now, at.ask("GET", path));
    json::array wanted = changes(file, now);
    if (wanted.empty()) return print(std::string{"it is so already\n"});
    std::vector<http::header> headers;
    if (const std::string epoch = text_at(file, "epoch"); !epoch.empty())
      headers.push_back({"if-match", "\"" + epoch + "\""});
    ATOLL_ASSIGN(json::value plan,
                 at.ask("PUT",
                        path,
                        json::serialize(json::object{{"experts", std::move(wanted)}}),
                        std::move(headers)));
    if (!o.detaches) {
      ATOLL_ASSIGN(plan, wait_for_plan(at, std::move(plan)));
    }
    return show_plan(o.at, plan);
  });
}

}  // namespace atl::ops
