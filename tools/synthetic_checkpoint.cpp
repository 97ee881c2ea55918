#include "tools/synthetic_checkpoint.hpp"

#include "runtime/base/random.hpp"
#include "runtime/model/safetensors.hpp"
#include "runtime/model/tensor_plan.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <span>

namespace atl::tools {
namespace {

using model::model_config;
using model::tensor_kind;
using tensor::dtype;

constexpr std::size_t block_bytes = std::size_t{4} << 20;
constexpr std::size_t header_alignment = 64;
// Standard deviation of FP8 codes: 448, the largest, lies at six deviations.
constexpr double fp8_deviation = 448.0 / 6;

/// What the shapes differ in, with V2-Lite's values; the rest of config.json is common to them.
struct shape_config {
  std::string_view name = "v2-lite";
  bool is_v3 = false;
  std::int64_t vocab = 102400;
  std::int64_t hidden = 2048;
  std::int64_t layers = 27;
  std::int64_t first_dense = 1;
  std::int64_t dense_inner = 10944;
  std::int64_t expert_inner = 1408;
  std::int64_t experts = 64;
  std::int64_t shared = 2;
  std::int64_t topk = 6;
  std::int64_t groups = 1;
  std::int64_t groups_kept = 1;
  std::int64_t heads = 16;
  std::int64_t q_rank = 0;
  std::string_view topk_method = "greedy";
  std::string_view routed_scale = "1.0";
  std::string_view mscale = "0.707";
  std::int64_t bos = 100000;
  std::int64_t eos = 100001;
};

shape_config v2_shape() {
  shape_config s;
  s.name = "v2";
  s.hidden = 5120;
  s.layers = 60;
  s.dense_inner = 12288;
  s.expert_inner = 1536;
  s.experts = 160;
  s.groups = 8;
  s.groups_kept = 3;
  s.heads = 128;
  s.q_rank = 1536;
  s.topk_method = "group_limited_greedy";
  s.routed_scale = "16.0";
  return s;
}

shape_config v3_shape() {
  shape_config s = v2_shape();
  s.name = "v3";
  s.is_v3 = true;
  s.vocab = 129280;
  s.hidden = 7168;
  s.layers = 61;
  s.first_dense = 3;
  s.dense_inner = 18432;
  s.expert_inner = 2048;
  s.experts = 256;
  s.shared = 1;
  s.topk = 8;
  s.groups_kept = 4;
  s.topk_method = "noaux_tc";
  s.routed_scale = "2.5";
  s.mscale = "1.0";
  s.bos = 0;
  s.eos = 1;
  return s;
}

std::string pair(std::string_view name, std::string_view value) {
  return std::string{"  \""}.append(name).append("\": ").append(value).append(",\n");
}

std::string pair(std::string_view name, std::int64_t value) {
  return pair(name, std::to_string(value));
}

std::string quoted(std::string_view text) { return std::string{'"'}.append(text).append(1, '"'); }

/// Groups that divide the experts and hold at least two each, as near the shape's as can be.
void fit_groups(shape_config& s) {
  const auto fits = [&](std::int64_t groups) {
    return s.experts % groups == 0 && (groups == 1 || s.experts / groups >= 2);
  };
  while (s.groups > 1 && !fits(s.groups)) --s.groups;
  s.topk = std::min(s.topk, s.experts);
  s.groups_kept = std::min(s.groups_kept, s.groups);
  while (s.groups_kept * (s.experts / s.groups) < s.topk) ++s.groups_kept;
}

std::string config_text(const shape_config& s, dtype type) {
  std::string text = "{\n";
  const std::string_view family = s.is_v3 ? "3" : "2";
  text +=
      pair("architectures", std::string{"[\"DeepseekV"}.append(family).append("ForCausalLM\"]"));
  text += pair("attention_bias", "false");
  text += pair("bos_token_id", s.bos) + pair("eos_token_id", s.eos);
  text += pair("first_k_dense_replace", s.first_dense);
  text += pair("hidden_act", quoted("silu"));
  text += pair("hidden_size", s.hidden) + pair("intermediate_size", s.dense_inner);
  text += pair("kv_lora_rank", 512) + pair("max_position_embeddings", 163840);
  text += pair("model_type", quoted(std::string{"deepseek_v"}.append(family)));
  text += pair("moe_intermediate_size", s.expert_inner) + pair("moe_layer_freq", 1);
  text += pair("n_group", s.groups) + pair("n_routed_experts", s.experts);
  text += pair("n_shared_experts", s.shared);
  text += pair("norm_topk_prob", s.is_v3 ? "true" : "false");
  text += pair("num_attention_heads", s.heads) + pair("num_experts_per_tok", s.topk);
  text += pair("num_hidden_layers", s.layers) + pair("num_key_value_heads", s.heads);
  text += s.q_rank == 0 ? pair("q_lora_rank", "null") : pair("q_lora_rank", s.q_rank);
  text += pair("qk_nope_head_dim", 128) + pair("qk_rope_head_dim", 64);
  if (type == dtype::f8_e4m3)
    text +=
        pair("quantization_config",
             "{\"activation_scheme\": \"dynamic\", \"fmt\": \"e4m3\", \"quant_method\": \"fp8\", "
             "\"weight_block_size\": [128, 128]}");
  text += pair("rms_norm_eps", "1e-06");
  text += pair("rope_scaling",
               "{\"type\": \"yarn\", \"factor\": 40, \"beta_fast\": 32, \"beta_slow\": 1, "
               "\"mscale\": " +
                   std::string{s.mscale} + ", \"mscale_all_dim\": " + std::string{s.mscale} +
                   ", \"original_max_position_embeddings\": 4096}");
  text += pair("rope_theta", 10000);
  text += pair("routed_scaling_factor", s.routed_scale) +
          pair("scoring_func", quoted(s.is_v3 ? "sigmoid" : "softmax"));
  text += pair("tie_word_embeddings", "false") + pair("topk_group", s.groups_kept);
  text += pair("topk_method", quoted(s.topk_method));
  text += pair("torch_dtype", quoted(type == dtype::f32 ? "float32" : "bfloat16"));
  text += pair("v_head_dim", 128);
  return text + "  \"vocab_size\": " + std::to_string(s.vocab) + "\n}\n";
}

/// One tensor to write. Values are normal with `mean` and `deviation`.
struct written_tensor {
  std::string name;
  std::string_view type;
  std::vector<std::uint64_t> shape;
  std::size_t bytes = 0;
  double mean = 0;
  double deviation = 0;
};

std::size_t element_bytes(const written_tensor& t) {
  return t.type == "F32" ? 4 : t.type == "BF16" ? 2 : 1;
}

written_tensor make(std::string name, std::string_view type, std::vector<std::uint64_t> shape) {
  written_tensor t{.name = std::move(name), .type = type, .shape = std::move(shape)};
  t.bytes = element_bytes(t);
  for (const std::uint64_t extent : t.shape) t.bytes *= static_cast<std::size_t>(extent);
  return t;
}

void add_slot(const model::tensor_slot& slot, dtype type, std::vector<written_tensor>& list) {
  const std::string_view plain = type == dtype::f32 ? "F32" : "BF16";
  const auto rows = static_cast<std::uint64_t>(slot.rows);
  const auto cols = static_cast<std::uint64_t>(slot.cols);
  if (slot.kind == tensor_kind::norm || slot.kind == tensor_kind::bias) {
    const bool is_bias = slot.kind == tensor_kind::bias;
    written_tensor& t = list.emplace_back(make(slot.name, is_bias ? "F32" : plain, {rows}));
    t.mean = is_bias ? 0.0 : 1.0;
    t.deviation = is_bias ? 0.01 : 0.05;
    return;
  }
  // Rows of unit-variance inputs give unit variance, so that nothing grows from layer to layer.
  const bool is_embedding = slot.part == model::model_part::embeddings;
  const double deviation = is_embedding ? 1.0 : 1.0 / std::sqrt(static_cast<double>(slot.cols));
  if (slot.kind == tensor_kind::table || type != dtype::f8_e4m3) {
    list.emplace_back(make(slot.name, plain, {rows, cols})).deviation = deviation;
    return;
  }
  list.emplace_back(make(slot.name, "F8_E4M3", {rows, cols})).deviation = fp8_deviation;
  written_tensor& scale = list.emplace_back(
      make(model::scale_name(slot.name), "F32", {(rows + 127) / 128, (cols + 127) / 128}));
  scale.mean = deviation / fp8_deviation;
  scale.deviation = scale.mean * 0.05;
}

struct shard {
  std::string file;
  std::vector<written_tensor> tensors;
};

std::string shard_name(std::size_t index, std::size_t count) {
  const auto padded = [](std::size_t n) {
    const std::string digits = std::to_string(n);
    return std::string(5 - std::min<std::size_t>(5, digits.size()), '0') + digits;
  };
  if (count == 1) return "model.safetensors";
  return "model-" + padded(index + 1) + "-of-" + padded(count) + ".safetensors";
}

std::vector<shard> make_shards(std::vector<written_tensor> tensors, std::size_t shard_bytes_max) {
  std::vector<shard> shards(1);
  std::size_t bytes = 0;
  for (written_tensor& t : tensors) {
    if (bytes > 0 && bytes + t.bytes > shard_bytes_max) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += t.bytes;
    shards.back().tensors.push_back(std::move(t));
  }
  for (std::size_t i = 0; i < shards.size(); ++i) {
    shards[i].file = shard_name(i, shards.size());
    // Widest elements first, as the format's own writer does: all data are then aligned.
    std::stable_sort(shards[i].tensors.begin(), shards[i].tensors.end(), [](auto& a, auto& b) {
      return element_bytes(a) > element_bytes(b);
    });
  }
  return shards;
}

std::string header_of(const shard& s) {
  std::string header = "{\"__metadata__\":{\"format\":\"pt\"}";
  std::size_t offset = 0;
  for (const written_tensor& t : s.tensors) {
    header += ",\"" + t.name + "\":{\"dtype\":\"" + std::string{t.type} +
              "\",\"shape\":" + model::shape_text(t.shape) + ",\"data_offsets\":[" +
              std::to_string(offset) + "," + std::to_string(offset + t.bytes) + "]}";
    offset += t.bytes;
  }
  header += "}";
  header.resize(
      (header.size() + 8 + header_alignment - 1) / header_alignment * header_alignment - 8, ' ');
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i)
    length[i] = static_cast<char>(header.size() >> (8 * i) & 0xFFU);
  return length + header;
}

std::string index_of(const std::vector<shard>& shards, std::size_t total) {
  std::map<std::string, std::string> files;
  for (const shard& s : shards)
    for (const written_tensor& t : s.tensors) files[t.name] = s.file;
  std::string text =
      "{\n  \"metadata\": {\"total_size\": " + std::to_string(total) + "},\n  \"weight_map\": {";
  const char* separator = "\n";
  for (const auto& [name, file] : files) {
    text += separator + std::string{"    "} + quoted(name) + ": " + quoted(file);
    separator = ",\n";
  }
  return text + "\n  }\n}\n";
}

/// 65536 draws of one distribution, encoded: 16 random bits pick a value.
template <class T>
class value_table {
public:
  value_table(const std::vector<float>& normals, const written_tensor& t)
      : values_(normals.size()) {
    for (std::size_t i = 0; i < normals.size(); ++i) {
      const auto value = static_cast<float>(t.mean + t.deviation * static_cast<double>(normals[i]));
      if constexpr (sizeof(T) == 4)
        values_[i] = value;
      else if constexpr (sizeof(T) == 2)
        values_[i] = tensor::f32_to_bf16(value);
      else
        values_[i] = tensor::f32_to_f8_e4m3(value);
    }
  }

