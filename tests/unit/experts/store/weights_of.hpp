// Experts for tests: shapes that fit no block evenly, and values from a seed in any stored type.
#pragma once

#include "runtime/base/random.hpp"
#include "runtime/model/weights.hpp"

#include <cstring>
#include <memory>
#include <vector>

namespace atl::experts {

/// hidden 200 and inner 72: ragged against blocks of 128 and lines of 64 bytes.
inline model::model_config ragged_config() {
  model::model_config c;
  c.layers = 3;
  c.first_dense = 1;
  c.hidden = 200;
  c.expert_inner = 72;
  c.routed_experts = 4;
  c.experts_per_token = 2;
  return c;
}

/// Stored matrices of experts and the bytes they view.
class made_weights {
public:
  explicit made_weights(const model::model_config& config) {
    weights_ = std::make_shared<model::model_weights>();
    weights_->config = config;
    weights_->layers.resize(static_cast<std::size_t>(config.layers));
    for (std::int64_t l = 0; l < config.layers; ++l) {
      auto& layer = weights_->layers[static_cast<std::size_t>(l)];
      layer.moe = config.is_moe(l);
      if (layer.moe) layer.experts.resize(static_cast<std::size_t>(config.routed_experts));
    }
  }

  /// Fills in an expert whose matrices have these types (gate, up, down).
  model::ffn_weights& add(std::int64_t layer,
                          std::uint32_t expert,
                          tensor::dtype gate,
                          tensor::dtype up,
                          tensor::dtype down) {
    const auto& c = weights_->config;
    auto& e = weights_->layers[static_cast<std::size_t>(layer)].experts[expert];
    random_.emplace_back(static_cast<std::uint64_t>(layer) * 1000 + expert);
    e.gate = matrix(c.expert_inner, c.hidden, gate);
    e.up = matrix(c.expert_inner, c.hidden, up);
    e.down = matrix(c.hidden, c.expert_inner, down);
    weights_->bytes += e.gate.bytes() + e.up.bytes() + e.down.bytes();
    return e;
  }
  void add_all(tensor::dtype type) {
    for (std::int64_t l = 0; l < weights_->config.layers; ++l)
      for (std::uint32_t e = 0;
           weights_->layers[static_cast<std::size_t>(l)].moe && e < weights_->config.routed_experts;
           ++e)
        add(l, e, type, type, type);
  }

  std::byte* bytes_of(const tensor::weight_matrix& m) {
    for (auto& b : bytes_)
      if (b.data() == m.data) return b.data();
    return nullptr;
  }
  const std::shared_ptr<model::model_weights>& get() const { return weights_; }

private:
  tensor::weight_matrix matrix(std::int64_t rows, std::int64_t cols, tensor::dtype type) {
    tensor::weight_matrix m;
    m.type = type;
    m.rows = rows;
    m.cols = cols;
    auto& bytes = bytes_.emplace_back(static_cast<std::size_t>(rows) * m.row_bytes());
    for (std::size_t i = 0; i < bytes.size(); i += tensor::element_bytes(type)) {
      const auto value = static_cast<float>(random_.back().unit() * 0.2 - 0.1);
      const std::uint16_t half =
          type == tensor::dtype::bf16 ? tensor::f32_to_bf16(value) : tensor::f32_to_f16(value);
      const std::uint8_t quarter = tensor::f32_to_f8_e4m3(value * 1000);
      if (type == tensor::dtype::f32) std::memcpy(&bytes[i], &value, 4);
      if (type == tensor::dtype::bf16 || type == tensor::dtype::f16)
        std::memcpy(&bytes[i], &half, 2);
      if (type == tensor::dtype::f8_e4m3) std::memcpy(&bytes[i], &quarter, 1);
    }
    m.data = bytes.data();
    if (type != tensor::dtype::f8_e4m3) return m;
    m.scale_cols = (cols + 127) / 128;
    auto& scales = weights_->owned_floats.emplace_back(
        static_cast<std::size_t>((rows + 127) / 128 * m.scale_cols));
    for (float& s : scales) s = static_cast<float>(0.001 + random_.back().unit() * 0.01);
    m.scales = scales.data();
    return m;
  }

  std::shared_ptr<model::model_weights> weights_;
  std::vector<std::vector<std::byte>> bytes_;
  std::vector<random_source> random_;
};

}  // namespace atl::experts
