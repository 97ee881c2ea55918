// The one list of a model's tensors: names, shapes and kinds as published checkpoints have them,
// each tied to its place in model_weights. Loading, inspection and the writing of synthetic
// checkpoints all follow it. Pure; any thread.
// Source: DeepSeek-V3 README_WEIGHTS.md, transformers models/deepseek_v2 and deepseek_v3.
#pragma once

#include "runtime/model/weights.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace atl::model {

/// What a tensor belongs to, for reports.
enum class model_part {
  embeddings,
  attention,
  dense_ffn,
  router,
  routed_experts,
  shared_experts,
  norms,
  head,
  mtp
};
inline constexpr int model_part_count = 9;
std::string_view to_string(model_part part) noexcept;

enum class tensor_kind {
  linear,  // matrix; FP8 blocks allowed
  table,   // matrix; never quantised (embeddings, head, router)
  norm,    // vector
  bias     // vector, float32 once loaded, finite
};

enum class ffn_role { gate, up, down };

/// One tensor of the main model. `rows` x `cols`, or `rows` values where cols is 0. Exactly one of
/// `matrix` and `vector` is set; they point into the model_weights given to plan_tensors.
struct tensor_slot {
  std::string name;
  model_part part{};
  tensor_kind kind{};
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  tensor::weight_matrix* matrix = nullptr;
  tensor::weight_vector* vector = nullptr;
  std::int64_t layer = -1;
  std::int64_t expert = -1;  // routed experts only
  ffn_role role{};           // routed experts only

  std::int64_t values() const noexcept { return cols == 0 ? rows : rows * cols; }
};

/// Sizes `weights.layers` for `weights.config` and lists every tensor it needs. The slots stay
/// valid until `weights` is moved or its layers are resized.
std::vector<tensor_slot> plan_tensors(model_weights& weights);

/// Name of the scale tensor of an FP8 weight "X.weight": "X.weight_scale_inv".
std::string scale_name(std::string_view weight_name);

/// The layer number in "model.layers.N.<rest>", or -1 for other names.
std::int64_t layer_of(std::string_view tensor_name) noexcept;

}  // namespace atl::model
