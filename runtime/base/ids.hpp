// Strong types for everything that is an id, so that a layer is never taken for an expert.
// Trivially copyable.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace atl {

template <class Tag, class Rep>
struct strong_id {
  using rep = Rep;
  Rep value{};

  constexpr strong_id() = default;
  constexpr explicit strong_id(Rep v) : value{v} {}
  friend constexpr auto operator<=>(strong_id, strong_id) = default;
};

using node_id = strong_id<struct node_tag, std::uint32_t>;  // one process or machine of the cluster
using shard_id = strong_id<struct shard_tag, std::uint32_t>;     // one attention shard
using group_id = strong_id<struct group_tag, std::uint32_t>;     // one expert group
using layer_index = strong_id<struct layer_tag, std::uint32_t>;  // decoder layer, from 0
using expert_index =
    strong_id<struct expert_tag, std::uint32_t>;  // routed expert within a layer, from 0
using request_id =
    strong_id<struct request_tag, std::uint64_t>;          // unique within a gateway incarnation
using epoch = strong_id<struct epoch_tag, std::uint64_t>;  // version of the placement table
using incarnation = strong_id<struct incarnation_tag, std::uint64_t>;  // one life of a node
using token_id = std::int32_t;

}  // namespace atl

template <class Tag, class Rep>
struct std::hash<atl::strong_id<Tag, Rep>> {
  std::size_t operator()(atl::strong_id<Tag, Rep> id) const noexcept {
    return std::hash<Rep>{}(id.value);
  }
};
