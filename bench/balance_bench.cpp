// How long plan_balance takes for 58 layers x 256 experts x 64 nodes: from nothing, and from a
// placement whose loads changed a little or altogether; equal and unequal speeds, with and without
// a slot to spare. Processor time of one thread, median and spread over rounds.
//   balance_bench [ROUNDS=9]
#include "cluster/balance/balance.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/random.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

namespace {

using namespace atl;
using namespace atl::cluster;

constexpr std::size_t layers = 58;
constexpr std::size_t experts = 256;
constexpr std::size_t nodes = 64;

using loads = std::vector<std::vector<double>>;

/// Zipf with exponent 0.8, the ranks shuffled in each layer, times a factor from 0.5 to 1.5.
loads zipf_loads(random_source& random) {
  loads all(layers, std::vector<double>(experts));
  for (auto& layer : all) {
    std::vector<std::size_t> rank(experts);
    std::iota(rank.begin(), rank.end(), 0);
    for (std::size_t i = experts - 1; i > 0; --i) std::swap(rank[i], rank[random.below(i + 1)]);
    for (std::size_t e = 0; e < experts; ++e)
      layer[e] = 1e6 * (0.5 + random.unit()) / std::pow(static_cast<double>(rank[e] + 1), 0.8);
  }
  return all;
}

balance_input input_of(bool is_equal, std::size_t slots, bool covers, random_source& random) {
  balance_input in;
  in.loads = zipf_loads(random);
  constexpr double speeds[] = {1, 2, 8};
  for (std::size_t j = 0; j < nodes; ++j) {
    balance_node n;
    n.name = std::to_string(j);
    n.speed = is_equal ? 1 : speeds[j % 3];
    n.slots = slots;
    n.domain = std::to_string(j % 8);
    in.nodes.push_back(n);
  }
  in.options.cover = covers;
  return in;
}

struct timed {
  double ms = 0;
  balance_plan plan;
};

timed plan(const balance_input& in) {
  const thread_clock processor;
  const time_point_ns begin = processor.now();
  auto made = plan_balance(in);
  const double took = seconds(processor.now() - begin) * 1e3;
  if (made.has_error()) {
    std::fprintf(stderr, "balance_bench: %s\n", made.error().message().c_str());
    std::exit(1);
  }
  return {took, std::move(*made)};
}

double hottest(const balance_plan& plan) {
  double sum = 0;
  for (const layer_plan& l : plan.layers) sum += l.hottest_over_mean();
  return sum / static_cast<double>(plan.layers.size());
}

struct column {
  std::vector<double> ms, balance, moved;
  void add(const timed& t) {
    ms.push_back(t.ms);
    balance.push_back(hottest(t.plan));
    moved.push_back(static_cast<double>(t.plan.moved_experts));
  }
};

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

void print(const char* what, const column& c) {
  const auto [least, most] = std::minmax_element(c.ms.begin(), c.ms.end());
  std::printf("  %-28s %7.1f ms (%.1f to %.1f)  finish/mean %.4f  moved %.0f\n",
              what,
              median(c.ms),
              *least,
              *most,
              median(c.balance),
              median(c.moved));
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 9;
  std::printf("plan_balance, 58 layers x 256 experts x 64 nodes, %d rounds\n", rounds);
  for (const bool is_equal : {true, false}) {
    for (const std::size_t slots : {std::size_t{5}, std::size_t{4}}) {
      for (const bool covers : {false, true}) {
        column nothing, drift, turn;
        for (int round = 0; round < rounds; ++round) {
          random_source random{static_cast<std::uint64_t>(round) + 1};
          balance_input in = input_of(is_equal, slots, covers, random);
          timed first = plan(in);
          nothing.add(first);
          in.present.clear();
          for (const layer_plan& l : first.plan.layers) in.present.push_back(l.replicas);
          for (auto& layer : in.loads)
            for (double& load : layer) load *= 0.7 + 0.6 * random.unit();
          drift.add(plan(in));
          in.loads = zipf_loads(random);
          turn.add(plan(in));
        }
        std::printf("speeds %s, %zu slots%s\n",
                    is_equal ? "equal" : "1:2:8",
                    slots,
                    covers ? ", cover" : "");
        print("from nothing", nothing);
        print("loads changed by 30 %", drift);
        print("other experts are hot", turn);
      }
    }
  }
  return 0;
}
