#include "runtime/model/tensor_plan.hpp"
#include "runtime/model/weights.hpp"
#include "tests/unit/runtime/model/checkpoint_fixture.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace atl::model {
namespace {

const std::string fp8_weight = "model.layers.1.self_attn.kv_a_proj_with_mqa.weight";

result<std::shared_ptr<const model_weights>> load(const editable_checkpoint& checkpoint,
                                                  std::size_t pad = 0) {
  memory_disk disk = checkpoint.on_disk(pad);
  return load_weights(disk, "/m", {});
}

/// Expects a refusal whose message has all of `parts`.
void expect_refused(const editable_checkpoint& checkpoint, const std::vector<std::string>& parts) {
  const auto loaded = load(checkpoint);
  ASSERT_TRUE(loaded.has_error());
  EXPECT_EQ(loaded.error().code(), errc::invalid_model);
  for (const std::string& part : parts)
    EXPECT_NE(loaded.error().message().find(part), std::string::npos)
        << loaded.error().message() << " lacks " << part;
}

float value_at(const tensor::weight_matrix& m, std::int64_t row, std::int64_t col) {
  const auto* at = m.data + static_cast<std::size_t>(row) * m.row_bytes() +
                   static_cast<std::size_t>(col) * tensor::element_bytes(m.type);
  std::uint16_t half = 0;
  float whole = 0;
  switch (m.type) {
  case tensor::dtype::f8_e4m3:
    return tensor::f8_e4m3_to_f32(std::to_integer<std::uint8_t>(*at)) * m.scale(row, col);
  case tensor::dtype::bf16: std::memcpy(&half, at, 2); return tensor::bf16_to_f32(half);
  case tensor::dtype::f16: std::memcpy(&half, at, 2); return tensor::f16_to_f32(half);
  case tensor::dtype::f32: std::memcpy(&whole, at, 4); return whole;
  }
  return 0;
}

class golden_cases : public testing::TestWithParam<std::string> {};

TEST_P(golden_cases, load_whole_from_the_file_system) {
  const auto disk = system_disk();
  std::size_t last = 0;
  std::size_t all = 0;
  load_options options;
  options.progress = [&](std::size_t done, std::size_t total) {
    EXPECT_GE(done, last);
    last = done;
    all = total;
  };
  const auto loaded = load_weights(*disk, golden_directory(GetParam()), options);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
  const model_weights& w = **loaded;
  EXPECT_EQ(last, all);
  EXPECT_GE(all, w.bytes);  // joined ranges may hold small gaps
  ASSERT_EQ(w.layers.size(), static_cast<std::size_t>(w.config.layers));
  EXPECT_FALSE(w.embeddings.empty());
  EXPECT_FALSE(w.head.empty());
  EXPECT_FALSE(w.final_norm.empty());
  for (std::size_t i = 0; i < w.layers.size(); ++i) {
    const layer_weights& layer = w.layers[i];
    EXPECT_EQ(layer.moe, static_cast<std::int64_t>(i) >= w.config.first_dense);
    EXPECT_EQ(layer.dense.empty(), layer.moe);
    EXPECT_EQ(layer.experts.size(), layer.moe ? w.config.routed_experts : 0);
    EXPECT_EQ(layer.attention.q.empty(), w.config.q_rank > 0);
    EXPECT_EQ(layer.attention.q_a.empty(), w.config.q_rank == 0);
    EXPECT_EQ(layer.attention.kv_a_norm.count, w.config.kv_rank);
    if (layer.moe) {
      EXPECT_EQ(layer.shared.gate.rows, w.config.shared_inner());
      EXPECT_EQ(layer.correction_bias.empty(), w.config.topk != topk_method::noaux_tc);
      for (const ffn_weights& expert : layer.experts) EXPECT_FALSE(expert.down.empty());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    all,
    golden_cases,
    testing::Values("v2-lite", "v2", "v3", "v3-fp8", "v3-norope-scaling", "v3-many", "tiny"));

TEST(weights, views_point_at_the_stored_values) {
  const editable_checkpoint source{"v3"};
  const auto loaded = load(source);
  ASSERT_TRUE(loaded.has_value());
  const auto& up = (*loaded)->layers[2].experts[7].up;
  const test_tensor& stored = source.tensors.at("model.layers.2.mlp.experts.7.up_proj.weight");
  EXPECT_EQ(0, std::memcmp(up.data, stored.data.data(), stored.data.size()));
  const auto& kv_b = (*loaded)->layers[0].attention.kv_b;
  const test_tensor& kv = source.tensors.at("model.layers.0.self_attn.kv_b_proj.weight");
  EXPECT_EQ(0, std::memcmp(kv_b.data, kv.data.data(), kv.data.size()));
}

TEST(weights, the_mtp_layer_is_kept_out) {
  editable_checkpoint with{"v3"};
  const auto first = load(with);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ((*first)->layers.size(), 4U);
  EXPECT_EQ((*first)->config.mtp_layers, 1);
  std::size_t main_bytes = 0;
  for (auto it = with.tensors.begin(); it != with.tensors.end();) {
    if (layer_of(it->first) == 4) {
      it = with.tensors.erase(it);
    } else {
      main_bytes += it->second.data.size();
      ++it;
    }
  }
  EXPECT_EQ((*first)->bytes, main_bytes);
  EXPECT_TRUE(load(with).has_value());
}

TEST(weights, layer_numbers_are_compared_as_numbers) {
  EXPECT_EQ(layer_of("model.layers.6.mlp.gate.weight"), 6);
  EXPECT_EQ(layer_of("model.layers.61.eh_proj.weight"), 61);
  EXPECT_EQ(layer_of("model.layers.610.eh_proj.weight"), 610);
  EXPECT_EQ(layer_of("model.layers.06.mlp.gate.weight"), -1);
  EXPECT_EQ(layer_of("model.layers.x.mlp.gate.weight"), -1);
  EXPECT_EQ(layer_of("model.layers.6"), -1);
  EXPECT_EQ(layer_of("model.norm.weight"), -1);
  EXPECT_EQ(layer_of("model.layers.99999999999999999999.x"), -1);
}

TEST(weights, a_layer_too_many_that_is_no_mtp_layer_is_refused) {
  editable_checkpoint c{"v3"};
  c.replace("\"num_hidden_layers\": 4", "\"num_hidden_layers\": 3");
  expect_refused(c, {"model.layers.3.", "num_hidden_layers is 3"});
}

TEST(weights, a_missing_layer_is_refused) {
  editable_checkpoint c{"v2-lite"};
  c.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4");
  expect_refused(c, {"model.layers.3.input_layernorm.weight is missing"});
}

TEST(weights, tied_embeddings_serve_as_head) {
  editable_checkpoint c{"v3-norope-scaling"};
  const auto loaded = load(c);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ((*loaded)->head.data, (*loaded)->embeddings.data);
  c.replace("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
  expect_refused(c, {"lm_head.weight is missing"});
}

TEST(weights, a_misnamed_tensor_is_refused_by_name) {
  editable_checkpoint c{"v2-lite"};
  c.tensors["model.layers.1.mlp.extra.weight"] = c.tensors["model.norm.weight"];
  expect_refused(c, {"/m/model.safetensors", "model.layers.1.mlp.extra.weight", "misnamed"});
}

TEST(weights, inverse_frequencies_are_ignored) {
  editable_checkpoint c{"v2-lite"};
  c.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = c.tensors["model.norm.weight"];
  EXPECT_TRUE(load(c).has_value());
}

TEST(weights, wrong_shapes_and_types_are_refused) {
  editable_checkpoint shape{"v2-lite"};
  std::swap(shape.tensors["model.layers.0.mlp.up_proj.weight"].shape[0],
            shape.tensors["model.layers.0.mlp.up_proj.weight"].shape[1]);
  expect_refused(shape, {"mlp.up_proj.weight", "[64, 160]", "[160, 64]"});
  editable_checkpoint type{"v2-lite"};
  type.tensors["model.layers.0.mlp.up_proj.weight"].dtype = "I32";
  expect_refused(type, {"mlp.up_proj.weight", "I32", "BF16"});
  editable_checkpoint narrow{"v2-lite"};  // kv_a_layernorm covers the latent only
  narrow.tensors["model.layers.0.self_attn.kv_a_layernorm.weight"].shape = {48};
  narrow.tensors["model.layers.0.self_attn.kv_a_layernorm.weight"].data.resize(48 * 4);
  expect_refused(narrow, {"kv_a_layernorm", "[48]", "[32]"});
}

TEST(weights, a_model_of_another_router_family_is_refused) {
  editable_checkpoint c{"v3"};
  c.tensors.erase("model.layers.1.mlp.gate.e_score_correction_bias");
  expect_refused(c, {"e_score_correction_bias is missing"});
}

TEST(weights, fp8_scales_cover_ragged_blocks_and_other_shards) {
  const auto disk = system_disk();
  const auto loaded = load_weights(*disk, golden_directory("v3-fp8"), {});
  ASSERT_TRUE(loaded.has_value());
  const editable_checkpoint c{"v3-fp8"};
  const auto& kv_a = (*loaded)->layers[1].attention.kv_a;  // 152 x 160: two ragged blocks each way
  ASSERT_EQ(kv_a.rows, 152);
  ASSERT_EQ(kv_a.cols, 160);
  ASSERT_EQ(kv_a.scale_cols, 2);
  const test_tensor& w = c.tensors.at(fp8_weight);
  const test_tensor& s = c.tensors.at(fp8_weight + "_scale_inv");
  const auto at = [&](std::size_t row, std::size_t col) {
    float scale = 0;
    std::memcpy(&scale, s.data.data() + (row / 128 * 2 + col / 128) * 4, 4);
    return tensor::f8_e4m3_to_f32(std::to_integer<std::uint8_t>(w.data[row * 160 + col])) * scale;
  };
  for (const std::size_t row : {0U, 127U, 128U, 151U})
    for (const std::size_t col : {0U, 127U, 128U, 159U})
      EXPECT_EQ(value_at(kv_a, static_cast<std::int64_t>(row), static_cast<std::int64_t>(col)),
                at(row, col));
}

TEST(weights, fp8_without_scales_is_refused) {
  editable_checkpoint c{"v3-fp8"};
  c.tensors.erase(fp8_weight + "_scale_inv");
  expect_refused(c, {fp8_weight, "scales", "missing"});
}

TEST(weights, a_scale_grid_rounded_down_is_refused) {
  editable_checkpoint c{"v3-fp8"};
  test_tensor& scale = c.tensors[fp8_weight + "_scale_inv"];
  scale.shape = {1, 2};
  scale.data.resize(8);
  expect_refused(c, {fp8_weight + "_scale_inv", "[1, 2]", "[2, 2]"});
}

TEST(weights, scales_of_unscaled_weights_are_refused) {
  editable_checkpoint c{"v3-fp8"};
  test_tensor& w = c.tensors[fp8_weight];
  w.dtype = "BF16";
  w.data.resize(w.data.size() * 2);
  expect_refused(c, {fp8_weight + "_scale_inv", "BF16"});
}

TEST(weights, fp8_is_refused_where_it_is_never_used) {
  for (const std::string name : {"model.embed_tokens.weight", "model.layers.1.mlp.gate.weight"}) {
    editable_checkpoint c{"v3-fp8"};
    test_tensor& w = c.tensors[name];
    w.dtype = "F8_E4M3";
    w.data.resize(w.data.size() / 2);
    expect_refused(c, {name, "F8_E4M3"});
  }
}

TEST(weights, values_that_are_not_finite_are_refused) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    editable_checkpoint scale{"v3-fp8"};
    std::memcpy(scale.tensors[fp8_weight + "_scale_inv"].data.data() + 12, &bad, 4);
    expect_refused(scale, {fp8_weight + "_scale_inv", "value 3", "NaN or infinite"});
    editable_checkpoint bias{"v3"};
    std::memcpy(
        bias.tensors["model.layers.1.mlp.gate.e_score_correction_bias"].data.data(), &bad, 4);
    expect_refused(bias, {"e_score_correction_bias", "value 0", "NaN or infinite"});
  }
}

TEST(weights, power_of_two_scales_are_widened) {
  editable_checkpoint c{"v3-fp8"};
  test_tensor& scale = c.tensors[fp8_weight + "_scale_inv"];
  scale.dtype = "F8_E8M0";
  scale.data = {std::byte{127}, std::byte{120}, std::byte{130}, std::byte{128}};
  const auto loaded = load(c);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
  const auto& kv_a = (*loaded)->layers[1].attention.kv_a;
  EXPECT_EQ(kv_a.scale(0, 0), 1.0F);
  EXPECT_EQ(kv_a.scale(0, 128), 0x1p-7F);
  EXPECT_EQ(kv_a.scale(128, 0), 8.0F);
  EXPECT_EQ(kv_a.scale(151, 159), 2.0F);
  scale.data[2] = std::byte{255};
  expect_refused(c, {fp8_weight + "_scale_inv", "value 2", "NaN"});
}

TEST(weights, misaligned_files_load_the_same) {
  const editable_checkpoint c{"v3-fp8"};
  const auto straight = load(c);
  const auto shifted = load(c, 3);
  ASSERT_TRUE(straight.has_value());
  ASSERT_TRUE(shifted.has_value()) << shifted.error().message();
  const auto& a = **straight;
  const auto& b = **shifted;
  EXPECT_FALSE(b.owned_floats.empty());
  const auto& bias = b.layers[1].correction_bias;
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bias.data) % alignof(float), 0U);
  EXPECT_EQ(0, std::memcmp(bias.data, a.layers[1].correction_bias.data, 8 * 4));
  const auto& down = b.layers[2].experts[5].down;
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(down.scales) % alignof(float), 0U);
  for (std::int64_t row = 0; row < down.rows; row += 13)
    EXPECT_EQ(value_at(down, row, 129), value_at(a.layers[2].experts[5].down, row, 129));
}

