// The shape of a cluster in one process, and the choice of what was left open. Plain values.
#pragma once

#include "cluster/routing.hpp"
#include "runtime/base/result.hpp"
#include "runtime/kernels/isa.hpp"
#include "runtime/kernels/matmul.hpp"
#include "runtime/model/model_config.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace atl::actors {

inline constexpr std::int64_t queue_size_max = 1 << 20;

/// The shape of a cluster. Zero or empty means: choose from the model and the machine (resolved()
/// says what was chosen).
struct cluster_options {
  int attention_shards = 1;
  int expert_groups = 1;
  int replicas = 1;       // copies of each expert, in different groups; <= expert_groups
  int threads = 0;        // workers of the CPU device; 0: the cores this process may use
  int sequences_max = 8;  // per shard, in flight (--batch-size)
  std::int64_t context_max =
      0;  // tokens of one sequence, prompt and answer; 0: the model's own limit
  std::int64_t prefill_chunk = 512;  // most prompt tokens of one sequence in one step
  // Percent of its quiet time that a stream's token may take while prompts that came later are
  // computed; 0: however long.
  int stream_slowdown = 160;
  std::int64_t prefill_floor = 4;      // least prompt tokens in a step, whatever streams feel
  int lane_sequences_min = 32;         // a micro-batch takes so many before the next gets some
  int micro_batches = 2;               // in flight per shard
  std::int64_t group_rows_max = 8192;  // rows in flight per shard and expert group (credits)
  // Of the rows of one expert in a step, a copy takes so many times its fair share before the rows
  // prefer another (--capacity-factor).
  double capacity_factor = cluster::capacity_factor_default;
  std::size_t kv_bytes =
      0;  // latent storage of all shards together; 0: what sequences_max x context_max need
  bool prefix_cache = true;  // requests of one scope share the pages of a common beginning
  int queued_max = 1024;     // requests waiting at the gateway (--queue-size)
  // Prompt and new tokens that all requests inside may reserve beyond the latents' storage; 0:
  // 16,384 for each that may wait (--queue-tokens).
  std::int64_t queued_tokens = 0;
  std::optional<kernels::isa> isa = {};  // empty: the best this machine has
  kernels::numerics numerics = kernels::numerics::invariant;
  // Rows between routers and expert groups, in both directions: f32, bf16 or f8_e4m3
  // (--activations).
  tensor::dtype activations = tensor::dtype::f32;
};

/// Fills in what was left to choose and refuses what cannot be, naming option, value and remedy.
result<cluster_options> resolved(const cluster_options& asked, const model::model_config& config);

/// Bytes of latent storage that resolved options ask for.
std::size_t kv_bytes_needed(const cluster_options& options, const model::model_config& config);

}  // namespace atl::actors
