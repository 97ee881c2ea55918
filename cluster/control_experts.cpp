#include "cluster/control.hpp"

#include <algorithm>

namespace atl::cluster {

result<expert_view> control::expert(layer_index layer, expert_index expert) const {
  ATOLL_TRY(check_expert({layer, expert}));
  expert_view v;
  v.layer = layer;
  v.expert = expert;
  v.copies_wanted = copies_wanted({layer, expert});
  v.pins = rule_of({layer, expert}).pins;
  v.load = loads_.at(layer, expert.value, now_);
  v.copies = driver_.copies_of(layer, expert);
  return v;
}

result<std::vector<expert_view>> control::experts(std::optional<layer_index> only) const {
  std::vector<expert_view> all;
  const auto& shape = driver_.shape();
  for (const layer_index layer : shape.layers) {
    if (only && *only != layer) continue;
    for (std::uint32_t e = 0; e < shape.experts; ++e) {
      ATOLL_ASSIGN(expert_view v, expert(layer, expert_index{e}));
      all.push_back(std::move(v));
    }
  }
  if (only && all.empty())
    return error{errc::not_found, "layer " + std::to_string(only->value) + " has no experts"};
  return all;
}

}  // namespace atl::cluster
