#include "cluster/expert_loads.hpp"

#include <algorithm>
#include <cmath>

namespace atl::cluster {

namespace {

double seconds_of(duration_ns time) { return std::chrono::duration<double>{time}.count(); }

}  // namespace

expert_loads::expert_loads(const experts::expert_shape& shape)
    : shape_{shape}, averages_(shape.layers.size() * shape.experts) {}

/// Past the end where there is none.
std::size_t expert_loads::index_of(layer_index layer, std::uint32_t expert) const {
  const auto row = std::lower_bound(shape_.layers.begin(), shape_.layers.end(), layer);
  if (row == shape_.layers.end() || *row != layer || expert >= shape_.experts)
    return averages_.size();
  return static_cast<std::size_t>(row - shape_.layers.begin()) * shape_.experts + expert;
}

expert_load_rates expert_loads::faded(const average& a, time_point_ns now) {
  const double age = std::max(0.0, seconds_of(now - a.at));
  return {.fast = a.rates.fast * std::exp(-age / seconds_of(load_tau_fast)),
          .slow = a.rates.slow * std::exp(-age / seconds_of(load_tau_slow))};
}

void expert_loads::add(layer_index layer,
                       std::uint32_t expert,
                       std::uint64_t rows,
                       time_point_ns now) {
  const std::size_t i = index_of(layer, expert);
  if (i == averages_.size()) return;
  average& a = averages_[i];
  a.rates = faded(a, now);
  a.rates.fast += static_cast<double>(rows) / seconds_of(load_tau_fast);
  a.rates.slow += static_cast<double>(rows) / seconds_of(load_tau_slow);
  a.at = std::max(a.at, now);
}

expert_load_rates
expert_loads::at(layer_index layer, std::uint32_t expert, time_point_ns now) const {
  const std::size_t i = index_of(layer, expert);
  return i == averages_.size() ? expert_load_rates{} : faded(averages_[i], now);
}

}  // namespace atl::cluster
