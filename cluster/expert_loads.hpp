// How many rows each (layer, expert) is asked to compute, from what nodes report: two averages, one
// that follows within seconds and one that tells what lasts. Pure; one owner.
//
// An average is the sum of all rows reported, each weighted by exp(-age / tau) / tau: of a steady
// stream that is its rows per second, whenever reports come.
#pragma once

#include "experts/placement/expert_map.hpp"
#include "runtime/base/clock.hpp"

#include <chrono>
#include <cstdint>
#include <vector>

namespace atl::cluster {

inline constexpr duration_ns load_tau_fast = std::chrono::seconds{1};
inline constexpr duration_ns load_tau_slow = std::chrono::seconds{60};

struct expert_load_rates {
  double fast = 0;  // rows per second
  double slow = 0;
};

class expert_loads {
public:
  explicit expert_loads(const experts::expert_shape& shape);

  /// Computed since the last report. What the shape has not is passed over.
  void add(layer_index layer, std::uint32_t expert, std::uint64_t rows, time_point_ns now);
  /// None where the shape has no such expert.
  expert_load_rates at(layer_index layer, std::uint32_t expert, time_point_ns now) const;

private:
  struct average {
    expert_load_rates rates;
    time_point_ns at = {};
  };
  static expert_load_rates faded(const average& a, time_point_ns now);
  std::size_t index_of(layer_index layer, std::uint32_t expert) const;

  experts::expert_shape shape_;
  std::vector<average> averages_;  // layers x experts
};

}  // namespace atl::cluster
