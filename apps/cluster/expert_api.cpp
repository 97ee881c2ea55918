#include "apps/cluster/expert_api.hpp"

#include "apps/cluster/api_fields.hpp"
#include "apps/cluster/expert_views.hpp"

#include <boost/json.hpp>

#include <optional>
#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;

constexpr std::int64_t node_most = 0xffff'ffff;
constexpr std::int64_t copies_most = 4096;

/// "3:17": expert 17 of layer 3.
result<cluster::expert_key> expert_of(const call& c) {
  const std::size_t colon = c.id.find(':');
  const error none{errc::not_found,
                   "there is no expert " + c.id + "; name one as LAYER:EXPERT, as in 3:17"};
  if (colon == std::string::npos) return none;
  const std::string_view id = c.id;
  const auto layer = number_of<std::uint32_t>("layer", id.substr(0, colon));
  const auto expert = number_of<std::uint32_t>("expert", id.substr(colon + 1));
  if (layer.has_error() || expert.has_error()) return none;
  return cluster::expert_key{layer_index{*layer}, expert_index{*expert}};
}

/// What a change is made of.
struct asked_change {
  cluster::expert_key of;
  json::object body;
};

result<asked_change> read_change(const call& c, std::initializer_list<std::string_view> fields) {
  ATOLL_TRY(read_query(c.request.query, {}));
  asked_change a;
  ATOLL_ASSIGN(a.of, expert_of(c));
  ATOLL_ASSIGN(a.body, read_body(c.request.body, fields));
  return a;
}

result<std::optional<node_id>> node_field(const asked_change& a, std::string_view name) {
  ATOLL_ASSIGN(const auto number, integer_field(a.body, name, 1, node_most));
  if (!number) return std::optional<node_id>{};
  return std::optional{node_id{static_cast<std::uint32_t>(*number)}};
}

result<node_id> needed_node(const asked_change& a, std::string_view name) {
  ATOLL_ASSIGN(const auto node, node_field(a, name));
  if (!node)
    return error{errc::invalid_argument, std::string{name} + ": the number of a node is needed"};
  return *node;
}

using change = std::function<result<std::uint64_t>(cluster::control&, time_point_ns)>;

question changed(const call& c, change what) {
  return if_matched(
      c, [what = std::move(what)](cluster::control& s, time_point_ns now) -> result<api_reply> {
        return operation_reply(s, what(s, now));
      });
}

}  // namespace

result<question> list_models(const call& c, const api_backend& on) {
  ATOLL_TRY(no_more(c));
  return question{
      [name = on.model_name](cluster::control& s, time_point_ns now) -> result<api_reply> {
        json::array items;
        if (!s.model().shape.layers.empty()) items.push_back(model_json(s, s.view(now), name));
        return api_reply{200, json::object{{"items", std::move(items)}}};
      }};
}

result<question> list_experts(const call& c, const api_backend& on) {
  ATOLL_TRY(read_body(c.request.body, {}));
  ATOLL_ASSIGN(const auto parameters, read_query(c.request.query, {"layer", "model"}));
  std::optional<layer_index> layer;
  for (const auto& [name, value] : parameters) {
    if (name == "layer") {
      ATOLL_ASSIGN(const auto number, number_of<std::uint32_t>("layer", value));
      layer = layer_index{number};
    } else if (value != on.model_name) {
      return error{errc::not_found, "there is no model " + value};
    }
  }
  return question{[layer](cluster::control& s, time_point_ns) -> result<api_reply> {
    ATOLL_ASSIGN(const auto experts, s.experts(layer));
    json::array items;
    for (const auto& e : experts) items.push_back(to_json(e));
    return api_reply{
        200, json::object{{"epoch", s.placement_epoch().value}, {"items", std::move(items)}}};
  }};
}

result<question> get_expert(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  ATOLL_ASSIGN(const cluster::expert_key of, expert_of(c));
  return question{[of](cluster::control& s, time_point_ns) -> result<api_reply> {
    ATOLL_ASSIGN(const auto v, s.expert(of.first, of.second));
    return api_reply{200, to_json(v)};
  }};
}

result<question> get_placement(const call& c, const api_backend&) {
  ATOLL_TRY(no_more(c));
  const std::string known{c.request.header_value("if-none-match")};
  return question{[known](cluster::control& s, time_point_ns now) -> result<api_reply> {
    const std::string tag = tag_of(s.placement_epoch());
    if (names_tag(known, tag)) return api_reply{304, {}, {{"etag", tag}}};
    ATOLL_ASSIGN(const auto experts, s.experts(std::nullopt));
    return api_reply{
        200, placement_json(s.placement_epoch(), s.view(now), experts), {{"etag", tag}}};
  }};
}

result<question> move_expert(const call& c, const api_backend&) {
  ATOLL_ASSIGN(const asked_change a, read_change(c, {"to", "from"}));
  ATOLL_ASSIGN(const node_id to, needed_node(a, "to"));
  ATOLL_ASSIGN(const auto from, node_field(a, "from"));
  return changed(c, [of = a.of, to, from](cluster::control& s, time_point_ns now) {
    return s.move(of, to, from, now);
  });
}

result<question> replicate_expert(const call& c, const api_backend&) {
  ATOLL_ASSIGN(const asked_change a, read_change(c, {"copies"}));
  ATOLL_ASSIGN(const auto copies, integer_field(a.body, "copies", 1, copies_most));
  if (!copies) return error{errc::invalid_argument, "copies: how many are wanted is needed"};
  return changed(c,
                 [of = a.of, n = static_cast<std::uint32_t>(*copies)](
                     cluster::control& s, time_point_ns now) { return s.replicate(of, n, now); });
}

result<question> drop_expert(const call& c, const api_backend&) {
  ATOLL_ASSIGN(const asked_change a, read_change(c, {"node", "force"}));
  ATOLL_ASSIGN(const node_id node, needed_node(a, "node"));
  ATOLL_ASSIGN(const bool force, flag_field(a.body, "force"));
  return changed(c, [of = a.of, node, force](cluster::control& s, time_point_ns now) {
    return s.drop(of, node, force, now);
  });
}

result<question> pin_expert(const call& c, const api_backend&) {
  ATOLL_ASSIGN(const asked_change a, read_change(c, {"node"}));
  ATOLL_ASSIGN(const node_id node, needed_node(a, "node"));
  return changed(c, [of = a.of, node](cluster::control& s, time_point_ns now) {
    return s.pin(of, node, now);
  });
}

result<question> unpin_expert(const call& c, const api_backend&) {
  ATOLL_ASSIGN(const asked_change a, read_change(c, {"node"}));
  ATOLL_ASSIGN(const auto node, node_field(a, "node"));
  return changed(c, [of = a.of, node](cluster::control& s, time_point_ns now) {
    return s.unpin(of, node, now);
  });
}

}  // namespace atl::ops
