#include "runtime/model/model_config.hpp"

#include "runtime/model/json_fields.hpp"

#include <boost/json/array.hpp>

namespace atl::model {
namespace {

// Upper limits of accepted sizes. They are several times what any published model has, and small
// enough that parameter and byte counts of a whole model stay below 2^62.
constexpr std::int64_t vocab_max = std::int64_t{1} << 24;
constexpr std::int64_t width_max = std::int64_t{1} << 16;  // hidden size, ranks
constexpr std::int64_t inner_max = std::int64_t{1} << 19;  // FFN width
constexpr std::int64_t layers_max = 512;
constexpr std::int64_t experts_max = 8192;
constexpr std::int64_t shared_max = 64;
constexpr std::int64_t heads_max = 4096;
constexpr std::int64_t head_dim_max = 4096;
constexpr std::int64_t position_max = (std::int64_t{1} << 31) - 1;
constexpr std::int64_t mtp_max = 16;
constexpr std::size_t eos_max = 64;

result<void> read_architecture(const json_fields& f, model_config& c) {
  ATOLL_ASSIGN(c.model_type, f.text("model_type"));
  if (c.model_type != "deepseek_v2" && c.model_type != "deepseek_v3")
    return f.wrong(
        "model_type", "supported are \"deepseek_v2\" and \"deepseek_v3\"", errc::unsupported);
  const boost::json::value* architectures = f.find("architectures");
  if (architectures == nullptr) return {};
  const std::string wanted = c.is_v3() ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM";
  const auto* list = architectures->if_array();
  if (list == nullptr || list->size() != 1 || !(*list)[0].is_string() ||
      (*list)[0].get_string() != wanted)
    return f.wrong("architectures",
                   "with model_type " + c.model_type + " only [\"" + wanted + "\"] is supported",
                   errc::unsupported);
  return {};
}

result<void> read_sizes(const json_fields& f, model_config& c) {
  ATOLL_ASSIGN(c.vocab_size, f.integer("vocab_size", 1, vocab_max));
  ATOLL_ASSIGN(c.hidden, f.integer("hidden_size", 1, width_max));
  ATOLL_ASSIGN(c.layers, f.integer("num_hidden_layers", 1, layers_max));
  ATOLL_ASSIGN(c.dense_inner, f.integer("intermediate_size", 1, inner_max));
  ATOLL_ASSIGN(c.max_position, f.integer("max_position_embeddings", 1, position_max));
  ATOLL_ASSIGN(c.mtp_layers, f.integer_or("num_nextn_predict_layers", 0, mtp_max, 0));
  ATOLL_ASSIGN(c.norm_eps, f.number("rms_norm_eps", 1e-12, 0.1));
  ATOLL_ASSIGN(c.tied_embeddings, f.boolean_or("tie_word_embeddings", false));
  ATOLL_ASSIGN(const std::string act, f.text_or("hidden_act", "silu"));
  if (act != "silu") return f.wrong("hidden_act", "only \"silu\" is supported", errc::unsupported);
  return {};
}

result<void> read_attention(const json_fields& f, model_config& c) {
  ATOLL_ASSIGN(c.heads, f.integer("num_attention_heads", 1, heads_max));
  ATOLL_ASSIGN(const std::int64_t kv_heads,
               f.integer_or("num_key_value_heads", 1, heads_max, c.heads));
  if (kv_heads != c.heads)
    return f.wrong("num_key_value_heads",
                   "must equal num_attention_heads (" + std::to_string(c.heads) +
                       ") in this architecture");
  if (!f.has("q_lora_rank"))
    return f.wrong("q_lora_rank", "expected an integer, or null for a model with one q_proj");
  ATOLL_ASSIGN(c.q_rank, f.integer_or("q_lora_rank", 1, width_max, 0));
  ATOLL_ASSIGN(c.kv_rank, f.integer("kv_lora_rank", 1, width_max));
  ATOLL_ASSIGN(c.nope_dim, f.integer("qk_nope_head_dim", 1, head_dim_max));
  ATOLL_ASSIGN(c.rope_dim, f.integer("qk_rope_head_dim", 2, head_dim_max));
  ATOLL_ASSIGN(c.value_dim, f.integer("v_head_dim", 1, head_dim_max));
  if (c.rope_dim % 2 != 0)
    return f.wrong("qk_rope_head_dim", "must be even: rotation works on pairs");
  ATOLL_ASSIGN(const bool bias, f.boolean_or("attention_bias", false));
  if (bias) return f.wrong("attention_bias", "only false is supported", errc::unsupported);
  ATOLL_ASSIGN(c.rope_interleave, f.boolean_or("rope_interleave", true));
  return {};
}

result<void> read_yarn(const json_fields& f, model_config& c) {
  rope_scaling yarn;
  ATOLL_ASSIGN(yarn.factor, f.number("factor", 1, 1e6));
  ATOLL_ASSIGN(yarn.original_max_position,
               f.integer("original_max_position_embeddings", 1, position_max));
  ATOLL_ASSIGN(yarn.beta_fast, f.number_or("beta_fast", 1e-3, 1e6, yarn.beta_fast));
  ATOLL_ASSIGN(yarn.beta_slow, f.number_or("beta_slow", 1e-3, 1e6, yarn.beta_slow));
  if (yarn.beta_slow >= yarn.beta_fast) return f.wrong("beta_slow", "must be less than beta_fast");
  ATOLL_ASSIGN(yarn.mscale, f.number_or("mscale", 0, 100, yarn.mscale));
  ATOLL_ASSIGN(yarn.mscale_all_dim, f.number_or("mscale_all_dim", 0, 100, yarn.mscale_all_dim));
  if (f.find("attention_factor") != nullptr) {
    ATOLL_ASSIGN(yarn.attention_factor, f.number("attention_factor", 1e-6, 1e6));
  }
  c.yarn = yarn;
  return {};
}

/// Old files have rope_theta and rope_scaling {type, ...}; new ones rope_parameters {rope_theta,
/// rope_type, ...} with both in one object.
result<void> read_rope(const json_fields& f, model_config& c) {
  const bool is_new = f.find("rope_parameters") != nullptr;
  if (is_new && f.find("rope_scaling") != nullptr)
    return f.wrong("rope_scaling", "give either rope_scaling or rope_parameters, not both");
  const std::string_view name = is_new ? "rope_parameters" : "rope_scaling";
  const boost::json::value* scaling = f.find(name);
  if (scaling == nullptr) {
    ATOLL_ASSIGN(c.rope_theta, f.number("rope_theta", 1.001, 1e12));
    return {};
  }
  if (!scaling->is_object()) return f.wrong(name, "expected an object or null");
  const json_fields s{scaling->get_object(), f.path(), std::string{name} + "."};
  const json_fields& theta_at = s.find("rope_theta") != nullptr ? s : f;
  ATOLL_ASSIGN(c.rope_theta, theta_at.number("rope_theta", 1.001, 1e12));
  const std::string_view kind_name = s.find("rope_type") != nullptr ? "rope_type" : "type";
  ATOLL_ASSIGN(const std::string kind, s.text(kind_name));
  if (kind == "default") return {};
  if (kind != "yarn")
    return s.wrong(kind_name, "supported are \"yarn\" and \"default\"", errc::unsupported);
  return read_yarn(s, c);
}

result<void> read_gate_methods(const json_fields& f, model_config& c) {
  ATOLL_ASSIGN(const std::string scoring,
               f.text_or("scoring_func", c.is_v3() ? "sigmoid" : "softmax"));
  ATOLL_ASSIGN(const std::string topk, f.text_or("topk_method", c.is_v3() ? "noaux_tc" : "greedy"));
  if (scoring == "softmax")
    c.scoring = score_function::softmax;
  else if (scoring == "sigmoid")
    c.scoring = score_function::sigmoid;
  else
    return f.wrong("scoring_func", "supported are \"softmax\" and \"sigmoid\"", errc::unsupported);
  if (topk == "greedy")
    c.topk = topk_method::greedy;
  else if (topk == "group_limited_greedy")
    c.topk = topk_method::group_limited_greedy;
  else if (topk == "noaux_tc")
    c.topk = topk_method::noaux_tc;
  else
    return f.wrong("topk_method",
                   "supported are \"greedy\", \"group_limited_greedy\" and \"noaux_tc\"",
                   errc::unsupported);
  const bool is_biased = c.topk == topk_method::noaux_tc;
  if (is_biased != (c.scoring == score_function::sigmoid))
    return f.wrong("scoring_func",
                   "topk_method \"" + topk + "\" is supported with \"" +
                       (is_biased ? "sigmoid" : "softmax") + "\" only",
                   errc::unsupported);
  return {};
}

result<void> read_groups(const json_fields& f, model_config& c) {
  if (c.topk == topk_method::greedy) return {};  // groups have no meaning
  ATOLL_ASSIGN(c.groups, f.integer("n_group", 1, c.routed_experts));
  ATOLL_ASSIGN(c.groups_kept, f.integer("topk_group", 1, experts_max));
  const std::int64_t group_experts = c.routed_experts / c.groups;
  if (c.routed_experts % c.groups != 0)
    return f.wrong("n_group",
                   "must divide n_routed_experts (" + std::to_string(c.routed_experts) + ")");
  if (c.topk == topk_method::noaux_tc && group_experts < 2)
    return f.wrong("n_group", "leaves fewer than two experts in a group; noaux_tc adds up two");
  if (c.groups_kept > c.groups)
    return f.wrong("topk_group", "must not exceed n_group (" + std::to_string(c.groups) + ")");
  // A model that takes every expert may keep fewer groups: the rest is picked last.
  if (c.groups_kept * group_experts < c.experts_per_token &&
      c.experts_per_token != c.routed_experts)
    return f.wrong("topk_group",
                   "keeps " + std::to_string(c.groups_kept * group_experts) +
                       " experts, fewer than num_experts_per_tok (" +
                       std::to_string(c.experts_per_token) + ")");
  return {};
}

result<void> read_experts(const json_fields& f, model_config& c) {
  if (!f.has("n_routed_experts"))
    return f.wrong("n_routed_experts", "expected an integer, or null for a model without experts");
  ATOLL_ASSIGN(c.routed_experts, f.integer_or("n_routed_experts", 1, experts_max, 0));
  if (c.routed_experts == 0) return {};
  ATOLL_ASSIGN(c.expert_inner, f.integer("moe_intermediate_size", 1, inner_max));
  ATOLL_ASSIGN(c.shared_experts, f.integer_or("n_shared_experts", 0, shared_max, 0));
  ATOLL_ASSIGN(c.experts_per_token, f.integer("num_experts_per_tok", 1, c.routed_experts));
  ATOLL_ASSIGN(c.first_dense, f.integer("first_k_dense_replace", 0, c.layers));
  ATOLL_ASSIGN(c.moe_layer_freq, f.integer_or("moe_layer_freq", 1, layers_max, 1));
  ATOLL_ASSIGN(c.norm_topk, f.boolean("norm_topk_prob"));
  ATOLL_ASSIGN(c.routed_scale, f.number("routed_scaling_factor", 1e-6, 1e6));
  ATOLL_TRY(read_gate_methods(f, c));
  return read_groups(f, c);
}

result<void> read_quantization(const json_fields& f, model_config& c) {
  const boost::json::value* quantization = f.find("quantization_config");
  if (quantization == nullptr) return {};
  if (!quantization->is_object())
    return f.wrong("quantization_config", "expected an object or null");
  const json_fields q{quantization->get_object(), f.path(), "quantization_config."};
  const auto only = [&](std::string_view name, std::string_view wanted) -> result<void> {
    ATOLL_ASSIGN(const std::string value, q.text_or(name, wanted));
    if (value == wanted) return {};
    return q.wrong(name, "only \"" + std::string{wanted} + "\" is supported", errc::unsupported);
  };
  if (q.find("quant_method") == nullptr)
    return q.wrong("quant_method", "only \"fp8\" is supported", errc::unsupported);
  ATOLL_TRY(only("quant_method", "fp8"));
  ATOLL_TRY(only("fmt", "e4m3"));
  ATOLL_TRY(only("activation_scheme", "dynamic"));
  ATOLL_ASSIGN(const std::string scale_format, q.text_or("scale_fmt", "float"));
  if (scale_format != "float" && scale_format != "ue8m0")
    return q.wrong("scale_fmt", "only \"ue8m0\" and \"float\" are supported", errc::unsupported);
  const boost::json::value* block = q.find("weight_block_size");
  if (block == nullptr || *block != boost::json::array{128, 128})
    return q.wrong("weight_block_size", "only [128, 128] is supported", errc::unsupported);
  c.fp8_blocks = true;
  return {};
}

/// A number, a list of numbers, or null.
result<std::vector<token_id>>
token_list(const json_fields& f, std::string_view name, std::int64_t vocab) {
  std::vector<token_id> ids;
  const boost::json::value* value = f.find(name);
  if (value == nullptr) return ids;
  const error wrong = f.wrong(name,
                              "expected a token id below vocab_size (" + std::to_string(vocab) +
                                  "), or a list of at most " + std::to_string(eos_max));
  const boost::json::array single{*value};
  const boost::json::array& list = value->is_array() ? value->get_array() : single;
  if (list.size() > eos_max) return wrong;
  for (const boost::json::value& id : list) {
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() >= vocab) return wrong;
    ids.push_back(static_cast<token_id>(id.get_int64()));
  }
  return ids;
}

result<void> read_tokens(const json_fields& f, model_config& c) {
  ATOLL_ASSIGN(auto eos, token_list(f, "eos_token_id", c.vocab_size));
  ATOLL_ASSIGN(const auto bos, token_list(f, "bos_token_id", c.vocab_size));
  if (bos.size() > 1) return f.wrong("bos_token_id", "expected one token id");
  if (!eos.empty()) c.eos = std::move(eos);
  if (!bos.empty()) c.bos = bos.front();
  return {};
}

}  // namespace

