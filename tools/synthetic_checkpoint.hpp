// Checkpoints of published shapes with random weights, for benchmarks on machines without the real
// ones: Hugging Face layout, config.json that the loader accepts, no tokenizer. Weights are scaled
// so that activations stay near 1 and routing near uniform. The same arguments give the same bytes;
// a tensor's values depend on seed, name, shape and type only, so a model with fewer layers is a
// prefix of one with more. Blocks on files.
#pragma once

#include "runtime/base/disk.hpp"
#include "runtime/base/result.hpp"
#include "runtime/tensor/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace atl::tools {

struct shape_options {
  std::string shape;                                   // "v2-lite", "v2" or "v3"
  std::optional<std::int64_t> layers = std::nullopt;   // the shape's own by default
  std::optional<std::int64_t> experts = std::nullopt;  // routed, per layer
  tensor::dtype type = tensor::dtype::bf16;
};

/// The text of config.json. The MTP layer is left out. With fewer experts, groups and experts per
/// token shrink as far as they must.
result<std::string> synthetic_config(const shape_options& options);

struct weight_options {
  tensor::dtype type = tensor::dtype::bf16;  // bf16, f32 or f8_e4m3 (linear weights)
  std::uint64_t seed = 0;
  std::size_t shard_bytes_max = 5'000'000'000;  // one file up to here, shards of this size above
};

/// Bytes of tensor data of the model that the text of a config.json describes.
result<std::size_t> synthetic_bytes(const std::string& config, tensor::dtype type);

/// Writes config.json and the safetensors files into `directory`, which exists and is empty. Needs
/// a few megabytes of memory. `step` is told the bytes written so far; an error from it ends the
/// writing with that error. On error files already whole remain.
result<void> write_synthetic(disk& files,
                             const std::string& directory,
                             const std::string& config,
                             const weight_options& options,
                             const std::function<result<void>(std::size_t done)>& step);

}  // namespace atl::tools