TEST(weights, a_bfloat16_bias_is_widened) {
  editable_checkpoint c{"v3"};
  test_tensor& bias = c.tensors["model.layers.1.mlp.gate.e_score_correction_bias"];
  bias.dtype = "BF16";
  bias.data.assign(32, std::byte{0});
  const std::uint16_t minus_half = 0xBF00;
  std::memcpy(bias.data.data() + 6, &minus_half, 2);
  const auto loaded = load(c);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
  const auto& vector = (*loaded)->layers[1].correction_bias;
  EXPECT_EQ(vector.type, tensor::dtype::f32);
  float value = 0;
  std::memcpy(&value, vector.data + 12, 4);
  EXPECT_EQ(value, -0.5F);
}

/// The experts of all MoE layers as transformers 5 would save them.
editable_checkpoint fused(const std::string& name, int experts) {
  editable_checkpoint c{name};
  for (const int layer : {1, 2}) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".mlp.experts.";
    test_tensor gate_up;
    test_tensor down;
    for (int e = 0; e < experts; ++e) {
      const std::string one = prefix + std::to_string(e) + ".";
      for (const std::string part : {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}) {
        const auto node = c.tensors.extract(one + part);
        const test_tensor& t = node.mapped();
        test_tensor& target = part.starts_with("down") ? down : gate_up;
        target.dtype = t.dtype;
        target.shape = {static_cast<std::uint64_t>(experts),
                        part.starts_with("down") ? t.shape[0] : 2 * t.shape[0],
                        t.shape[1]};
        target.data.insert(target.data.end(), t.data.begin(), t.data.end());
      }
    }
    c.tensors[prefix + "gate_up_proj"] = gate_up;
    c.tensors[prefix + "down_proj"] = down;
  }
  return c;
}

