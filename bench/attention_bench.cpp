// Speed of the attention core on one thread, in the shape of DeepSeek-V2-Lite, on every instruction
// set this machine has: prompt/<set>/<first position>/<tokens>, decode/<set>/<context>/<layers>.
// op/s counts 2 operations per multiply-add and visible (query row, key) pair.
//   build/bench/attention_bench --benchmark_repetitions=5
#include "runtime/base/memory.hpp"
#include "runtime/kernels/attention.hpp"
#include "runtime/kernels/isa.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <vector>

namespace {

using namespace atl;
using namespace atl::kernels;

struct fixture {
  attention_shape shape;
  std::int64_t page_tokens = 64;
  aligned_buffer latents;
  aligned_buffer queries;
  aligned_buffer z;
  aligned_buffer scratch;
  aligned_buffer partials;
  std::vector<const float*> pages;
  std::int64_t pages_per_layer = 0;
  std::size_t layer = 0;
  query_slice slice;

  /// `layers` contexts one after another, as the layers of a model have.
  fixture(attention_shape s, std::int64_t first, std::int64_t tokens, std::int64_t layers)
      : shape{s} {
    const std::int64_t width = shape.key_floats();
    const std::int64_t layer_pages = (first + tokens + page_tokens - 1) / page_tokens;
    const std::int64_t positions = layers * layer_pages * page_tokens;
    const std::int64_t values = tokens * shape.heads * width;
    fill(latents, positions * width);
    fill(queries, values);
    for (std::int64_t t = 0; t < positions; t += page_tokens)
      pages.push_back(latents.as<float>() + t * width);
    const auto* q = queries.as<float>();
    const std::int64_t token = shape.heads * width;
    pages_per_layer = layer_pages;
    slice = {{q, token, width}, {q + shape.kv_rank, token, width}, tokens, first};
    z.reserve(static_cast<std::size_t>(tokens * shape.heads * shape.kv_rank) * sizeof(float));
    scratch.reserve(attention_scratch_bytes(shape, attention_tile_groups));
    const std::int64_t parts = attention_groups(shape, tokens) * attention_splits(slice);
    partials.reserve(static_cast<std::size_t>(parts) * attention_partial_floats(shape) *
                     sizeof(float));
  }

  static void fill(aligned_buffer& buffer, std::int64_t count) {
    buffer.reserve(static_cast<std::size_t>(count) * sizeof(float));
    std::uint32_t bits = 1;
    for (std::int64_t i = 0; i < count; ++i) {
      bits = bits * 1664525U + 1013904223U;
      buffer.as<float>()[i] = static_cast<float>(bits >> 8) * 0x1p-23F - 1.0F;
    }
  }

  latent_pages keys() const {
    return {pages.data() + layer * static_cast<std::size_t>(pages_per_layer), page_tokens, 0};
  }

  void next_layer() {
    layer = (layer + 1) % (pages.size() / static_cast<std::size_t>(pages_per_layer));
  }

  /// Operations of the visible (query row, key) pairs.
  double operations() const {
    double pairs = 0;
    for (std::int64_t i = 0; i < slice.tokens; ++i)
      pairs += static_cast<double>(slice.first_position + i + 1);
    return 2.0 * pairs * static_cast<double>(shape.heads) *
           static_cast<double>(shape.key_floats() + shape.kv_rank);
  }

  void by_tiles(const attention_kernels& kernels) {
    const std::int64_t groups = attention_groups(shape, slice.tokens);
    for (std::int64_t g = 0; g < groups; g += attention_tile_groups)
      kernels.tile(shape,
                   slice,
                   keys(),
                   g,
                   std::min(attention_tile_groups, groups - g),
                   z.as<float>(),
                   scratch.as<void>());
  }

  void by_splits(const attention_kernels& kernels) {
    const std::int64_t groups = attention_groups(shape, slice.tokens);
    for (std::int64_t s = 0; s < attention_splits(slice); ++s)
      for (std::int64_t g = 0; g < groups; g += attention_tile_groups)
        kernels.split(shape,
                      slice,
                      keys(),
                      g,
                      std::min(attention_tile_groups, groups - g),
                      s,
                      partials.as<float>(),
                      scratch.as<void>());
    for (std::int64_t g = 0; g < groups; ++g)
      kernels.fold(shape, slice, g, partials.as<float>(), z.as<float>());
  }
};

constexpr attention_shape v2_lite{16, 512, 64, 0.1147F};

void report(benchmark::State& state, const fixture& f) {
  state.counters["op/s"] = benchmark::Counter(
      f.operations(), benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

/// Tokens [first, first + tokens) of one sequence, first to last group.
void prompt(benchmark::State& state, isa set) {
  fixture f{v2_lite, state.range(0), state.range(1), 1};
  const attention_kernels kernels = attention_kernels::make(set);
  for (auto _ : state) f.by_tiles(kernels);
  report(state, f);
}

/// One token at the end of a context, in splits; with many layers the latents come from memory.
void decode(benchmark::State& state, isa set) {
  fixture f{v2_lite, state.range(0) - 1, 1, state.range(1)};
  const attention_kernels kernels = attention_kernels::make(set);
  for (auto _ : state) {
    f.by_splits(kernels);
    f.next_layer();
  }
  report(state, f);
}

}  // namespace

int main(int argc, char** argv) {
  for (const isa set : {isa::avx2, isa::avx512}) {
    if (!isa_available(set)) continue;
    const std::string name{to_string(set)};
    benchmark::RegisterBenchmark(("prompt/" + name).c_str(), prompt, set)
        ->Args({0, 512})
        ->Args({1536, 512})
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("decode/" + name).c_str(), decode, set)
        ->Args({64, 27})
        ->Args({2048, 1})
        ->Args({2048, 27})
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
