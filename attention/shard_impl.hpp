// Inside of shard_compute: the phases that its jobs are made of. Every phase is a member function
// of (batch, chunk, worker); which rows and which weight rows a chunk stands for follows from the
// batch and the layer alone.
#pragma once

#include "attention/shard_compute.hpp"
#include "runtime/kernels/attention.hpp"
#include "runtime/kernels/rope_table.hpp"
#include "runtime/kernels/rows.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>

namespace atl::attention {

/// `all` items in chunks of `by`.
constexpr std::uint32_t chunks_of(std::int64_t all, std::int64_t by) {
  return static_cast<std::uint32_t>((all + by - 1) / by);
}

class shard_compute::impl {
public:
  /// Rows that one chunk of row-wise work takes: what the matrix kernels pack at once.
  static constexpr std::int64_t tile_rows = kernels::matmul::pack_tokens();
  /// Rows that a chunk of per-head work takes: a head's weights are read once for them.
  static constexpr std::int64_t head_rows = 64;

  impl(std::shared_ptr<const model::model_weights> weights,
       const options& chosen,
       kernels::matmul multiplier,
       kernels::rope_table rope);

  const model::model_config& config() const noexcept { return weights_->config; }
  const model::layer_weights& layer(std::int64_t index) const {
    return weights_->layers[static_cast<std::size_t>(index)];
  }
  std::size_t kv_pages() const noexcept { return kv_pages_; }

  /// Sizes the buffers and checks that the slices cover the rows.
  void prepare(micro_batch& batch);

  // Each appends its phases to the job; batch.layer_ is set.
  void add_embed(tensor::job& job, micro_batch& batch);
  void add_finish(tensor::job& job, micro_batch& batch);  // of layer_ - 1
  void add_attend(tensor::job& job, micro_batch& batch);
  void add_ffn(tensor::job& job, micro_batch& batch);  // dense or shared, into ffn_out_
  void add_dense_sum(tensor::job& job, micro_batch& batch);
  void add_head(tensor::job& job, micro_batch& batch);

private:
  using phase_member = void (impl::*)(micro_batch&, std::uint32_t, tensor::worker&);
  template <phase_member Member>
  void add(tensor::job& job, micro_batch& batch, std::uint32_t chunks) {
    // Two pointers: what std::function holds without allocating.
    job.phases.push_back({chunks, [self = this, of = &batch](std::uint32_t i, tensor::worker& on) {
                            (self->*Member)(*of, i, on);
                          }});
  }

  /// Rows [first, end) of chunk `i` of row-wise work.
  struct row_range {
    std::int64_t first, end;
  };
  static row_range tile(std::int64_t rows, std::uint32_t i) noexcept {
    const std::int64_t first = i * tile_rows;
    return {first, std::min(rows, first + tile_rows)};
  }

  // Row-wise phases; chunk = tile of rows.
  void embed(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);
  void finish(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);
  void enter(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);  // norm1, pack
  void norm_query(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);
  void keep_logit_rows(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);
  void pack_values(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);
  void leave(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);  // residual, norm2, pack
  void dense_sum(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);
  void pack_inner(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);
  void norm_head(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);

  // Matrix products; chunk = rows of the weights.
  void project_in(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);  // q (or q_a), kv_a
  void project_query(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);  // q_b
  void project_out(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);
  void gate_up(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);
  void down(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);
  void logits(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);

  // Attention proper; chunk = (head, rows), or a piece of the batch's plan.
  void absorb(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);  // and store latents
  void attend_piece(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);
  void fold_group(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);
  void raise_values(micro_batch& batch, std::uint32_t chunk, tensor::worker& on);  // W_UV z

  /// Whether the layer of the batch goes on with logit_rows alone after attention.
  bool drops_rows(const micro_batch& batch) const;
  /// Rows that the open finish() adds: those its attend job left.
  std::int64_t finish_rows(const micro_batch& batch) const {
    return batch.layer_ == config().layers ? batch.ffn_rows_ : batch.rows();
  }
  void store_latents(micro_batch& batch, row_range rows);
  void plan_attention(micro_batch& batch) const;
  kernels::query_slice queries(const micro_batch& batch, const slice& part) const;
  kernels::latent_pages keys(const micro_batch& batch, std::size_t part) const;

  /// Packs rows [range) of x (rows, k) for two matrices of the same k, once if their types agree.
  void pack_two(micro_batch& batch,
                const tensor::weight_matrix& a,
                const tensor::weight_matrix& b,
                const float* x,
                std::int64_t rows,
                row_range range) const;
  /// Where pack_two() put the form for `b`.
  const std::byte* packed_second(const micro_batch& batch,
                                 const tensor::weight_matrix& a,
                                 const tensor::weight_matrix& b,
                                 std::int64_t rows) const;
  void multiply_chunk(const tensor::weight_matrix& w,
                      const std::byte* packed,
                      std::int64_t rows,
                      std::uint32_t chunk,
                      float* y,
                      tensor::worker& on) const;
  std::uint32_t chunks(const tensor::weight_matrix& w, std::int64_t rows) const {
    return chunks_of(w.rows, matmul_.chunk_rows(w, rows));
  }

  const model::ffn_weights& ffn(const micro_batch& batch) const {
    const model::layer_weights& of = layer(batch.layer_);
    return of.moe ? of.shared : of.dense;
  }
  const tensor::weight_matrix& first_query(const model::attention_weights& w) const {
    return w.q.empty() ? w.q_a : w.q;
  }
  std::int64_t key_floats() const noexcept { return config().kv_values_per_token(); }

  std::shared_ptr<const model::model_weights> weights_;
  kernels::matmul matmul_;
  kernels::row_kernels rows_;
  kernels::attention_kernels attention_;
  kernels::rope_table rope_;
  kernels::attention_shape shape_;
  std::size_t kv_pages_;
  aligned_buffer pages_;  // (pages, layers, 64, kv_rank + rope)
};

}  // namespace atl::attention
