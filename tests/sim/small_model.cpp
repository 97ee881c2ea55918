#include "tests/sim/small_model.hpp"

#include "tests/support/memory_disk.hpp"
#include "tools/synthetic_checkpoint.hpp"

namespace atl::sim {
namespace {

constexpr const char* config = R"({
  "architectures": ["DeepseekV3ForCausalLM"],
  "attention_bias": false,
  "bos_token_id": 0,
  "eos_token_id": 1,
  "first_k_dense_replace": 1,
  "hidden_act": "silu",
  "hidden_size": 64,
  "intermediate_size": 64,
  "kv_lora_rank": 32,
  "max_position_embeddings": 1024,
  "model_type": "deepseek_v3",
  "moe_intermediate_size": 32,
  "moe_layer_freq": 1,
  "n_group": 1,
  "n_routed_experts": 8,
  "n_shared_experts": 1,
  "norm_topk_prob": true,
  "num_attention_heads": 2,
  "num_experts_per_tok": 2,
  "num_hidden_layers": 3,
  "num_key_value_heads": 2,
  "num_nextn_predict_layers": 0,
  "q_lora_rank": 32,
  "qk_nope_head_dim": 16,
  "qk_rope_head_dim": 16,
  "rms_norm_eps": 1e-06,
  "rope_theta": 10000.0,
  "routed_scaling_factor": 1.5,
  "scoring_func": "sigmoid",
  "tie_word_embeddings": false,
  "topk_group": 1,
  "topk_method": "noaux_tc",
  "torch_dtype": "float32",
  "use_cache": true,
  "v_head_dim": 16,
  "vocab_size": 256
})";

constexpr const char* directory = "/model";

}  // namespace

result<std::shared_ptr<const model::model_weights>> small_model() {
  test::memory_disk files;
  tools::weight_options options;
  options.type = tensor::dtype::f32;
  options.seed = 5;
  ATOLL_TRY(tools::write_synthetic(
      files, directory, config, options, [](std::size_t) -> result<void> { return {}; }));
  return model::load_weights(files, directory, {});
}

}  // namespace atl::sim