  void fill(random_source& random, std::span<std::byte> block) const {
    std::size_t at = 0;
    for (; at + 4 * sizeof(T) <= block.size(); at += 4 * sizeof(T)) {
      const std::uint64_t bits = random.next();
      const std::array<T, 4> four{values_[bits & 0xFFFFU],
                                  values_[bits >> 16 & 0xFFFFU],
                                  values_[bits >> 32 & 0xFFFFU],
                                  values_[bits >> 48]};
      std::memcpy(block.data() + at, four.data(), sizeof four);
    }
    for (; at < block.size(); at += sizeof(T)) {
      const T one = values_[random.next() & 0xFFFFU];
      std::memcpy(block.data() + at, &one, sizeof one);
    }
  }

private:
  std::vector<T> values_;
};

class writer {
public:
  writer(disk& files, std::uint64_t seed, const std::function<result<void>(std::size_t)>& step)
      : files_{files}, seed_{seed}, step_{step}, block_(block_bytes), normals_(65536) {
    random_source random{0x61746F6C6CULL};
    for (float& value : normals_) value = static_cast<float>(random.normal());
  }

  result<void> text(const std::string& path, const std::string& content) {
    ATOLL_ASSIGN(const std::unique_ptr<file_writer> file, files_.create(path));
    ATOLL_TRY(file->write(std::as_bytes(std::span{content})));
    return file->commit();
  }

