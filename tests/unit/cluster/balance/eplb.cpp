#include "tests/unit/cluster/balance/eplb.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace atl::cluster::balance_tests {

namespace {

using row = std::vector<double>;

/// n weighted items into bins of n / bins each: the heaviest first, each to the lightest bin with
/// room. The items of each bin, in order of arrival.
std::vector<std::vector<std::size_t>> pack(const row& weights, std::size_t bins) {
  const std::size_t each = weights.size() / bins;
  std::vector<std::vector<std::size_t>> in(bins);
  if (each == 1) {
    for (std::size_t i = 0; i < bins; ++i) in[i].push_back(i);
    return in;
  }
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return weights[a] > weights[b];
  });
  row sum(bins, 0);
  for (const std::size_t i : order) {
    std::size_t best = bins;
    for (std::size_t b = 0; b < bins; ++b)
      if (in[b].size() < each && (best == bins || sum[b] < sum[best])) best = b;
    in[best].push_back(i);
    sum[best] += weights[i];
  }
  return in;
}

/// Load of each physical expert.
row replicate(const row& loads, std::size_t slots) {
  std::vector<std::size_t> copies(loads.size(), 1);
  std::vector<std::size_t> of(loads.size());
  std::iota(of.begin(), of.end(), 0);
  while (of.size() < slots) {
    std::size_t best = 0;
    for (std::size_t e = 1; e < loads.size(); ++e) {
      const double here = loads[e] / static_cast<double>(copies[e]);
      if (here > loads[best] / static_cast<double>(copies[best])) best = e;
    }
    of.push_back(best);
    ++copies[best];
  }
  row parts;
  for (const std::size_t e : of) parts.push_back(loads[e] / static_cast<double>(copies[e]));
  return parts;
}

double
hottest_over_mean(const row& loads, const machine& m, std::size_t groups, std::size_t nodes) {
  const std::size_t group_size = m.experts / groups;
  row group_loads(groups, 0);
  for (std::size_t e = 0; e < m.experts; ++e) group_loads[e / group_size] += loads[e];
  double hottest = 0;
  for (const auto& node : pack(group_loads, nodes)) {
    row mine;
    for (const std::size_t g : node)
      for (std::size_t e = 0; e < group_size; ++e) mine.push_back(loads[g * group_size + e]);
    const row parts = replicate(mine, m.slots / nodes);
    for (const auto& device : pack(parts, m.devices / nodes)) {
      double sum = 0;
      for (const std::size_t p : device) sum += parts[p];
      hottest = std::max(hottest, sum);
    }
  }
  const double total = std::accumulate(loads.begin(), loads.end(), 0.0);
  return hottest / (total / static_cast<double>(m.devices));
}

}  // namespace

double eplb_hierarchical(const row& loads, const machine& m) {
  if (m.groups % m.nodes != 0) return hottest_over_mean(loads, m, 1, 1);
  return hottest_over_mean(loads, m, m.groups, m.nodes);
}

double eplb_global(const row& loads, const machine& m) { return hottest_over_mean(loads, m, 1, 1); }

row random_loads(load_kind kind, std::size_t experts, random_source& random) {
  row loads(experts, 0);
  std::vector<std::size_t> order(experts);
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = experts; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  const double power = 0.2 + 1.2 * random.unit();
  for (std::size_t rank = 0; rank < experts; ++rank) {
    double& load = loads[order[rank]];
    const double noise = std::exp(0.2 * random.normal());
    switch (kind) {
    case load_kind::zipf:
      load = 1e6 * noise / std::pow(static_cast<double>(rank + 1), power);
      break;
    case load_kind::bursty:
      load = 1000 * noise * (random.below(16) == 0 ? 5 + 40 * random.unit() : 1);
      break;
    case load_kind::adversarial:
      // Few sizes that do not add up, some nothing, some giants.
      load = rank < 2 ? 40'000 : rank % 7 == 0 ? 0 : rank % 3 == 0 ? 1001 : 667;
      break;
    }
    load = std::floor(load);
  }
  return loads;
}

double equal_bound(const row& loads, std::size_t slots, std::size_t devices) {
  const double mean =
      std::accumulate(loads.begin(), loads.end(), 0.0) / static_cast<double>(devices);
  const auto fits = [&](double finish) {
    double copies = 0;
    for (const double load : loads) copies += std::max(1.0, std::ceil(load / finish - 1e-9));
    return copies <= static_cast<double>(slots);
  };
  // The h largest on m devices, with what does not fit on the others.
  double low = mean;
  row sorted = loads;
  std::sort(sorted.rbegin(), sorted.rend());
  const std::size_t each = slots / devices;
  double heavy = 0;
  for (std::size_t h = 1; h <= std::min(devices, loads.size()); ++h) {
    heavy += sorted[h - 1];
    double least = 1e300;
    for (std::size_t m = 1; m <= std::min(devices, h + slots - loads.size()); ++m) {
      const std::size_t others = (devices - m) * each;
      double company = 0;
      for (std::size_t i = h + others; i < sorted.size(); ++i)
        company += sorted[sorted.size() - 1 - (i - h - others)];
      least = std::min(least, (heavy + company) / static_cast<double>(m));
    }
    low = std::max(low, least);
  }
  if (fits(low)) return low / mean;
  double high = *std::max_element(loads.begin(), loads.end());
  while (high - low > 1e-10 * high) {
    const double middle = (low + high) / 2;
    (fits(middle) ? high : low) = middle;
  }
  return high / mean;
}

}  // namespace atl::cluster::balance_tests
