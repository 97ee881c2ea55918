// Finding a checkpoint and opening its files: config.json, generation_config.json and the
// safetensors shards, with all headers checked. Brings no weights into memory. Blocks on files;
// call from no actor. An open checkpoint is immutable.
#pragma once

#include "runtime/base/disk.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/model_config.hpp"
#include "runtime/model/safetensors.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace atl::model {

/// Looks up an environment variable; nullopt when it is not set.
using environment = std::function<std::optional<std::string>(std::string_view name)>;
environment system_environment();

/// The directory MODEL stands for: MODEL itself where it is one, or the snapshot of `org/name`
/// in the local Hugging Face cache (HF_HUB_CACHE, else HF_HOME/hub, else
/// XDG_CACHE_HOME/huggingface/hub, else HOME/.cache/huggingface/hub). Nothing is downloaded.
result<std::string> resolve_model(disk& files, const std::string& model, const environment& env);

/// config.json of `directory`, with what generation_config.json says of special tokens.
result<model_config> read_config(disk& files, const std::string& directory);

/// A tensor and the shard it lies in.
struct located_tensor {
  const safetensors_file* file = nullptr;
  const stored_tensor* tensor = nullptr;
  explicit operator bool() const noexcept { return tensor != nullptr; }
};

class checkpoint {
public:
  /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names, and no
  /// other file. Refuses shards that are missing or outside the directory, tensors that are in two
  /// shards or not where the index says.
  static result<checkpoint> open(disk& files, const std::string& directory);

  checkpoint(checkpoint&&) noexcept = default;
  checkpoint& operator=(checkpoint&&) noexcept = default;
  checkpoint(const checkpoint&) = delete;  // tensors_ points into shards_
  checkpoint& operator=(const checkpoint&) = delete;
  ~checkpoint() = default;

  const std::string& directory() const noexcept { return directory_; }
  const model_config& config() const noexcept { return config_; }
  std::span<const safetensors_file> shards() const noexcept { return shards_; }
  located_tensor find(std::string_view name) const noexcept;
  /// Of all shards, sorted by name.
  std::span<const located_tensor> tensors() const noexcept { return tensors_; }

private:
  checkpoint() = default;
  result<void> open_shards(disk& files);
  result<void> collect();

  std::string directory_;
  model_config config_;
  std::vector<safetensors_file> shards_;
  std::vector<located_tensor> tensors_;
};

}  // namespace atl::model
