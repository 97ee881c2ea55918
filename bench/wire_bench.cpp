// Cost of the messages on the expert path: encode, one loopback hop, decode. Rows of 2,048 bf16
// values with 8 experts each; the payload is shared, so its size does not matter.
#include "transport/loopback/loopback.hpp"
#include "transport/wire/codec.hpp"

#include <benchmark/benchmark.h>

#include <memory>

namespace {

using namespace atl;
using namespace atl::transport;

constexpr std::uint32_t hidden = 2048;
constexpr std::uint32_t experts_per_row = 8;

wire::rows zero_rows(tensor::dtype type, std::uint32_t count) {
  std::vector<std::byte> bytes(count * wire::row_bytes(type, hidden));
  return {type, count, hidden, own_payload(std::move(bytes))};
}

wire::dispatch sample_dispatch(std::uint32_t rows) {
  wire::dispatch m;
  m.call = {shard_id{0}, 1234, 1, layer_index{7}};
  m.input = zero_rows(tensor::dtype::bf16, rows);
  m.offsets.push_back(0);
  for (std::uint32_t row = 0; row < rows; ++row) {
    for (std::uint32_t k = 0; k < experts_per_row; ++k) {
      m.assignments.push_back({(row * 17 + k * 31) % 256, k});
    }
    m.offsets.push_back(static_cast<std::uint32_t>(m.assignments.size()));
  }
  return m;
}

wire::results sample_results(std::uint32_t rows) {
  wire::results m;
  m.call = {shard_id{0}, 1234, 1, layer_index{7}};
  m.output = zero_rows(tensor::dtype::f32, rows * experts_per_row);
  for (std::uint32_t i = 0; i < rows * experts_per_row; ++i) m.counts.push_back({i, 1});
  return m;
}

template <class Make>
void encode_only(benchmark::State& state, Make make) {
  const auto m = make(static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(wire::encode(m, {}, {}));
}

template <class Make>
void decode_only(benchmark::State& state, Make make) {
  const auto m = make(static_cast<std::uint32_t>(state.range(0)));
  const frame f = wire::encode(m, {}, {}).value();
  for (auto _ : state) benchmark::DoNotOptimize(wire::decode(f));
}

class decoding_receiver final : public receiver {
public:
  void on_frame(frame&& f) noexcept override { benchmark::DoNotOptimize(wire::decode(f)); }
  void on_peer_gone(node_identity, const error&) noexcept override {}
};

/// Encode, seal, check, deliver, decode.
template <class Make>
void whole_way(benchmark::State& state, Make make) {
  loopback_network network;
  const auto net = network.join();
  const auto in = std::make_shared<decoding_receiver>();
  const node_identity self{node_id{1}, incarnation{1}};
  if (net->listen(self, in).has_error()) return state.SkipWithError("listen");
  const auto to = net->connect(self.node).value();
  const auto m = make(static_cast<std::uint32_t>(state.range(0)));
  for (auto _ : state) {
    if (to->send(wire::encode(m, {}, {}).value()).has_error()) return state.SkipWithError("send");
  }
}

BENCHMARK_CAPTURE(encode_only, dispatch, sample_dispatch)->Arg(1)->Arg(16);
BENCHMARK_CAPTURE(decode_only, dispatch, sample_dispatch)->Arg(1)->Arg(16);
BENCHMARK_CAPTURE(whole_way, dispatch, sample_dispatch)->Arg(1)->Arg(16);
BENCHMARK_CAPTURE(encode_only, results, sample_results)->Arg(1)->Arg(16);
BENCHMARK_CAPTURE(decode_only, results, sample_results)->Arg(1)->Arg(16);
BENCHMARK_CAPTURE(whole_way, results, sample_results)->Arg(1)->Arg(16);

}  // namespace

BENCHMARK_MAIN();
