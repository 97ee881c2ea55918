// How many rows each (layer, expert) is asked to compute, from what nodes report: three averages,
// from one that follows within a second to one that tells what lasts. Pure; one owner.
//
// An average is the sum of all rows reported, each weighted by exp(-age / tau) / tau: of a steady
// stream that is its rows per second, whenever reports come. Kept as of a moment common to all, so
// that time passes with one multiplication.
#pragma once

#include "experts/placement/expert_map.hpp"
#include "runtime/base/clock.hpp"

#include <chrono>
#include <cstdint>
#include <vector>

namespace atl::cluster {

/// A burst of ten times the load is half in the average after 0.7 s.
inline constexpr duration_ns load_tau_fast = std::chrono::seconds{1};
inline constexpr duration_ns load_tau_middle = std::chrono::seconds{8};
inline constexpr duration_ns load_tau_slow = std::chrono::seconds{60};

struct expert_load_rates {
  double fast = 0;  // rows per second
  double slow = 0;
  double middle = 0;
};

class expert_loads {
public:
  explicit expert_loads(const experts::expert_shape& shape);

  /// Computed since the last report. What the shape has not is passed over.
  void add(layer_index layer, std::uint32_t expert, std::uint64_t rows, time_point_ns now);
  /// None where the shape has no such expert.
  expert_load_rates at(layer_index layer, std::uint32_t expert, time_point_ns now) const;
  /// (layers x experts).
  std::vector<expert_load_rates> all(time_point_ns now) const;

private:
  /// What is left of a row after that time.
  static expert_load_rates fading(duration_ns age);
  std::size_t index_of(layer_index layer, std::uint32_t expert) const;
  void move_origin(time_point_ns now);

  experts::expert_shape shape_;
  std::vector<expert_load_rates> averages_;  // (layers x experts), as of origin_
  time_point_ns origin_ = {};
  // Of the last report: many come at once.
  time_point_ns at_ = {};
  expert_load_rates row_;  // what one row adds to an average
};

}  // namespace atl::cluster
