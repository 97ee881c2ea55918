// How the attention kernels lay out their scratch and partial results; counts are floats.
#pragma once

#include "runtime/kernels/attention.hpp"

namespace atl::kernels {

/// State of one group: z (kv_rank, 16 lanes), then m and l of the 16 lanes.
struct partial_layout {
  const attention_shape& shape;

  std::size_t m() const noexcept { return static_cast<std::size_t>(shape.kv_rank) * 16; }
  std::size_t l() const noexcept { return m() + 16; }
  std::size_t floats() const noexcept { return m() + 32; }
};

/// Scratch of a call: for each group the packed queries (key_floats, 16), the scores of a split
/// (attention_split_tokens, 16), the running state and that of the present split.
struct tile_layout {
  const attention_shape& shape;
  std::int64_t groups;

  std::size_t query_floats() const noexcept {
    return static_cast<std::size_t>(shape.key_floats()) * 16;
  }
  static constexpr std::size_t score_floats() noexcept {
    return static_cast<std::size_t>(attention_split_tokens) * 16;
  }
  std::size_t group_floats() const noexcept {
    return query_floats() + score_floats() + 2 * partial_layout{shape}.floats();
  }
  std::size_t floats() const noexcept { return static_cast<std::size_t>(groups) * group_floats(); }
};

}  // namespace atl::kernels