  result<void> write(const std::string& path, const shard& s) {
    ATOLL_ASSIGN(const std::unique_ptr<file_writer> file, files_.create(path));
    const std::string header = header_of(s);
    ATOLL_TRY(file->write(std::as_bytes(std::span{header})));
    for (const written_tensor& t : s.tensors) {
      if (t.type == "F32") ATOLL_TRY(data<float>(*file, t));
      if (t.type == "BF16") ATOLL_TRY(data<std::uint16_t>(*file, t));
      if (t.type == "F8_E4M3") ATOLL_TRY(data<std::uint8_t>(*file, t));
    }
    return file->commit();
  }

private:
  template <class T>
  result<void> data(file_writer& file, const written_tensor& t) {
    std::uint64_t name_hash = 0xCBF29CE484222325ULL;  // FNV-1a
    for (const char ch : t.name)
      name_hash = (name_hash ^ static_cast<unsigned char>(ch)) * 0x100000001B3ULL;
    random_source random{name_hash ^ std::rotl(seed_ * 0x9E3779B97F4A7C15ULL, 17)};
    const value_table<T> table{normals_, t};
    for (std::size_t left = t.bytes; left > 0;) {
      const std::span<std::byte> block{block_.data(), std::min(left, block_.size())};
      table.fill(random, block);
      ATOLL_TRY(file.write(block));
      left -= block.size();
      done_ += block.size();
      if (step_) ATOLL_TRY(step_(done_));
    }
    return {};
  }

