#include "apps/cluster/placement_api.hpp"

#include "apps/cluster/api_fields.hpp"
#include "apps/cluster/plan_api.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <limits>
#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;
using cluster::wanted_place;

constexpr std::uint32_t number_most = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t shown_bytes_max = 40;

error wrong(const std::string& where, const std::string& expected, const json::value& found) {
  std::string text = json::serialize(found);
  if (text.size() > shown_bytes_max) text = std::string{json::to_string(found.kind())};
  return {errc::invalid_argument, where + ": expected " + expected + ", not " + text};
}

result<std::uint32_t> read_number(const json::value& from, const std::string& where) {
  if (from.is_int64() && from.get_int64() >= 0 && from.get_int64() <= number_most)
    return static_cast<std::uint32_t>(from.get_int64());
  return wrong(where, "a whole number from 0 to " + std::to_string(number_most), from);
}

/// A field of an object that has no others than these.
result<const json::object*> read_fields(const json::value& from,
                                        const std::string& where,
                                        std::initializer_list<std::string_view> needed,
                                        std::string_view optional = {}) {
  const json::object* o = from.if_object();
  std::string names;
  for (const auto name : needed) names += (names.empty() ? "" : ", ") + std::string{name};
  if (o == nullptr) return wrong(where, "an object with " + names, from);
  for (const auto name : needed)
    if (!o->contains(name)) return wrong(where, "an object with " + names, from);
  for (const auto& field : *o) {
    const std::string_view key{field.key().data(), field.key().size()};
    if (key != optional && std::find(needed.begin(), needed.end(), key) == needed.end())
      return error{errc::invalid_argument,
                   where + ": there is no field \"" + std::string{key.substr(0, shown_bytes_max)} +
                       "\" here"};
  }
  return o;
}

/// 3, or {"node":3,"share":0.5}.
result<std::pair<node_id, double>> read_copy(const json::value& from, const std::string& where) {
  if (!from.is_object()) {
    ATOLL_ASSIGN(const auto node, read_number(from, where));
    return std::pair{node_id{node}, 0.0};
  }
  ATOLL_ASSIGN(const json::object* o, read_fields(from, where, {"node"}, "share"));
  ATOLL_ASSIGN(const auto node, read_number(o->at("node"), where + ".node"));
  const json::value* share = o->if_contains("share");
  if (share == nullptr) return std::pair{node_id{node}, 0.0};
  boost::system::error_code code;
  const double part = share->to_number<double>(code);
  if (code || !(part > 0) || part > 1)
    return wrong(where + ".share", "a number above 0 and at most 1", *share);
  return std::pair{node_id{node}, part};
}

result<void> read_copies(const json::value& from, const std::string& where, wanted_place& to) {
  const json::array* nodes = from.if_array();
  if (nodes == nullptr) return wrong(where, "a list of nodes", from);
  for (std::size_t i = 0; i < nodes->size(); ++i) {
    ATOLL_ASSIGN(const auto copy, read_copy((*nodes)[i], where + "[" + std::to_string(i) + "]"));
    to.nodes.push_back(copy);
  }
  return {};
}

/// [{"layer":1,"expert":0,"nodes":[2,3]}]
result<void> read_experts(const json::value& from, std::vector<wanted_place>& to) {
  const json::array* all = from.if_array();
  if (all == nullptr) return wrong("experts", "a list", from);
  for (std::size_t i = 0; i < all->size(); ++i) {
    const std::string where = "experts[" + std::to_string(i) + "]";
    ATOLL_ASSIGN(const json::object* o,
                 read_fields((*all)[i], where, {"layer", "expert", "nodes"}));
    wanted_place w;
    ATOLL_ASSIGN(w.layer.value, read_number(o->at("layer"), where + ".layer"));
    ATOLL_ASSIGN(w.expert.value, read_number(o->at("expert"), where + ".expert"));
    ATOLL_TRY(read_copies(o->at("nodes"), where + ".nodes", w));
    to.push_back(std::move(w));
  }
  return {};
}

/// As GET answers: [{"layer":1,"experts":[[{"node":2,"share":1}],...]}]
result<void> read_layers(const json::value& from, std::vector<wanted_place>& to) {
  const json::array* all = from.if_array();
  if (all == nullptr) return wrong("layers", "a list", from);
  for (std::size_t i = 0; i < all->size(); ++i) {
    const std::string where = "layers[" + std::to_string(i) + "]";
    ATOLL_ASSIGN(const json::object* o, read_fields((*all)[i], where, {"layer", "experts"}));
    ATOLL_ASSIGN(const auto layer, read_number(o->at("layer"), where + ".layer"));
    const json::array* experts = o->at("experts").if_array();
    if (experts == nullptr) return wrong(where + ".experts", "a list", o->at("experts"));
    for (std::size_t e = 0; e < experts->size(); ++e) {
      wanted_place w{layer_index{layer}, expert_index{static_cast<std::uint32_t>(e)}, {}};
      ATOLL_TRY(read_copies((*experts)[e], where + ".experts[" + std::to_string(e) + "]", w));
      to.push_back(std::move(w));
    }
  }
  return {};
}

}  // namespace

result<question> put_placement(const call& c, const api_backend&) {
  ATOLL_TRY(read_query(c.request.query, {}));
  ATOLL_ASSIGN(const json::object body, read_body(c.request.body, {"experts", "layers"}));
  std::vector<wanted_place> wanted;
  if (const auto* experts = body.if_contains("experts")) ATOLL_TRY(read_experts(*experts, wanted));
  if (const auto* layers = body.if_contains("layers")) ATOLL_TRY(read_layers(*layers, wanted));
  if (wanted.empty())
    return error{errc::invalid_argument,
                 "experts: expected at least one, as {\"layer\":3,\"expert\":17,\"nodes\":[2,4]}"};
  return if_matched(
      c, [wanted = std::move(wanted)](cluster::control& s, time_point_ns now) -> result<api_reply> {
        ATOLL_ASSIGN(const std::uint64_t id, s.place(wanted, now));
        return plan_reply(s, id);
      });
}

}  // namespace atl::ops