std::int64_t model_config::moe_layers() const noexcept {
  std::int64_t count = 0;
  for (std::int64_t layer = 0; layer < layers; ++layer) count += is_moe(layer) ? 1 : 0;
  return count;
}

std::string_view to_string(score_function f) noexcept {
  return f == score_function::softmax ? "softmax" : "sigmoid";
}

std::string_view to_string(topk_method m) noexcept {
  switch (m) {
  case topk_method::greedy: return "greedy";
  case topk_method::group_limited_greedy: return "group_limited_greedy";
  case topk_method::noaux_tc: return "noaux_tc";
  }
  return "unknown";
}

result<model_config> parse_config(std::string_view json, const std::string& path) {
  ATOLL_ASSIGN(const boost::json::object root, parse_json_object(json, path));
  const json_fields fields{root, path};
  model_config config;
  ATOLL_TRY(read_architecture(fields, config));
  ATOLL_TRY(read_sizes(fields, config));
  ATOLL_TRY(read_attention(fields, config));
  ATOLL_TRY(read_rope(fields, config));
  ATOLL_TRY(read_experts(fields, config));
  ATOLL_TRY(read_quantization(fields, config));
  ATOLL_TRY(read_tokens(fields, config));
  return config;
}

result<void>
merge_generation_config(model_config& config, std::string_view json, const std::string& path) {
  ATOLL_ASSIGN(const boost::json::object root, parse_json_object(json, path));
  model_config merged = config;
  ATOLL_TRY(read_tokens(json_fields{root, path}, merged));
  config = std::move(merged);
  return {};
}

}  // namespace atl::model
