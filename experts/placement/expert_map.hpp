// Which expert groups hold each (layer, expert), under one epoch of the placement. Immutable once
// built, so it is shared between actors without locks. A call routed by a map carries its epoch.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace atl::experts {

/// One live copy of an expert. Rows go to the replicas in proportion to their shares; whole
/// numbers, so that every machine computes the same choice.
struct replica {
  group_id group;
  std::uint32_t share = 1;
  friend bool operator==(const replica&, const replica&) = default;
};

/// What is to be placed: the decoder layers that have routed experts, and how many each has.
struct expert_shape {
  std::vector<layer_index> layers;  // ascending
  std::uint32_t experts = 0;        // per layer
};

/// Where a group runs; two replicas of an expert avoid sharing a node.
struct group_place {
  group_id group;
  node_id node;
};

/// replicas[i * experts + e]: those of expert e of shape.layers[i].
using replica_lists = std::vector<std::vector<replica>>;

class expert_map {
public:
  /// Checks and stores. No (layer, expert) has two replicas in one group, every share is positive,
  /// every group is below `groups`. An expert without a replica has no live copy at the moment.
  /// Replicas are kept by ascending group.
  static result<expert_map>
  make(epoch version, expert_shape shape, std::uint32_t groups, const replica_lists& replicas);

  epoch version() const noexcept { return version_; }
  const expert_shape& shape() const noexcept { return shape_; }
  /// Group ids are [0, groups).
  std::uint32_t groups() const noexcept { return groups_; }

  bool has_layer(layer_index layer) const noexcept;
  /// Replicas by ascending group; none where no copy is live. `layer` is one of the shape's,
  /// `expert` below its count.
  std::span<const replica> replicas(layer_index layer, expert_index expert) const;

  /// One (layer, expert) that a group holds.
  struct held_expert {
    layer_index layer;
    expert_index expert;
    friend auto operator<=>(const held_expert&, const held_expert&) = default;
  };

  /// Everything a group holds, by ascending layer, then expert.
  std::vector<held_expert> held_by(group_id group) const;

private:
  expert_map() = default;

  epoch version_;
  expert_shape shape_;
  std::uint32_t groups_ = 0;
  std::vector<std::int32_t> row_of_layer_;  // layer -> index in shape_.layers, or -1
  std::vector<std::uint32_t> offsets_;      // (layers * experts + 1) into replicas_
  std::vector<replica> replicas_;
};

/// Even placement: contiguous runs of experts per group (so that experts of one routing group stay
/// together), turned by one group per layer so that remainders spread, `copies` replicas of equal
/// share each, on different nodes as far as there are enough. Per layer and copy, group loads
/// differ by at most one expert. places[i].group must be i. Refuses copies of 0 or above the
/// groups.
result<expert_map> spread_evenly(epoch version,
                                 const expert_shape& shape,
                                 std::span<const group_place> places,
                                 std::uint32_t copies);

}  // namespace atl::experts