TEST(weights, fused_experts_are_taken_apart) {
  const auto whole = load(editable_checkpoint{"v2"});
  const auto loaded = load(fused("v2", 24));
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message();
  for (const std::size_t e : {0U, 11U, 23U}) {
    const ffn_weights& a = (*whole)->layers[2].experts[e];
    const ffn_weights& b = (*loaded)->layers[2].experts[e];
    for (const auto matrix : {&ffn_weights::gate, &ffn_weights::up, &ffn_weights::down}) {
      ASSERT_EQ((b.*matrix).rows, (a.*matrix).rows);
      EXPECT_EQ(0, std::memcmp((a.*matrix).data, (b.*matrix).data, (a.*matrix).bytes()));
    }
  }
}

TEST(weights, transposed_fused_experts_are_refused) {
  editable_checkpoint c = fused("v2", 24);
  auto& shape = c.tensors["model.layers.1.mlp.experts.gate_up_proj"].shape;
  std::swap(shape[1], shape[2]);
  expect_refused(c, {"experts.gate_up_proj", "[24, 80, 64]", "[24, 64, 80]"});
}

TEST(weights, what_cannot_fit_is_refused_with_the_sum) {
  const auto disk = system_disk();
  const std::string directory = golden_directory("v2-lite");
  load_options options;
  bool is_populating = false;
  options.progress = [&](std::size_t, std::size_t) { is_populating = true; };
  options.kv_bytes = std::size_t{2} << 30;
  const std::size_t weights_bytes = (*load_weights(*disk, directory, {}))->bytes;
  options.memory_limit_bytes = weights_bytes + options.kv_bytes + memory_overhead_bytes - 1;
  const auto refused = load_weights(*disk, directory, options);
  ASSERT_TRUE(refused.has_error());
  EXPECT_EQ(refused.error().code(), errc::out_of_memory);
  EXPECT_NE(refused.error().message().find("2.0 GiB for the key-value cache"), std::string::npos)
      << refused.error().message();
  EXPECT_FALSE(is_populating);
  ++options.memory_limit_bytes;
  EXPECT_TRUE(load_weights(*disk, directory, options).has_value());
  options.kv_bytes = std::numeric_limits<std::size_t>::max();
  EXPECT_TRUE(load_weights(*disk, directory, options).has_error());
}

