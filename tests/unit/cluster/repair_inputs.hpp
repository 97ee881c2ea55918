// Inputs of repair plans, and what tests read off their outcome.
#pragma once

#include "cluster/repair_plan.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace atl::cluster {

using experts::replica;

inline experts::expert_shape shape_of(std::uint32_t layers, std::uint32_t experts) {
  experts::expert_shape shape{.layers = {}, .experts = experts};
  for (std::uint32_t l = 0; l < layers; ++l) shape.layers.push_back(layer_index{l + 1});
  return shape;
}

inline holder on(std::uint32_t group, std::uint32_t node, std::size_t capacity) {
  return {.group = group_id{group}, .node = node_id{node}, .capacity = capacity};
}

/// Nodes 0.. with one group each.
inline repair_input nodes(std::uint32_t count, std::size_t capacity, experts::expert_shape shape) {
  repair_input input{.shape = std::move(shape), .holders = {}, .present = {}};
  for (std::uint32_t n = 0; n < count; ++n) input.holders.push_back(on(n, n, capacity));
  input.present.resize(input.shape.layers.size() * input.shape.experts);
  return input;
}

inline repair_plan planned(const repair_input& input) {
  auto plan = plan_repair(input);
  EXPECT_TRUE(plan.has_value());
  return plan.has_value() ? *plan : repair_plan{};
}

inline std::vector<std::uint32_t> groups_of(const std::vector<replica>& replicas) {
  std::vector<std::uint32_t> groups;
  for (const replica& r : replicas) groups.push_back(r.group.value);
  return groups;
}

}  // namespace atl::cluster
