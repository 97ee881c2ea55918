#include "runtime/base/disk.hpp"
#include "runtime/model/model_config.hpp"

#include <gtest/gtest.h>

namespace atl::model {
namespace {

std::string golden_config(const std::string& name) {
  const std::string root = ATOLL_SOURCE_DIR;
  const std::string directory =
      name == "tiny" ? root + "/models/tiny" : root + "/tests/golden/" + name;
  return system_disk()->read(directory + "/config.json", 1 << 20).value();
}

/// A golden config with the first `from` replaced.
std::string changed(const std::string& name, const std::string& from, const std::string& to) {
  std::string text = golden_config(name);
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

void expect_refused(const std::string& text,
                    errc code,
                    const std::string& field,
                    const std::string& value) {
  const auto parsed = parse_config(text, "/m/config.json");
  ASSERT_TRUE(parsed.has_error()) << field;
  const std::string message = parsed.error().message();
  EXPECT_EQ(parsed.error().code(), code) << message;
  EXPECT_TRUE(message.starts_with("/m/config.json: ")) << message;
  EXPECT_NE(message.find(field), std::string::npos) << message;
  EXPECT_NE(message.find(value), std::string::npos) << message;
}

TEST(model_config, reads_v2_lite) {
  const model_config c = parse_config(golden_config("v2-lite"), "c").value();
  EXPECT_FALSE(c.is_v3());
  EXPECT_EQ(c.vocab_size, 400);
  EXPECT_EQ(c.hidden, 64);
  EXPECT_EQ(c.layers, 3);
  EXPECT_EQ(c.first_dense, 1);
  EXPECT_EQ(c.dense_inner, 160);
  EXPECT_EQ(c.expert_inner, 40);
  EXPECT_EQ(c.routed_experts, 16);
  EXPECT_EQ(c.shared_inner(), 80);  // one MLP, not two
  EXPECT_EQ(c.experts_per_token, 4);
  EXPECT_EQ(c.topk, topk_method::greedy);
  EXPECT_EQ(c.scoring, score_function::softmax);
  EXPECT_FALSE(c.norm_topk);
  EXPECT_EQ(c.q_rank, 0);
  EXPECT_EQ(c.kv_rank, 32);
  EXPECT_EQ(c.nope_dim, 32);
  EXPECT_EQ(c.rope_dim, 16);
  EXPECT_EQ(c.value_dim, 24);
  ASSERT_TRUE(c.yarn.has_value());
  EXPECT_EQ(c.yarn->factor, 40);  // an integer in the file
  EXPECT_EQ(c.yarn->mscale, 0.707);
  EXPECT_EQ(c.yarn->mscale_all_dim, 0.707);
  EXPECT_EQ(c.yarn->original_max_position, 128);
  EXPECT_EQ(c.eos, std::vector<token_id>{391});
  EXPECT_EQ(c.bos, 390);
  EXPECT_EQ(c.mtp_layers, 0);
  EXPECT_FALSE(c.fp8_blocks);
  EXPECT_EQ(c.kv_values_per_token(), 48);
  EXPECT_FALSE(c.is_moe(0));
  EXPECT_TRUE(c.is_moe(1));
}

TEST(model_config, reads_v3_with_fp8_blocks) {
  const model_config c = parse_config(golden_config("v3-fp8"), "c").value();
  EXPECT_TRUE(c.is_v3());
  EXPECT_EQ(c.topk, topk_method::noaux_tc);
  EXPECT_EQ(c.scoring, score_function::sigmoid);
  EXPECT_TRUE(c.norm_topk);
  EXPECT_EQ(c.routed_scale, 2.5);
  EXPECT_EQ(c.groups, 4);
  EXPECT_EQ(c.groups_kept, 2);
  EXPECT_EQ(c.mtp_layers, 1);
  EXPECT_TRUE(c.fp8_blocks);
  EXPECT_TRUE(c.rope_interleave);
}

TEST(model_config, inner_norms_keep_their_own_epsilon) {
  const model_config c = parse_config(golden_config("v3-norope-scaling"), "c").value();
  EXPECT_EQ(c.norm_eps, 1e-5);
  EXPECT_EQ(c.inner_norm_eps, 1e-6);
  EXPECT_FALSE(c.yarn.has_value());
  EXPECT_EQ(c.rope_theta, 50000);
  EXPECT_TRUE(c.tied_embeddings);
  EXPECT_EQ(c.first_dense, 0);
}

TEST(model_config, reads_both_spellings_of_rope) {
  const std::string text = changed("v3", "\"rope_theta\": 10000,", "");
  expect_refused(text, errc::invalid_model, "rope_theta", "missing");
  std::string renamed = text;
  renamed.replace(renamed.find("rope_scaling"), 12, "rope_parameters");
  renamed.replace(
      renamed.find("\"type\": \"yarn\""), 14, "\"rope_type\": \"yarn\", \"rope_theta\": 20000.0");
  const model_config c = parse_config(renamed, "c").value();
  EXPECT_EQ(c.rope_theta, 20000);
  ASSERT_TRUE(c.yarn.has_value());
  EXPECT_EQ(c.yarn->factor, 40);
}

TEST(model_config, takes_whole_floats_for_integers) {
  const auto c = parse_config(changed("v3", "\"hidden_size\": 96", "\"hidden_size\": 96.0"), "c");
  ASSERT_TRUE(c.has_value()) << c.error().message();
  EXPECT_EQ(c->hidden, 96);
  expect_refused(changed("v3", "\"hidden_size\": 96", "\"hidden_size\": 96.5"),
                 errc::invalid_model,
                 "hidden_size",
                 "96.5");
}

TEST(model_config, reads_power_of_two_scale_format) {
  const auto with = [](const std::string& format) {
    return changed("v3-fp8", "\"fmt\": \"e4m3\"", "\"fmt\": \"e4m3\", \"scale_fmt\": " + format);
  };
  EXPECT_TRUE(parse_config(with("\"ue8m0\""), "c").value().fp8_blocks);
  EXPECT_TRUE(parse_config(with("null"), "c").has_value());
  expect_refused(with("\"ue5m3\""), errc::unsupported, "quantization_config.scale_fmt", "ue5m3");
}

TEST(model_config, all_experts_may_be_chosen_from_fewer_groups) {
  const std::string all =
      changed("v3-fp8", "\"num_experts_per_tok\": 3", "\"num_experts_per_tok\": 8");
  EXPECT_TRUE(parse_config(all, "c").has_value());
  expect_refused(changed("v3-fp8", "\"num_experts_per_tok\": 3", "\"num_experts_per_tok\": 5"),
                 errc::invalid_model,
                 "topk_group",
                 "num_experts_per_tok (5)");
}

TEST(model_config, names_of_gates_default_by_family) {
  const model_config v3 =
      parse_config(changed("v3", "\"scoring_func\": \"sigmoid\",", ""), "c").value();
  EXPECT_EQ(v3.scoring, score_function::sigmoid);
  const model_config v2 =
      parse_config(changed("v2-lite", "\"topk_method\": \"greedy\",", ""), "c").value();
  EXPECT_EQ(v2.topk, topk_method::greedy);
}

TEST(model_config, a_model_without_experts_is_all_dense) {
  const model_config c =
      parse_config(changed("v2-lite", "\"n_routed_experts\": 16", "\"n_routed_experts\": null"),
                   "c")
          .value();
  EXPECT_EQ(c.moe_layers(), 0);
  EXPECT_FALSE(c.is_moe(2));
}

TEST(model_config, moe_layer_freq_leaves_layers_dense) {
  const model_config c =
      parse_config(changed("v2-lite", "\"moe_layer_freq\": 1", "\"moe_layer_freq\": 2"), "c")
          .value();
  EXPECT_FALSE(c.is_moe(0));
  EXPECT_FALSE(c.is_moe(1));
  EXPECT_TRUE(c.is_moe(2));
}

TEST(model_config, every_field_that_matters_must_be_there) {
  for (const std::string name : {"model_type",
                                 "vocab_size",
                                 "hidden_size",
                                 "num_hidden_layers",
                                 "intermediate_size",
                                 "moe_intermediate_size",
                                 "num_attention_heads",
                                 "q_lora_rank",
                                 "kv_lora_rank",
                                 "qk_nope_head_dim",
                                 "qk_rope_head_dim",
                                 "v_head_dim",
                                 "rms_norm_eps",
                                 "rope_theta",
                                 "max_position_embeddings",
                                 "n_routed_experts",
                                 "num_experts_per_tok",
                                 "first_k_dense_replace",
                                 "norm_topk_prob",
                                 "routed_scaling_factor",
                                 "n_group",
                                 "topk_group"}) {
    expect_refused(changed("v3", "\"" + name + "\"", "\"no_" + name + "\""),
                   errc::invalid_model,
                   name,
                   "is missing");
  }
}

struct refusal {
  const char* golden;
  const char* from;
  const char* to;
  errc code;
  const char* field;
  const char* value;
};

class refusals : public testing::TestWithParam<refusal> {};

TEST_P(refusals, name_field_and_value) {
  const refusal& r = GetParam();
  expect_refused(changed(r.golden, r.from, r.to), r.code, r.field, r.value);
}

constexpr errc bad = errc::invalid_model;
constexpr errc other = errc::unsupported;

INSTANTIATE_TEST_SUITE_P(
    values,
    refusals,
    testing::Values(
        refusal{"v3", "\"hidden_size\": 96", "\"hidden_size\": -96", bad, "hidden_size", "-96"},
        refusal{"v3", "\"hidden_size\": 96", "\"hidden_size\": 0", bad, "hidden_size", "0"},
        refusal{
            "v3", "\"hidden_size\": 96", "\"hidden_size\": \"96\"", bad, "hidden_size", "\"96\""},
        refusal{
            "v3", "\"hidden_size\": 96", "\"hidden_size\": 1e300", bad, "hidden_size", "1e+300"},
        refusal{"v3",
                "\"hidden_size\": 96",
                "\"hidden_size\": 9223372036854775808",
                bad,
                "hidden_size",
                "9223372036854775808"},
        refusal{"v3",
                "\"num_hidden_layers\": 4",
                "\"num_hidden_layers\": 1000000",
                bad,
                "num_hidden_layers",
                "1000000"},
        refusal{"v3", "\"n_group\": 4", "\"n_group\": 5", bad, "n_group", "divide"},
        refusal{"v3", "\"n_group\": 4", "\"n_group\": 16", bad, "n_group", "fewer than two"},
        refusal{"v3", "\"topk_group\": 2", "\"topk_group\": 5", bad, "topk_group", "5"},
        refusal{"v3",
                "\"num_experts_per_tok\": 4",
                "\"num_experts_per_tok\": 17",
                bad,
                "num_experts_per_tok",
                "17"},
        refusal{"v3",
                "\"qk_rope_head_dim\": 16",
                "\"qk_rope_head_dim\": 15",
                bad,
                "qk_rope_head_dim",
                "even"},
        refusal{"v3",
                "\"num_key_value_heads\": 4",
                "\"num_key_value_heads\": 2",
                bad,
                "num_key_value_heads",
                "num_attention_heads"},
        refusal{"v3", "\"factor\": 40", "\"factor\": 0.5", bad, "rope_scaling.factor", "0.5"},
        refusal{"v3", "\"beta_slow\": 1", "\"beta_slow\": 64", bad, "rope_scaling.beta_slow", "64"},
        refusal{"v3", "\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 0", bad, "rms_norm_eps", "0"},
        refusal{"v3",
                "\"eos_token_id\": ",
                "\"eos_token_id\": [400, 1], \"x\": ",
                bad,
                "eos_token_id",
                "400"},
        refusal{"v3",
                "\"norm_topk_prob\": true",
                "\"norm_topk_prob\": 1",
                bad,
                "norm_topk_prob",
                "true or false"},
        refusal{"v3",
                "\"model_type\": \"deepseek_v3\"",
                "\"model_type\": \"deepseek_v32\"",
                other,
                "model_type",
                "deepseek_v32"},
        refusal{"v3",
                "\"model_type\": \"deepseek_v3\"",
                "\"model_type\": \"llama\"",
                other,
                "model_type",
                "llama"},
        refusal{"v3",
                "DeepseekV3ForCausalLM",
                "DeepseekV2ForCausalLM",
                other,
                "architectures",
                "DeepseekV2ForCausalLM"},
        refusal{"v3",
                "\"topk_method\": \"noaux_tc\"",
                "\"topk_method\": \"sqrtsoftplus\"",
                other,
                "topk_method",
                "sqrtsoftplus"},
        refusal{"v3",
                "\"scoring_func\": \"sigmoid\"",
                "\"scoring_func\": \"tanh\"",
                other,
                "scoring_func",
                "tanh"},
        refusal{"v3",
                "\"scoring_func\": \"sigmoid\"",
                "\"scoring_func\": \"softmax\"",
                other,
                "scoring_func",
                "noaux_tc"},
        refusal{"v3",
                "\"attention_bias\": false",
                "\"attention_bias\": true",
                other,
                "attention_bias",
                "true"},
        refusal{"v3",
                "\"hidden_act\": \"silu\"",
                "\"hidden_act\": \"gelu\"",
                other,
                "hidden_act",
                "gelu"},
        refusal{"v3",
                "\"type\": \"yarn\"",
                "\"type\": \"longrope\"",
                other,
                "rope_scaling.type",
                "longrope"},
        refusal{"v3-fp8",
                "\"quant_method\": \"fp8\"",
                "\"quant_method\": \"awq\"",
                other,
                "quantization_config.quant_method",
                "awq"},
        refusal{"v3-fp8",
                "\"fmt\": \"e4m3\"",
                "\"fmt\": \"e5m2\"",
                other,
                "quantization_config.fmt",
                "e5m2"},
        refusal{"v3-fp8",
                "\"weight_block_size\"",
                "\"block\"",
                other,
                "quantization_config.weight_block_size",
                "missing"}));

TEST(model_config, text_that_is_no_object_is_refused) {
  for (const std::string text : {"", "  \n", "{", "[1]", "nonsense", "{} {}", "{\"a\": NaN}"}) {
    const auto parsed = parse_config(text, "/m/config.json");
    ASSERT_TRUE(parsed.has_error()) << text;
    EXPECT_EQ(parsed.error().code(), errc::invalid_model);
    EXPECT_TRUE(parsed.error().message().starts_with("/m/config.json: "));
  }
  const auto parsed = parse_config("{\n\"a\": 1,\n]", "c");
  EXPECT_NE(parsed.error().message().find("line 3"), std::string::npos) << parsed.error().message();
  EXPECT_TRUE(parse_config(std::string(100000, '['), "c").has_error());
}

TEST(model_config, generation_config_counts_more) {
  model_config c = parse_config(golden_config("v3"), "c").value();
  ASSERT_TRUE(merge_generation_config(c, R"({"eos_token_id": [5, 6], "bos_token_id": 7})", "g"));
  EXPECT_EQ(c.eos, (std::vector<token_id>{5, 6}));
  EXPECT_EQ(c.bos, 7);
  ASSERT_TRUE(merge_generation_config(c, "{}", "g"));
  EXPECT_EQ(c.eos, (std::vector<token_id>{5, 6}));
  const auto refused = merge_generation_config(c, R"({"eos_token_id": -1})", "g");
  ASSERT_TRUE(refused.has_error());
  EXPECT_NE(refused.error().message().find("g: eos_token_id is -1"), std::string::npos);
  EXPECT_EQ(c.eos, (std::vector<token_id>{5, 6}));
}

}  // namespace
}  // namespace atl::model
