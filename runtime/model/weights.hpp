// The weights of a model as views into its memory-mapped checkpoint: in the types they are stored
// in, never expanded or repacked. Immutable once loaded; any thread may read.
#pragma once

#include "runtime/base/disk.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/model_config.hpp"
#include "runtime/tensor/view.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace atl::model {

/// FFN(x) = down(silu(gate x) * (up x)): gate and up (inner, hidden), down (hidden, inner).
struct ffn_weights {
  tensor::weight_matrix gate, up, down;
  bool empty() const noexcept { return gate.empty(); }
};

/// With a query rank: q_a (q_rank, hidden), q_a_norm, q_b (heads * (nope + rope), q_rank), and q is
/// empty. Without: q (heads * (nope + rope), hidden), and the three are empty.
struct attention_weights {
  tensor::weight_matrix q_a, q_b, q;
  tensor::weight_matrix kv_a;       // (kv_rank + rope, hidden): latent rows, then the rope rows
  tensor::weight_matrix kv_b;       // (heads * (nope + value), kv_rank): per head k_nope, then v
  tensor::weight_matrix o;          // (hidden, heads * value)
  tensor::weight_vector q_a_norm;   // (q_rank)
  tensor::weight_vector kv_a_norm;  // (kv_rank)
};

struct layer_weights {
  tensor::weight_vector input_norm, post_attention_norm;  // (hidden)
  attention_weights attention;
  bool moe = false;
  ffn_weights dense;                      // empty in MoE layers
  tensor::weight_matrix router;           // (experts, hidden); MoE layers only, as all below
  tensor::weight_vector correction_bias;  // (experts), f32, aligned, finite; noaux_tc only
  ffn_weights shared;                     // width shared_experts * expert_inner; may be empty
  std::vector<ffn_weights> experts;
};

struct model_weights {
  model_config config;
  std::string directory;
  tensor::weight_matrix embeddings;  // (vocab, hidden)
  tensor::weight_matrix head;        // (vocab, hidden); the embeddings where they are tied
  tensor::weight_vector final_norm;  // (hidden)
  std::vector<layer_weights> layers;
  /// Bytes of the resident parts' tensors as stored (tied ones once, the MTP layer not counted).
  std::size_t bytes = 0;

  /// Keep alive what the views point into: the files, and float32 copies of scales and correction
  /// biases that are stored in another type or misaligned.
  std::vector<std::shared_ptr<const mapped_file>> files;
  std::vector<std::vector<float>> owned_floats;
};

class checkpoint;

/// Whether the checkpoint holds every tensor its configuration asks for, in the right shape and
/// type, and no unknown one. Reads headers only.
result<void> check_tensors(const checkpoint& source);

/// What a process does with a part of the weights. Headers are checked whatever it is.
enum class part_use {
  none,     // its views stay empty, none of its values are read
  mapped,   // views; whoever uses them brings them into memory, and counts them
  resident  // counted in model_weights::bytes and the memory check, and populated
};

/// The routed experts, and all else.
struct part_uses {
  part_use attention = part_use::resident;
  part_use experts = part_use::resident;
};

struct load_options {
  part_uses parts;
  std::size_t memory_limit_bytes = 0;  // 0: no limit
  std::size_t kv_bytes = 0;            // what the key-value cache will take besides the weights
  bool populate = true;                // bring resident parts into memory before returning
  /// Called on the loading thread with bytes brought into memory so far, and in all.
  std::function<void(std::size_t done, std::size_t total)> progress;
};

/// What a process needs besides weights and key-value cache; the load check adds it.
inline constexpr std::size_t memory_overhead_bytes = std::size_t{300} << 20;

/// Loads the checkpoint in `directory`. Checks every header, name, type and shape, that all scales
/// and correction biases of the parts in use are finite, and, before bringing anything into memory,
/// that weights + kv_bytes + memory_overhead_bytes fit the limit. Blocks; call from no actor.
result<std::shared_ptr<const model_weights>>
load_weights(disk& files, const std::string& directory, const load_options& options);

}  // namespace atl::model
