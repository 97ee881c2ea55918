// Time to choose the groups of one layer's rows, by rows of the step and copies of each expert:
// DeepSeek-V3's 256 experts, 8 for each row, on 64 groups whose times differ.
#include "cluster/routing.hpp"
#include "runtime/base/random.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <numeric>

namespace atl::cluster {
namespace {

constexpr std::uint32_t experts_count = 256;
constexpr std::uint32_t ranks = 8;
constexpr std::uint32_t groups_count = 64;
constexpr layer_index layer{0};

void route_rows(benchmark::State& state) {
  const auto rows = static_cast<std::uint32_t>(state.range(0));
  const auto copies = static_cast<std::uint32_t>(state.range(1));
  const experts::expert_shape shape{.layers = {layer}, .experts = experts_count};
  std::vector<experts::group_place> places;
  for (std::uint32_t g = 0; g < groups_count; ++g) places.push_back({group_id{g}, node_id{g}});
  const auto map = experts::spread_evenly(epoch{1}, shape, places, copies);
  std::vector<group_estimate> expected;
  for (std::uint32_t g = 0; g < groups_count; ++g)
    expected.push_back({group_id{g}, 1000.0 * (g % 7), 100.0 + g});
  random_source random{1};
  std::vector<std::uint32_t> chosen;
  for (std::uint32_t row = 0; row < rows; ++row) {
    std::vector<std::uint32_t> all(experts_count);
    std::iota(all.begin(), all.end(), 0U);
    for (std::uint32_t k = 0; k < ranks; ++k) {
      std::swap(all[k], all[k + random.below(experts_count - k)]);
      chosen.push_back(all[k]);
    }
  }
  std::vector<std::uint32_t> pairs(chosen.size());
  std::iota(pairs.begin(), pairs.end(), 0U);
  std::vector<group_id> targets(chosen.size());
  const avoided_groups none;
  std::uint64_t call = 0;
  for (auto _ : state) {
    route({*map, none, expected}, layer, ++call, pairs, chosen.data(), targets.data());
    benchmark::DoNotOptimize(targets.data());
  }
  state.counters["us_per_row"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * rows,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

BENCHMARK(route_rows)->ArgsProduct({{1, 8, 64, 512}, {1, 2, 4}})->ArgNames({"rows", "copies"});

}  // namespace
}  // namespace atl::cluster

BENCHMARK_MAIN();
