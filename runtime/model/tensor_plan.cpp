#include "runtime/model/tensor_plan.hpp"

#include <charconv>

namespace atl::model {
namespace {

class planner {
public:
  explicit planner(model_weights& weights) : weights_{weights}, c_{weights.config} {}

  std::vector<tensor_slot> run() {
    weights_.layers.assign(static_cast<std::size_t>(c_.layers), layer_weights{});
    matrix("model.embed_tokens.weight",
           model_part::embeddings,
           tensor_kind::table,
           c_.vocab_size,
           c_.hidden,
           weights_.embeddings);
    for (layer_ = 0; layer_ < c_.layers; ++layer_) add_layer();
    layer_ = -1;
    norm("model.norm.weight", c_.hidden, weights_.final_norm);
    if (!c_.tied_embeddings)
      matrix("lm_head.weight",
             model_part::head,
             tensor_kind::table,
             c_.vocab_size,
             c_.hidden,
             weights_.head);
    return std::move(slots_);
  }

private:
  void add_layer() {
    layer_weights& layer = weights_.layers[static_cast<std::size_t>(layer_)];
    const std::string prefix = "model.layers." + std::to_string(layer_) + ".";
    layer.moe = c_.is_moe(layer_);
    norm(prefix + "input_layernorm.weight", c_.hidden, layer.input_norm);
    add_attention(prefix + "self_attn.", layer.attention);
    norm(prefix + "post_attention_layernorm.weight", c_.hidden, layer.post_attention_norm);
    if (layer.moe)
      add_experts(prefix + "mlp.", layer);
    else
      add_ffn(prefix + "mlp.", model_part::dense_ffn, c_.dense_inner, layer.dense);
  }

  void add_attention(const std::string& prefix, attention_weights& a) {
    const std::int64_t q_rows = c_.heads * c_.q_head_dim();
    if (c_.q_rank == 0) {
      linear(prefix + "q_proj.weight", q_rows, c_.hidden, a.q);
    } else {
      linear(prefix + "q_a_proj.weight", c_.q_rank, c_.hidden, a.q_a);
      norm(prefix + "q_a_layernorm.weight", c_.q_rank, a.q_a_norm);
      linear(prefix + "q_b_proj.weight", q_rows, c_.q_rank, a.q_b);
    }
    linear(prefix + "kv_a_proj_with_mqa.weight", c_.kv_rank + c_.rope_dim, c_.hidden, a.kv_a);
    norm(prefix + "kv_a_layernorm.weight", c_.kv_rank, a.kv_a_norm);
    linear(
        prefix + "kv_b_proj.weight", c_.heads * (c_.nope_dim + c_.value_dim), c_.kv_rank, a.kv_b);
    linear(prefix + "o_proj.weight", c_.hidden, c_.heads * c_.value_dim, a.o);
  }

  void add_experts(const std::string& prefix, layer_weights& layer) {
    matrix(prefix + "gate.weight",
           model_part::router,
           tensor_kind::table,
           c_.routed_experts,
           c_.hidden,
           layer.router);
    if (c_.topk == topk_method::noaux_tc) {
      tensor_slot& slot = add(prefix + "gate.e_score_correction_bias", model_part::router);
      slot.kind = tensor_kind::bias;
      slot.rows = c_.routed_experts;
      slot.vector = &layer.correction_bias;
    }
    layer.experts.resize(static_cast<std::size_t>(c_.routed_experts));
    for (expert_ = 0; expert_ < c_.routed_experts; ++expert_)
      add_ffn(prefix + "experts." + std::to_string(expert_) + ".",
              model_part::routed_experts,
              c_.expert_inner,
              layer.experts[static_cast<std::size_t>(expert_)]);
    expert_ = -1;
    if (c_.shared_experts > 0)
      add_ffn(
          prefix + "shared_experts.", model_part::shared_experts, c_.shared_inner(), layer.shared);
  }

  void add_ffn(const std::string& prefix, model_part part, std::int64_t inner, ffn_weights& ffn) {
    const auto one = [&](const char* name, ffn_role role, tensor::weight_matrix& target) {
      const bool is_down = role == ffn_role::down;
      matrix(prefix + name,
             part,
             tensor_kind::linear,
             is_down ? c_.hidden : inner,
             is_down ? inner : c_.hidden,
             target);
      slots_.back().role = role;
    };
    one("gate_proj.weight", ffn_role::gate, ffn.gate);
    one("up_proj.weight", ffn_role::up, ffn.up);
    one("down_proj.weight", ffn_role::down, ffn.down);
  }

  tensor_slot& add(std::string name, model_part part) {
    tensor_slot& slot = slots_.emplace_back();
    slot.name = std::move(name);
    slot.part = part;
    slot.layer = layer_;
    slot.expert = expert_;
    return slot;
  }

  void matrix(std::string name,
              model_part part,
              tensor_kind kind,
              std::int64_t rows,
              std::int64_t cols,
              tensor::weight_matrix& target) {
    tensor_slot& slot = add(std::move(name), part);
    slot.kind = kind;
    slot.rows = rows;
    slot.cols = cols;
    slot.matrix = &target;
  }

  void
  linear(std::string name, std::int64_t rows, std::int64_t cols, tensor::weight_matrix& target) {
    matrix(std::move(name), model_part::attention, tensor_kind::linear, rows, cols, target);
  }

  void norm(std::string name, std::int64_t count, tensor::weight_vector& target) {
    tensor_slot& slot = add(std::move(name), model_part::norms);
    slot.kind = tensor_kind::norm;
    slot.rows = count;
    slot.vector = &target;
  }

  model_weights& weights_;
  const model_config& c_;
  std::vector<tensor_slot> slots_;
  std::int64_t layer_ = -1;
  std::int64_t expert_ = -1;
};

}  // namespace

std::string_view to_string(model_part part) noexcept {
  switch (part) {
  case model_part::embeddings: return "embeddings";
  case model_part::attention: return "attention";
  case model_part::dense_ffn: return "dense_ffn";
  case model_part::router: return "router";
  case model_part::routed_experts: return "routed_experts";
  case model_part::shared_experts: return "shared_experts";
  case model_part::norms: return "norms";
  case model_part::head: return "head";
  case model_part::mtp: return "mtp";
  }
  return "unknown";
}

std::vector<tensor_slot> plan_tensors(model_weights& weights) { return planner{weights}.run(); }

std::string scale_name(std::string_view weight_name) {
  return std::string{weight_name} + "_scale_inv";
}

std::int64_t layer_of(std::string_view tensor_name) noexcept {
  constexpr std::string_view prefix = "model.layers.";
  if (!tensor_name.starts_with(prefix)) return -1;
  const char* begin = tensor_name.data() + prefix.size();
  const char* end = tensor_name.data() + tensor_name.size();
  std::int64_t layer = -1;
  const auto [after, ec] = std::from_chars(begin, end, layer);
  const bool is_padded = begin != end && *begin == '0' && after - begin > 1;
  if (ec != std::errc{} || after == end || *after != '.' || is_padded || layer < 0) return -1;
  return layer;
}

}  // namespace atl::model
