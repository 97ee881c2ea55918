#include "cluster/expert_loads.hpp"

#include <algorithm>
#include <cmath>

namespace atl::cluster {

expert_loads::expert_loads(const experts::expert_shape& shape)
    : shape_{shape}, averages_(shape.layers.size() * shape.experts) {}

/// Past the end where there is none.
std::size_t expert_loads::index_of(layer_index layer, std::uint32_t expert) const {
  const auto row = std::lower_bound(shape_.layers.begin(), shape_.layers.end(), layer);
  if (row == shape_.layers.end() || *row != layer || expert >= shape_.experts)
    return averages_.size();
  return static_cast<std::size_t>(row - shape_.layers.begin()) * shape_.experts + expert;
}

expert_load_rates expert_loads::fading(duration_ns age) {
  return {.fast = std::exp(-seconds(age) / seconds(load_tau_fast)),
          .slow = std::exp(-seconds(age) / seconds(load_tau_slow)),
          .middle = std::exp(-seconds(age) / seconds(load_tau_middle))};
}

/// Weights of rows grow with time against the origin; it follows before they grow too large.
void expert_loads::move_origin(time_point_ns now) {
  const expert_load_rates left = fading(now - origin_);
  for (expert_load_rates& a : averages_) {
    a.fast *= left.fast;
    a.slow *= left.slow;
    a.middle *= left.middle;
  }
  origin_ = now;
}

void expert_loads::add(layer_index layer,
                       std::uint32_t expert,
                       std::uint64_t rows,
                       time_point_ns now) {
  constexpr int lives_most = 30;  // of the fast average: e^30 is far from any limit
  const std::size_t i = index_of(layer, expert);
  if (i == averages_.size()) return;
  if (now - origin_ > lives_most * load_tau_fast) {
    move_origin(now);
    row_ = {};
  }
  if (now != at_ || row_.fast <= 0) {
    const expert_load_rates grown = fading(origin_ - now);
    row_ = {.fast = grown.fast / seconds(load_tau_fast),
            .slow = grown.slow / seconds(load_tau_slow),
            .middle = grown.middle / seconds(load_tau_middle)};
    at_ = now;
  }
  averages_[i].fast += static_cast<double>(rows) * row_.fast;
  averages_[i].slow += static_cast<double>(rows) * row_.slow;
  averages_[i].middle += static_cast<double>(rows) * row_.middle;
}

expert_load_rates
expert_loads::at(layer_index layer, std::uint32_t expert, time_point_ns now) const {
  const std::size_t i = index_of(layer, expert);
  if (i == averages_.size()) return {};
  const expert_load_rates left = fading(now - origin_);
  return {.fast = averages_[i].fast * left.fast,
          .slow = averages_[i].slow * left.slow,
          .middle = averages_[i].middle * left.middle};
}

std::vector<expert_load_rates> expert_loads::all(time_point_ns now) const {
  const expert_load_rates left = fading(now - origin_);
  std::vector<expert_load_rates> rates = averages_;
  for (expert_load_rates& a : rates) {
    a.fast *= left.fast;
    a.slow *= left.slow;
    a.middle *= left.middle;
  }
  return rates;
}

}  // namespace atl::cluster
