#include "attention/shard_compute.hpp"

#include "attention/kv/page_pool.hpp"
#include "attention/shard_impl.hpp"

#include <cmath>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <utility>

namespace atl::attention {
namespace {

std::size_t floats(std::int64_t count) { return static_cast<std::size_t>(count) * sizeof(float); }

kernels::rope_table rope_of(const model::model_config& config) {
  std::optional<kernels::yarn_parameters> yarn;
  if (config.yarn) {
    const model::rope_scaling& from = *config.yarn;
    yarn = kernels::yarn_parameters{from.factor,
                                    static_cast<double>(from.original_max_position),
                                    from.beta_fast,
                                    from.beta_slow,
                                    from.mscale,
                                    from.mscale_all_dim,
                                    from.attention_factor};
  }
  return {config.rope_dim, config.rope_theta, yarn};
}

}  // namespace

shard_compute::impl::impl(std::shared_ptr<const model::model_weights> weights,
                          const options& chosen,
                          kernels::matmul multiplier,
                          kernels::rope_table rope)
    : weights_{std::move(weights)},
      matmul_{multiplier},
      rows_{kernels::row_kernels::make(chosen.isa)},
      attention_{kernels::attention_kernels::make(chosen.isa)},
      rope_{std::move(rope)},
      kv_pages_{chosen.kv_pages},
      pages_{chosen.kv_pages * page_bytes(weights_->config)} {
  shape_.heads = config().heads;
  shape_.kv_rank = config().kv_rank;
  shape_.rope_dim = config().rope_dim;
  shape_.scale = static_cast<float>(rope_.softmax_factor() /
                                    std::sqrt(static_cast<double>(config().q_head_dim())));
}

void shard_compute::impl::prepare(micro_batch& batch) {
  const model::model_config& c = config();
  const std::int64_t rows = batch.rows();
  std::int64_t covered = 0;
  batch.positions_.clear();
  batch.ffn_rows_ = rows;
  for (const slice& part : batch.slices) {
    ATOLL_ASSERT(part.first_row == covered && part.tokens > 0 && part.first_position >= 0);
    ATOLL_ASSERT(static_cast<std::int64_t>(part.pages.size()) >=
                 pages_for(part.first_position + part.tokens));
    for (std::int64_t i = 0; i < part.tokens; ++i) {
      batch.positions_.push_back(part.first_position + i);
    }
    covered += part.tokens;
  }
  ATOLL_ASSERT(covered == rows);
  for (const token_id token : batch.tokens) ATOLL_ASSERT(token >= 0 && token < c.vocab_size);
  ATOLL_ASSERT(batch.logit_rows.size() <= batch.tokens.size());
  for (const std::int64_t row : batch.logit_rows) ATOLL_ASSERT(row >= 0 && row < rows);

  batch.residual_.reserve(floats(rows * c.hidden));
  batch.normed_.reserve(floats(rows * c.hidden));
  batch.routed_.reserve(floats(rows * c.hidden));
  batch.attended_.reserve(floats(rows * c.hidden));
  batch.ffn_out_.reserve(floats(rows * c.hidden));
  batch.angles_.reserve(floats(rows * c.rope_dim));
  batch.query_low_.reserve(floats(rows * c.q_rank));
  batch.query_.reserve(floats(rows * c.heads * c.q_head_dim()));
  batch.latent_.reserve(floats(rows * key_floats()));
  batch.absorbed_.reserve(floats(rows * c.heads * c.kv_rank));
  batch.mixed_.reserve(floats(rows * c.heads * c.kv_rank));
  batch.values_.reserve(floats(rows * c.heads * c.value_dim));
  const std::int64_t width = std::max(c.dense_inner, c.shared_inner());
  batch.gate_.reserve(floats(rows * width));
  batch.up_.reserve(floats(rows * width));
  batch.logits_.reserve(
      floats(static_cast<std::int64_t>(batch.logit_rows.size()) * weights_->head.rows));
  // Twice, for two matrices of different types that take the same input.
  const std::int64_t widest = std::max({c.hidden, c.q_rank, c.heads * c.value_dim, width});
  std::size_t packed = 0;
  for (const tensor::dtype type :
       {tensor::dtype::f32, tensor::dtype::f16, tensor::dtype::bf16, tensor::dtype::f8_e4m3}) {
    packed = std::max(packed, matmul_.packed_bytes(type, rows, widest));
  }
  batch.packed_.reserve(2 * (packed + 64));
  plan_attention(batch);
}

result<std::unique_ptr<shard_compute>>
shard_compute::make(std::shared_ptr<const model::model_weights> weights, const options& chosen) {
  const model::model_config& config = weights->config;
  ATOLL_ASSIGN(auto multiplier, kernels::matmul::make(chosen.isa, chosen.numerics));
  const std::size_t page = page_bytes(config);
  const auto refused = [&] {
    return error{errc::out_of_memory,
                 "key-value cache: " + std::to_string(chosen.kv_pages) + " pages of " +
                     std::to_string(page) + " bytes cannot be had; lower --kv-memory"};
  };
  if (chosen.kv_pages > std::numeric_limits<std::uint32_t>::max() ||
      chosen.kv_pages > std::numeric_limits<std::size_t>::max() / 2 / page) {
    return refused();
  }
  try {
    return std::make_unique<shard_compute>(
        std::make_unique<impl>(std::move(weights), chosen, multiplier, rope_of(config)));
  } catch (const std::bad_alloc&) {
    return refused();
  }
}

shard_compute::shard_compute(std::unique_ptr<impl> made) noexcept : impl_{std::move(made)} {}

shard_compute::~shard_compute() = default;

std::size_t shard_compute::page_bytes(const model::model_config& config) noexcept {
  return floats(config.layers * kv_page_tokens * config.kv_values_per_token());
}

const model::model_config& shard_compute::config() const noexcept { return impl_->config(); }

std::size_t shard_compute::kv_pages() const noexcept { return impl_->kv_pages(); }

tensor::job shard_compute::embed(micro_batch& batch) const {
  impl_->prepare(batch);
  tensor::job job;
  impl_->add_embed(job, batch);
  return job;
}

tensor::job shard_compute::attend(micro_batch& batch, std::int64_t layer) {
  batch.layer_ = layer;
  tensor::job job;
  impl_->add_attend(job, batch);
  return job;
}

tensor::job shard_compute::shared(micro_batch& batch, std::int64_t layer) const {
  ATOLL_ASSERT(impl_->layer(layer).moe);
  batch.layer_ = layer;
  tensor::job job;
  impl_->add_ffn(job, batch);
  return job;
}

tensor::job shard_compute::finish(micro_batch& batch, std::int64_t layer) const {
  batch.layer_ = layer + 1;
  tensor::job job;
  impl_->add_finish(job, batch);
  return job;
}

tensor::job shard_compute::head(micro_batch& batch) const {
  tensor::job job;
  impl_->add_head(job, batch);
  return job;
}

tensor::job shard_compute::embed_attend(micro_batch& batch) {
  impl_->prepare(batch);
  batch.layer_ = 0;
  tensor::job job;
  impl_->add_embed(job, batch);
  impl_->add_attend(job, batch);
  return job;
}

tensor::job shard_compute::attend_after(micro_batch& batch, std::int64_t layer) {
  batch.layer_ = layer;
  tensor::job job;
  impl_->add_finish(job, batch);
  impl_->add_attend(job, batch);
  return job;
}

tensor::job shard_compute::finish_head(micro_batch& batch) const {
  batch.layer_ = impl_->config().layers;
  tensor::job job;
  impl_->add_finish(job, batch);
  impl_->add_head(job, batch);
  return job;
}

}  // namespace atl::attention