  disk& files_;
  std::uint64_t seed_;
  const std::function<result<void>(std::size_t)>& step_;
  std::vector<std::byte> block_;
  std::vector<float> normals_;
  std::size_t done_ = 0;
};

result<std::vector<written_tensor>> tensors_of(const std::string& config, dtype type) {
  model::model_weights scratch;
  ATOLL_ASSIGN(scratch.config, model::parse_config(config, "config.json"));
  std::vector<written_tensor> tensors;
  for (const model::tensor_slot& slot : model::plan_tensors(scratch)) add_slot(slot, type, tensors);
  return tensors;
}

std::size_t total_bytes(const std::vector<written_tensor>& tensors) {
  std::size_t bytes = 0;
  for (const written_tensor& t : tensors) bytes += t.bytes;
  return bytes;
}

}  // namespace

result<std::string> synthetic_config(const shape_options& options) {
  const std::array<shape_config, 3> shapes{shape_config{}, v2_shape(), v3_shape()};
  const auto* found = std::find_if(
      shapes.begin(), shapes.end(), [&](const auto& s) { return s.name == options.shape; });
  if (found == shapes.end())
    return error{errc::invalid_argument,
                 "shape \"" + options.shape + "\" is unknown; there are v2-lite, v2 and v3"};
  if (options.type == dtype::f16)
    return error{errc::invalid_argument, "type f16 is not written; choose bf16, f32 or fp8"};
  shape_config s = *found;
  s.layers = options.layers.value_or(s.layers);
  s.first_dense = std::min(s.first_dense, std::max<std::int64_t>(1, s.layers - 1));
  s.experts = options.experts.value_or(s.experts);
  if (s.layers < 1 || s.experts < 2)
    return error{errc::invalid_argument,
                 "a model needs at least 1 layer and 2 experts, asked for " +
                     std::to_string(s.layers) + " and " + std::to_string(s.experts)};
  fit_groups(s);
  std::string text = config_text(s, options.type);
  ATOLL_TRY(model::parse_config(text, "config.json"));
  return text;
}

result<std::size_t> synthetic_bytes(const std::string& config, dtype type) {
  ATOLL_ASSIGN(const std::vector<written_tensor> tensors, tensors_of(config, type));
  return total_bytes(tensors);
}

result<void> write_synthetic(disk& files,
                             const std::string& directory,
                             const std::string& config,
                             const weight_options& options,
                             const std::function<result<void>(std::size_t done)>& step) {
  ATOLL_ASSIGN(std::vector<written_tensor> tensors, tensors_of(config, options.type));
  const std::size_t total = total_bytes(tensors);
  const std::vector<shard> shards = make_shards(std::move(tensors), options.shard_bytes_max);
  writer output{files, options.seed, step};
  for (const shard& s : shards) ATOLL_TRY(output.write(directory + "/" + s.file, s));
  if (shards.size() > 1)
    ATOLL_TRY(output.text(directory + "/model.safetensors.index.json", index_of(shards, total)));
  return output.text(directory + "/config.json", config);
}

}  // namespace atl::tools
