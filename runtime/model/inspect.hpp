// What a checkpoint holds, told from its headers: parameters, bytes by part and by type, the size
// of its key-value cache, and whether this build can run it. Loads no weights. Blocks on files.
#pragma once

#include "runtime/base/disk.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/model_config.hpp"
#include "runtime/model/tensor_plan.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace atl::model {

/// Values of the main model, scales and the MTP layer not counted.
struct parameter_counts {
  std::int64_t total = 0;
  std::int64_t active = 0;  // used for one token: all but the routed experts not chosen
  std::array<std::int64_t, model_part_count> by_part{};  // indexed by model_part
};

parameter_counts count_parameters(const model_config& config);

/// Bytes a token takes in the latent key-value cache, over all layers, kept in float32.
std::int64_t kv_bytes_per_token(const model_config& config);

struct inspection {
  std::string directory;
  /// Empty where this build can run the checkpoint; else names the file and the field or tensor.
  std::string unsupported;
  std::optional<model_config> config;  // empty where config.json itself cannot be used
  parameter_counts parameters;
  std::size_t shards = 0;
  std::size_t tensors = 0;
  std::size_t bytes = 0;                                      // of all tensors as stored
  std::array<std::size_t, model_part_count> bytes_by_part{};  // scales with their weights
  std::size_t bytes_other = 0;                                // tensors that no part uses
  std::map<std::string, std::size_t> bytes_by_type;           // by the file format's names
  std::int64_t kv_bytes_per_token = 0;

  bool is_supported() const noexcept { return unsupported.empty(); }
};

/// Errors only for files that are missing or damaged; what is merely not supported is told in the
/// answer.
result<inspection> inspect(disk& files, const std::string& directory);

std::string to_json(const inspection& report);
std::string to_text(const inspection& report);

}  // namespace atl::model
