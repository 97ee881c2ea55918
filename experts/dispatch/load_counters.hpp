// Tokens routed to each (layer, expert): what balancing and reports look at. Not thread-safe: one
// owner counts, and hands out copies.
#pragma once

#include "runtime/base/ids.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace atl::experts {

class load_counters {
public:
  load_counters() = default;
  /// All decoder layers, those without experts included: their counts stay 0.
  load_counters(std::uint32_t layers, std::uint32_t experts);

  /// One token for each entry of `chosen` (rows * k expert indices).
  void add(layer_index layer, std::span<const std::uint32_t> chosen);
  /// Adds another's counts; same shape.
  void merge(const load_counters& other);
  /// (experts) of one layer.
  std::span<const std::uint64_t> layer(layer_index index) const;
  std::uint32_t layers() const noexcept { return layers_; }
  std::uint32_t experts() const noexcept { return experts_; }

private:
  std::uint32_t layers_ = 0;
  std::uint32_t experts_ = 0;
  std::vector<std::uint64_t> tokens_;  // (layers, experts)
};

}  // namespace atl::experts
