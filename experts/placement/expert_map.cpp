#include "experts/placement/expert_map.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

namespace atl::experts {

namespace {

error bad(const std::string& what) { return {errc::invalid_argument, "placement: " + what}; }

std::string named(layer_index layer, std::size_t expert) {
  return "layer " + std::to_string(layer.value) + ", expert " + std::to_string(expert);
}

result<void> check_shape(const expert_shape& shape) {
  if (shape.layers.empty() || shape.experts == 0) return bad("there is no expert to place");
  for (std::size_t i = 1; i < shape.layers.size(); ++i) {
    if (shape.layers[i] <= shape.layers[i - 1]) return bad("layers are not ascending");
  }
  return {};
}

/// `sorted` by group.
result<void>
check_replicas(const std::vector<replica>& sorted, std::uint32_t groups, const std::string& whose) {
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const std::string group = std::to_string(sorted[i].group.value);
    if (sorted[i].group.value >= groups) {
      return bad(whose + " is in group " + group + " of " + std::to_string(groups));
    }
    if (sorted[i].share == 0) return bad(whose + " has share 0 in group " + group);
    if (i > 0 && sorted[i].group == sorted[i - 1].group) {
      return bad(whose + " is twice in group " + group);
    }
  }
  return {};
}

/// Groups for the copies of one expert: `stride` apart from `start`, moved on to the next group
/// that has none yet, on a node that has none if there is one.
std::vector<replica> place_copies(std::span<const group_place> places,
                                  std::size_t start,
                                  std::size_t stride,
                                  std::uint32_t copies) {
  std::vector<replica> placed;
  std::vector<node_id> nodes;
  for (std::uint32_t copy = 0; copy < copies; ++copy) {
    const std::size_t from = start + copy * stride;
    std::size_t best = places.size();
    for (std::size_t step = 0; step < places.size(); ++step) {
      const std::size_t at = (from + step) % places.size();
      const group_place& place = places[at];
      const bool is_taken = std::any_of(
          placed.begin(), placed.end(), [&](const replica& r) { return r.group == place.group; });
      if (is_taken) continue;
      if (best == places.size()) best = at;
      if (std::find(nodes.begin(), nodes.end(), place.node) != nodes.end()) continue;
      best = at;
      break;
    }
    placed.push_back({.group = places[best].group, .share = 1});
    nodes.push_back(places[best].node);
  }
  return placed;
}

}  // namespace

result<expert_map> expert_map::make(epoch version,
                                    expert_shape shape,
                                    std::uint32_t groups,
                                    const replica_lists& replicas) {
  ATOLL_TRY(check_shape(shape));
  const std::size_t count = shape.layers.size() * shape.experts;
  if (replicas.size() != count) {
    return bad(std::to_string(replicas.size()) + " replica lists for " + std::to_string(count) +
               " experts");
  }
  expert_map map;
  map.version_ = version;
  map.groups_ = groups;
  map.offsets_.reserve(count + 1);
  map.offsets_.push_back(0);
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<replica> sorted = replicas[i];
    std::sort(sorted.begin(), sorted.end(), [](const replica& a, const replica& b) {
      return a.group < b.group;
    });
    ATOLL_TRY(
        check_replicas(sorted, groups, named(shape.layers[i / shape.experts], i % shape.experts)));
    map.replicas_.insert(map.replicas_.end(), sorted.begin(), sorted.end());
    map.offsets_.push_back(static_cast<std::uint32_t>(map.replicas_.size()));
  }
  map.row_of_layer_.assign(std::size_t{shape.layers.back().value} + 1, -1);
  for (std::size_t i = 0; i < shape.layers.size(); ++i) {
    map.row_of_layer_[shape.layers[i].value] = static_cast<std::int32_t>(i);
  }
  map.shape_ = std::move(shape);
  return map;
}

bool expert_map::has_layer(layer_index layer) const noexcept {
  return layer.value < row_of_layer_.size() && row_of_layer_[layer.value] >= 0;
}

std::span<const replica> expert_map::replicas(layer_index layer, expert_index expert) const {
  ATOLL_ASSERT(has_layer(layer) && expert.value < shape_.experts);
  const std::size_t i =
      static_cast<std::size_t>(row_of_layer_[layer.value]) * shape_.experts + expert.value;
  return std::span{replicas_}.subspan(offsets_[i], offsets_[i + 1] - offsets_[i]);
}

std::vector<expert_map::held_expert> expert_map::held_by(group_id group) const {
  std::vector<held_expert> held;
  for (const layer_index layer : shape_.layers) {
    for (std::uint32_t e = 0; e < shape_.experts; ++e) {
      for (const replica& copy : replicas(layer, expert_index{e})) {
        if (copy.group == group) held.push_back({.layer = layer, .expert = expert_index{e}});
      }
    }
  }
  return held;
}

result<expert_map> spread_evenly(epoch version,
                                 const expert_shape& shape,
                                 std::span<const group_place> places,
                                 std::uint32_t copies) {
  const std::size_t groups = places.size();
  if (copies == 0 || copies > groups) {
    return bad(std::to_string(copies) + " replicas in " + std::to_string(groups) +
               " expert groups: must be from 1 to the number of groups");
  }
  for (std::size_t i = 0; i < groups; ++i) ATOLL_ASSERT(places[i].group.value == i);
  ATOLL_TRY(check_shape(shape));
  replica_lists lists;
  lists.reserve(shape.layers.size() * shape.experts);
  for (std::size_t layer = 0; layer < shape.layers.size(); ++layer) {
    for (std::size_t e = 0; e < shape.experts; ++e) {
      const std::size_t run = e * groups / shape.experts;
      lists.push_back(place_copies(places, (run + layer) % groups, groups / copies, copies));
    }
  }
  return expert_map::make(version, shape, static_cast<std::uint32_t>(groups), lists);
}

}  // namespace atl::experts
