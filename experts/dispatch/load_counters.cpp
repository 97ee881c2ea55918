#include "experts/dispatch/load_counters.hpp"

#include "runtime/base/assert.hpp"

#include <cstddef>

namespace atl::experts {

load_counters::load_counters(std::uint32_t layers, std::uint32_t experts)
    : layers_{layers}, experts_{experts}, tokens_(std::size_t{layers} * experts, 0) {}

void load_counters::add(layer_index layer, std::span<const std::uint32_t> chosen) {
  ATOLL_ASSERT(layer.value < layers_);
  std::uint64_t* counts = tokens_.data() + std::size_t{layer.value} * experts_;
  for (const std::uint32_t expert : chosen) {
    ATOLL_ASSERT(expert < experts_);
    ++counts[expert];
  }
}

void load_counters::merge(const load_counters& other) {
  ATOLL_ASSERT(other.layers_ == layers_ && other.experts_ == experts_);
  for (std::size_t i = 0; i < tokens_.size(); ++i) tokens_[i] += other.tokens_[i];
}

std::span<const std::uint64_t> load_counters::layer(layer_index index) const {
  ATOLL_ASSERT(index.value < layers_);
  return {tokens_.data() + std::size_t{index.value} * experts_, experts_};
}

}  // namespace atl::experts
