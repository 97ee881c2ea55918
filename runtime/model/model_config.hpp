// What config.json says of a DeepSeek-V2 or V3 style model, checked: every value that leaves
// parse_config is in range and consistent with the others, so that later code need not look again.
// Plain values; pure functions.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace atl::model {

/// How router logits become scores: softmax over all experts (V2), or a sigmoid each (V3).
enum class score_function { softmax, sigmoid };

/// How experts are chosen. greedy: the k best scores. group_limited_greedy (V2): only within the
/// groups with the largest best score. noaux_tc (V3): by score + correction bias, only within the
/// groups with the largest sum of their two best.
enum class topk_method { greedy, group_limited_greedy, noaux_tc };

/// YaRN, with the names of config.json's rope_scaling.
struct rope_scaling {
  double factor = 1;
  std::int64_t original_max_position = 0;
  double beta_fast = 32;
  double beta_slow = 1;
  double mscale = 1;
  double mscale_all_dim = 0;
  std::optional<double> attention_factor;
};

struct model_config {
  std::string model_type;  // "deepseek_v2" or "deepseek_v3"
  bool is_v3() const noexcept { return model_type == "deepseek_v3"; }

  std::int64_t vocab_size = 0;  // rows of the embedding and of the head
  std::int64_t hidden = 0;
  std::int64_t layers = 0;          // decoder layers, MTP layers not counted
  std::int64_t first_dense = 0;     // layers below this index are dense
  std::int64_t moe_layer_freq = 1;  // of the others, those divisible by this are MoE
  std::int64_t dense_inner = 0;     // width of a dense layer's FFN
  std::int64_t expert_inner = 0;    // width of one routed expert
  std::int64_t routed_experts = 0;  // 0: every layer is dense
  std::int64_t shared_experts = 0;  // one MLP of width shared_experts * expert_inner
  std::int64_t experts_per_token = 0;
  std::int64_t groups = 1;
  std::int64_t groups_kept = 1;
  topk_method topk = topk_method::greedy;
  score_function scoring = score_function::softmax;
  bool norm_topk = false;
  double routed_scale = 1;

  std::int64_t heads = 0;
  std::int64_t q_rank = 0;  // 0: one q_proj instead of q_a, norm, q_b
  std::int64_t kv_rank = 0;
  std::int64_t nope_dim = 0;
  std::int64_t rope_dim = 0;  // even
  std::int64_t value_dim = 0;

  double norm_eps = 1e-6;
  /// Of q_a_layernorm and kv_a_layernorm: the class default of the reference implementations
  /// whatever rms_norm_eps says (it differs in Moonlight).
  double inner_norm_eps = 1e-6;
  double rope_theta = 10000;
  std::optional<rope_scaling> yarn;
  bool rope_interleave = true;  // pairs are (2j, 2j+1); false: (j, j + rope_dim/2)
  std::int64_t max_position = 0;
  std::vector<token_id> eos;
  std::optional<token_id> bos;
  std::int64_t mtp_layers = 0;  // stored as layer indices >= layers
  bool tied_embeddings = false;
  bool fp8_blocks = false;  // linear weights may be FP8 with 128 x 128 scales

  bool is_moe(std::int64_t layer) const noexcept {
    return routed_experts > 0 && layer >= first_dense && layer % moe_layer_freq == 0;
  }
  std::int64_t moe_layers() const noexcept;
  std::int64_t q_head_dim() const noexcept { return nope_dim + rope_dim; }
  std::int64_t shared_inner() const noexcept { return shared_experts * expert_inner; }
  /// Values the latent cache keeps for one token in one layer.
  std::int64_t kv_values_per_token() const noexcept { return kv_rank + rope_dim; }
};

std::string_view to_string(score_function f) noexcept;
std::string_view to_string(topk_method m) noexcept;

/// Reads the text of a config.json. `path` is only named in errors, which are invalid_model
/// (missing, ill-typed, out of range, contradictory) or unsupported (another architecture or
/// feature) and name file, field, value and remedy.
result<model_config> parse_config(std::string_view json, const std::string& path);

/// Takes over eos_token_id (a number or a list) and bos_token_id of a generation_config.json,
/// which count more than those of config.json. Leaves `config` as it is on error.
result<void>
merge_generation_config(model_config& config, std::string_view json, const std::string& path);

}  // namespace atl::model
