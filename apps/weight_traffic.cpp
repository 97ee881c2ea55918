#include "apps/weight_traffic.hpp"

#include <set>
#include <utility>

namespace atl::apps {
namespace {

std::size_t bytes_of(const model::ffn_weights& w) {
  return w.gate.bytes() + w.up.bytes() + w.down.bytes();
}

std::size_t bytes_of(const model::attention_weights& w) {
  return w.q_a.bytes() + w.q_b.bytes() + w.q.bytes() + w.kv_a.bytes() + w.kv_b.bytes() +
         w.o.bytes();
}

}  // namespace

weight_traffic::weight_traffic(const model::model_weights& weights) : weights_{weights} {
  step_bytes_ = weights.head.bytes();
  for (const model::layer_weights& layer : weights.layers)
    step_bytes_ += bytes_of(layer.attention) + bytes_of(layer.dense) + bytes_of(layer.shared) +
                   layer.router.bytes();
}

void weight_traffic::add(std::size_t sequence, std::span<const actors::observation> seen) {
  for (const actors::observation& o : seen) {
    if (o.what != actors::observation::kind::routing || o.width == 0) continue;
    for (std::size_t i = 0; i < o.experts.size(); ++i)
      all_.push_back({sequence,
                      o.first_position + static_cast<std::int64_t>(i) / o.width,
                      o.layer,
                      o.experts[i]});
  }
}

std::size_t weight_traffic::expert_bytes(std::size_t from,
                                         std::size_t to,
                                         std::int64_t first,
                                         std::int64_t count) const {
  std::set<std::pair<std::int64_t, std::uint32_t>> distinct;
  for (const chosen& c : all_)
    if (c.sequence >= from && c.sequence < to && c.position >= first && c.position < first + count)
      distinct.emplace(c.layer, c.expert);
  std::size_t bytes = 0;
  for (const auto& [layer, expert] : distinct)
    bytes += bytes_of(weights_.layers[static_cast<std::size_t>(layer)].experts[expert]);
  return bytes;
}

}  // namespace atl::apps
