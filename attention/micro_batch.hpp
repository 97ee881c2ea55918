// What an attention shard works on in one step: rows of tokens of several sequences, and the
// activations they pass through. Filled by its owner, sized and filled with numbers by the jobs of
// shard_compute, reused step after step (buffers only grow).
//
// One owner at a time: while a job over the batch is open, nobody else touches it, except that
// normed() may be read and routed() written between attend() and finish() of a layer.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/memory.hpp"

#include <cstdint>
#include <vector>

namespace atl::attention {

/// Consecutive rows of one sequence: positions [first_position, first_position + tokens), which are
/// rows [first_row, first_row + tokens) of the batch. A sequence has at most one slice in a batch.
struct slice {
  /// Latent pages of the sequence in order, covering positions [0, first_position + tokens). Pages
  /// that hold positions of this slice belong to this sequence alone.
  std::vector<std::uint32_t> pages;
  std::int64_t first_position = 0;
  std::int64_t tokens = 0;
  std::int64_t first_row = 0;
};

class micro_batch {
public:
  // Set before embed(), then left alone until the step's last job has ended.
  std::vector<token_id> tokens;          // one a row, in [0, vocabulary)
  std::vector<slice> slices;             // cover all rows, in order of first_row
  std::vector<std::int64_t> logit_rows;  // rows whose logits are wanted, in the order of logits()

  /// False: from the last layer's attention on, only logit_rows go on (if they ascend), as nothing
  /// else is asked for; their results have the same bits.
  bool keep_all_rows = true;

  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(tokens.size()); }
  /// Rows of residual(), normed() and routed() after the attend job made last: rows(), or the count
  /// of logit_rows where only they go on.
  std::int64_t ffn_rows() const noexcept { return ffn_rows_; }
  void clear() {
    tokens.clear();
    slices.clear();
    logit_rows.clear();
    keep_all_rows = true;
  }

  // Float32, row-major. Valid from embed() on; addresses stay the same until the next embed().
  /// The residual stream (rows, hidden).
  const float* residual() const noexcept { return residual_.as<float>(); }
  /// Input of the layer's FFN, that is of router, routed and shared experts (rows, hidden).
  const float* normed() const noexcept { return normed_.as<float>(); }
  /// Where the routed experts' weighted sum belongs before finish() (rows, hidden).
  float* routed() noexcept { return routed_.as<float>(); }
  /// After head(): (logit_rows, vocabulary).
  const float* logits() const noexcept { return logits_.as<float>(); }

private:
  friend class shard_compute;

  /// What a chunk of the attention core computes: some groups of a slice, in all splits or in one.
  struct attention_piece {
    std::uint32_t slice = 0;
    std::int64_t first_group = 0, groups = 0;
    std::int64_t split = -1;   // -1: all
    std::size_t partials = 0;  // of the slice: index into partials_
  };

  aligned_buffer residual_, normed_, routed_, logits_;
  aligned_buffer packed_;     // activations as the matrix kernels want them
  aligned_buffer angles_;     // (rows, 2, rope / 2): cos, sin
  aligned_buffer query_low_;  // (rows, q_rank)
  aligned_buffer query_;      // (rows, heads, nope + rope)
  aligned_buffer latent_;     // (rows, kv_rank + rope), before norm and rope
  aligned_buffer absorbed_;   // (rows, heads, kv_rank): queries in latent space
  aligned_buffer mixed_;      // (rows, heads, kv_rank): weighted latents
  aligned_buffer partials_;   // of split attention
  aligned_buffer values_;     // (rows, heads, value_dim)
  aligned_buffer attended_;   // (rows, hidden): o_proj, until it is added
  aligned_buffer gate_, up_;  // (rows, width of the FFN)
  aligned_buffer ffn_out_;    // (rows, hidden): dense layer or shared experts, until added
  std::vector<attention_piece> pieces_, folds_;  // the same in all layers
  std::vector<std::int64_t> positions_;          // of the rows
  std::vector<const float*> page_starts_;        // of all slices, one after the other
  std::vector<std::size_t> slice_pages_;         // where each slice begins in page_starts_
  std::int64_t ffn_rows_ = 0;
  std::int64_t layer_ = 0;  // of the open job
};

}  // namespace atl::attention