/// Bytes of the main model's routed experts, scales included.
std::size_t expert_bytes(const editable_checkpoint& c, std::int64_t layers) {
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : c.tensors)
    if (name.find(".experts.") != std::string::npos && layer_of(name) < layers)
      bytes += tensor.data.size();
  return bytes;
}

result<std::shared_ptr<const model_weights>>
load_parts(const editable_checkpoint& c, part_uses parts, std::size_t* populated = nullptr) {
  memory_disk disk = c.on_disk();
  load_options options;
  options.parts = parts;
  options.progress = [&](std::size_t, std::size_t total) {
    if (populated != nullptr) *populated = total;
  };
  return load_weights(disk, "/m", options);
}

TEST(weights, parts_that_are_not_used_have_no_views_and_cost_nothing) {
  const editable_checkpoint source{"v3-fp8"};
  std::size_t whole = 0;
  std::size_t populated = 0;
  const auto all = load_parts(source, {}, &whole);
  ASSERT_TRUE(all.has_value());
  const auto attention = load_parts(source, {part_use::resident, part_use::none}, &populated);
  ASSERT_TRUE(attention.has_value());
  EXPECT_EQ((*attention)->bytes, (*all)->bytes - expert_bytes(source, (*all)->config.layers));
  EXPECT_LT(populated, whole);
  EXPECT_FALSE((*attention)->embeddings.empty());
  EXPECT_FALSE((*attention)->layers[2].shared.down.empty());
  EXPECT_FALSE((*attention)->layers[2].correction_bias.empty());
  ASSERT_EQ((*attention)->layers[2].experts.size(), (*all)->layers[2].experts.size());
  for (const ffn_weights& e : (*attention)->layers[2].experts)
    EXPECT_TRUE(e.gate.empty() && e.up.empty() && e.down.empty());

  const auto experts = load_parts(source, {part_use::none, part_use::mapped}, &populated);
  ASSERT_TRUE(experts.has_value());
  EXPECT_EQ((*experts)->bytes, 0U);
  EXPECT_EQ(populated, 0U);
  const layer_weights& layer = (*experts)->layers[2];
  EXPECT_TRUE((*experts)->embeddings.empty() && (*experts)->head.empty());
  EXPECT_TRUE(layer.router.empty() && layer.input_norm.empty() && layer.correction_bias.empty());
  EXPECT_TRUE(layer.attention.o.empty() && layer.shared.gate.empty());
  const auto& up = layer.experts[7].up;
  const auto& same = (*all)->layers[2].experts[7].up;
  ASSERT_FALSE(up.empty());
  for (std::int64_t r = 0; r < up.rows; ++r)
    for (std::int64_t c = 0; c < up.cols; ++c) ASSERT_EQ(value_at(up, r, c), value_at(same, r, c));
}

TEST(weights, parts_that_are_not_used_are_still_checked_by_their_headers) {
  editable_checkpoint missing{"v3"};
  missing.tensors.erase("model.layers.2.mlp.experts.7.up_proj.weight");
  EXPECT_TRUE(load_parts(missing, {part_use::resident, part_use::none}).has_error());
  editable_checkpoint short_one{"v3"};
  auto& norm = short_one.tensors.at("model.norm.weight");
  norm.shape[0] /= 2;
  norm.data.resize(norm.data.size() / 2);
  EXPECT_TRUE(load_parts(short_one, {part_use::none, part_use::mapped}).has_error());
}

TEST(weights, the_memory_check_counts_resident_parts_alone) {
  const auto disk = system_disk();
  const std::string directory = golden_directory("v3");
  load_options options;
  options.memory_limit_bytes =
      (*load_weights(*disk, directory, {}))->bytes + memory_overhead_bytes - 1;
  EXPECT_TRUE(load_weights(*disk, directory, options).has_error());
  options.parts.experts = part_use::mapped;
  EXPECT_TRUE(load_weights(*disk, directory, options).has_value());
}

}  // namespace
}  // namespace atl::model
