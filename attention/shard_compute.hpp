// The arithmetic of an attention shard: embeddings, absorbed multi-head latent attention over paged
// latents, dense layers, shared experts and the head, as jobs for a device. It knows no requests
// and sends nothing.
//
// A step over a micro-batch is: embed, then for each layer attend, and in MoE layers shared and (by
// others) the routed experts into micro_batch::routed(), then finish; at last head. The joined jobs
// do the same in fewer submissions. One formula serves prompts and single tokens alike, and every
// row's result is a function of the row and its context alone: chunking, batch mates and workers
// change no bit.
//
// Threads: immutable after make, except for the latent pages that attend() writes. Jobs of
// different micro-batches may be open together as long as no page is in two of them (unless both
// only read it). A micro-batch has one job open at a time, except that shared() may overlap work of
// others that reads normed() and writes routed(). Batch and shard_compute outlive the job.
#pragma once

#include "attention/micro_batch.hpp"
#include "runtime/base/result.hpp"
#include "runtime/kernels/matmul.hpp"
#include "runtime/model/weights.hpp"
#include "runtime/tensor/device.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace atl::attention {

class shard_compute {
  class impl;

public:
  struct options {
    kernels::isa isa{};
    kernels::numerics numerics{};
    std::size_t kv_pages = 0;  // latent pages, in each layer
  };

  /// Allocates kv_pages * page_bytes(config). Refuses with out_of_memory or unsupported.
  static result<std::unique_ptr<shard_compute>>
  make(std::shared_ptr<const model::model_weights> weights, const options& chosen);
  explicit shard_compute(std::unique_ptr<impl> made) noexcept;  // by make
  ~shard_compute();

  /// Bytes of one page (attention/kv: 64 positions) over all layers.
  static std::size_t page_bytes(const model::model_config& config) noexcept;

  /// residual = embeddings[token]. Sizes the batch's buffers now, before the job runs.
  tensor::job embed(micro_batch& batch) const;

  /// residual += o_proj(MLA(norm1(residual))), normed = norm2(residual); latents of the rows go to
  /// their pages. Dense layers also do residual += ffn(normed), and have no shared() and finish().
  tensor::job attend(micro_batch& batch, std::int64_t layer);

  /// The shared experts of normed, kept for finish(). No phases where the layer has none.
  tensor::job shared(micro_batch& batch, std::int64_t layer) const;

  /// MoE layers: residual += routed + shared.
  tensor::job finish(micro_batch& batch, std::int64_t layer) const;

  /// logits[i] = head(final_norm(residual[logit_rows[i]])).
  tensor::job head(micro_batch& batch) const;

  /// embed and attend(0); finish(layer - 1) where that layer is MoE, and attend(layer);
  /// finish(last layer) where that is MoE, and head.
  tensor::job embed_attend(micro_batch& batch);
  tensor::job attend_after(micro_batch& batch, std::int64_t layer);
  tensor::job finish_head(micro_batch& batch) const;

  const model::model_config& config() const noexcept;
  std::size_t kv_pages() const noexcept;

private:
  std::unique_ptr<impl> impl_;
};

}  // namespace atl::attention
