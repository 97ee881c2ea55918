#include "apps/cluster/expert_views.hpp"

#include "transport/wire/control.hpp"

#include <boost/json.hpp>

#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;
using cluster::copy_state;

/// Of the rows of its expert.
double share_of(const cluster::copy_view& c, const std::vector<cluster::copy_view>& all) {
  if (c.state != copy_state::serving) return 0;
  double sum = 0;
  for (const auto& other : all) sum += other.state == copy_state::serving ? other.share : 0;
  return c.share / sum;
}

}  // namespace

json::object to_json(const cluster::expert_view& e) {
  json::array replicas;
  std::size_t serving = 0;
  for (const auto& c : e.copies) {
    serving += c.state == copy_state::serving ? 1 : 0;
    replicas.push_back({{"node", c.node.value},
                        {"group", c.group.value},
                        {"state", cluster::to_string(c.state)},
                        {"share", share_of(c, e.copies)}});
  }
  json::array pins;
  for (const node_id node : e.pins) pins.emplace_back(node.value);
  return {{"id", std::to_string(e.layer.value) + ":" + std::to_string(e.expert.value)},
          {"layer", e.layer.value},
          {"expert", e.expert.value},
          {"copies", serving},
          {"copies_wanted", e.copies_wanted},
          {"pins", std::move(pins)},
          {"load", {{"fast", e.load.fast}, {"slow", e.load.slow}}},
          {"replicas", std::move(replicas)}};
}

json::object
model_json(const cluster::control& s, const cluster::cluster_view& v, const std::string& name) {
  const auto& model = s.model();
  const bool serves = v.is_ready && v.placement.without_copy == 0;
  json::array nodes;
  for (const auto& n : v.nodes)
    if (n.copies.held > 0)
      nodes.push_back(
          {{"node", n.node.value}, {"experts", n.copies.held}, {"loading", n.copies.loading}});
  return {{"name", name},
          {"fingerprint", s.settings().fingerprint},
          {"numeric_class", s.settings().numeric_class},
          {"state", serves ? "serving" : "loading"},
          {"layers", model.shape.layers.size()},
          {"experts_per_layer", model.shape.experts},
          {"expert_bytes", model.expert_bytes},
          {"copies_wanted", v.copies_wanted},
          {"epoch", v.placement.epoch.value},
          {"nodes", std::move(nodes)}};
}

json::object placement_json(epoch version,
                            const cluster::cluster_view& v,
                            const std::vector<cluster::expert_view>& experts) {
  json::array layers;
  std::optional<layer_index> last;
  for (const auto& e : experts) {
    if (last != e.layer) layers.push_back({{"layer", e.layer.value}, {"experts", json::array{}}});
    last = e.layer;
    json::array serving;
    for (const auto& c : e.copies)
      if (c.state == copy_state::serving)
        serving.push_back({{"node", c.node.value}, {"share", share_of(c, e.copies)}});
    layers.back().as_object().at("experts").as_array().push_back(std::move(serving));
  }
  json::array nodes;
  for (const auto& n : v.nodes) {
    if ((n.roles & transport::wire::role_expert) == 0 || n.state == cluster::node_state::removed)
      continue;
    nodes.push_back({{"id", n.node.value},
                     {"name", n.name},
                     {"state", cluster::to_string(n.state)},
                     {"experts", n.copies.held}});
  }
  return {{"epoch", version.value}, {"nodes", std::move(nodes)}, {"layers", std::move(layers)}};
}

}  // namespace atl::ops
