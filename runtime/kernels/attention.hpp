// The core of absorbed MLA over paged latent storage, all in float32. For query row q = [qa | q_pe]
// at position p, over the keys c_t = [latent | k_pe] of its sequence with t <= p:
//   s_t = scale * (q . c_t)     z = sum_t softmax(s)_t * latent_t
// (DeepSeek-V2 report, section 2.1, absorbed form).
//
// Query rows of one slice are counted r = token * heads + head, and computed 16 at a time, one a
// vector lane: group g holds rows 16 g .. 16 g + 15. The result of a row depends on that row and
// its keys alone: the same bits whatever stands in the other lanes, whatever groups are computed
// together, by one worker or by several, on every instruction set. The order of operations, per
// row:
//   - a context is cut at multiples of attention_split_tokens positions;
//   - in a split: s_t by one chain of fma over k ascending from 0, then times scale; m = max s_t;
//     p_t = e^(s_t - m) (exp_f32); l = sum p_t, and z_k by one chain of fma, over t ascending from
//     0;
//   - splits are folded in ascending order into a state that starts at (m, l, z) = (-inf, 0, 0):
//     M = max(m, m_s); a = e^(m - M); b = e^(m_s - M); l = fma(l_s, b, l * a);
//     z = fma(z_s, b, z * a); m = M. A split without a visible key changes nothing;
//   - the result is fma(z, 1 / l, 0) (so that zero is never negative).
//
// Two ways to use it, with equal results. Prompts: tile() computes a few groups over all splits.
// Decoding over a long context: split() computes one split of a few groups, on any worker, into
// `partials`; when all are done, fold() combines those of a group.
//
// Pure functions; any thread. Pointers to float must be aligned to 4 bytes, scratch and partials
// to 64 to be fast. Only keys at positions below first_position + tokens are read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace atl::kernels {

enum class isa : std::uint8_t;  // runtime/kernels/isa.hpp

inline constexpr std::int64_t attention_lanes = 16;
/// Positions of a split: the borders are part of the numeric class.
inline constexpr std::int64_t attention_split_tokens = 256;
/// Most groups one call of tile() or split() takes.
inline constexpr std::int64_t attention_tile_groups = 4;

struct attention_shape {
  std::int64_t heads = 0;
  std::int64_t kv_rank = 0;   // latent values of a key, also the width of z
  std::int64_t rope_dim = 0;  // rotated values of a key, after the latent ones
  float scale = 1;            // of the scores, YaRN's factor included

  std::int64_t key_floats() const noexcept { return kv_rank + rope_dim; }
};

/// Latent rows of one sequence and layer: the row of position t is key_floats() values at
/// pages[t / page_tokens] + offset + (t % page_tokens) * key_floats(). page_tokens divides
/// attention_split_tokens.
struct latent_pages {
  const float* const* pages = nullptr;
  std::int64_t page_tokens = 64;
  std::int64_t offset = 0;  // floats, for pages that hold more than one layer
};

/// Rows (tokens, heads, width) with any distance, in floats, between tokens and between heads.
struct head_rows {
  const float* data = nullptr;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
};

/// Consecutive tokens of one sequence; token i stands at position first_position + i.
struct query_slice {
  head_rows latent;  // qa, kv_rank wide
  head_rows rope;    // q_pe, rotated, rope_dim wide
  std::int64_t tokens = 0;
  std::int64_t first_position = 0;
};

/// Groups of a slice: ceil(tokens * heads / 16).
std::int64_t attention_groups(const attention_shape& shape, std::int64_t tokens) noexcept;

/// Splits that the slice's last token sees.
std::int64_t attention_splits(const query_slice& queries) noexcept;

/// Scratch of one call with `groups` groups.
std::size_t attention_scratch_bytes(const attention_shape& shape, std::int64_t groups) noexcept;

/// Floats that split() writes for one (group, split).
std::size_t attention_partial_floats(const attention_shape& shape) noexcept;

struct attention_kernels {
  /// z (tokens, heads, kv_rank), row-major: the rows of groups [first_group, first_group + groups).
  void (*tile)(const attention_shape& shape,
               const query_slice& queries,
               const latent_pages& keys,
               std::int64_t first_group,
               std::int64_t groups,
               float* z,
               void* scratch);

  /// The partial results of one split for some groups, at
  /// partials + (group * attention_splits(queries) + split) * attention_partial_floats(shape).
  void (*split)(const attention_shape& shape,
                const query_slice& queries,
                const latent_pages& keys,
                std::int64_t first_group,
                std::int64_t groups,
                std::int64_t split,
                float* partials,
                void* scratch);

  /// Folds all splits of one group and writes its rows of z (tokens, heads, kv_rank). Changes the
  /// group's partials.
  void (*fold)(const attention_shape& shape,
               const query_slice& queries,
               std::int64_t group,
               float* partials,
               float* z);

  /// The functions for an instruction set, which the machine must have.
  static attention_kernels make(isa set) noexcept;
};

}  // namespace atl::kernels
