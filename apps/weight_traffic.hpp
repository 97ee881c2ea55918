// Bytes of weights that a model must read, from the experts that were really chosen. Pure; any
// thread.
#pragma once

#include "actors/generation.hpp"
#include "runtime/model/weights.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace atl::apps {

/// The experts chosen in one run, by layer and position of the sequences.
class weight_traffic {
public:
  explicit weight_traffic(const model::model_weights& weights);

  /// Bytes of every matrix a step reads whatever its tokens: attention, dense layers, shared
  /// experts, gates and head.
  std::size_t step_bytes() const noexcept { return step_bytes_; }

  /// Routing that `sequence` reported. Others kinds of observation are skipped.
  void add(std::size_t sequence, std::span<const actors::observation> seen);

  /// Bytes of the distinct experts chosen by the positions [first, first + count) of all sequences
  /// from `from` to before `to`, as if computed in one step.
  std::size_t
  expert_bytes(std::size_t from, std::size_t to, std::int64_t first, std::int64_t count) const;

private:
  struct chosen {
    std::size_t sequence = 0;
    std::int64_t position = 0;
    std::int64_t layer = 0;
    std::uint32_t expert = 0;
  };

  const model::model_weights& weights_;
  std::size_t step_bytes_ = 0;
  std::vector<chosen> all_;
};

}  // namespace atl::apps
