// Phases around attention: embeddings, dense layers and shared experts, sums into the residual
// stream, the head.
#include "attention/shard_impl.hpp"

namespace atl::attention {
namespace {

std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

void shard_compute::impl::add_embed(tensor::job& job, micro_batch& batch) {
  add<&impl::embed>(job, batch, chunks_of(batch.rows(), tile_rows));
}

void shard_compute::impl::add_finish(tensor::job& job, micro_batch& batch) {
  if (batch.layer_ == 0 || !layer(batch.layer_ - 1).moe) return;
  add<&impl::finish>(job, batch, chunks_of(finish_rows(batch), tile_rows));
}

void shard_compute::impl::add_ffn(tensor::job& job, micro_batch& batch) {
  const model::ffn_weights& w = ffn(batch);
  if (w.empty()) return;
  add<&impl::gate_up>(job, batch, chunks(w.gate, batch.ffn_rows_));
  add<&impl::pack_inner>(job, batch, chunks_of(batch.ffn_rows_, tile_rows));
  add<&impl::down>(job, batch, chunks(w.down, batch.ffn_rows_));
}

void shard_compute::impl::add_dense_sum(tensor::job& job, micro_batch& batch) {
  add<&impl::dense_sum>(job, batch, chunks_of(batch.ffn_rows_, tile_rows));
}

void shard_compute::impl::add_head(tensor::job& job, micro_batch& batch) {
  const auto rows = static_cast<std::int64_t>(batch.logit_rows.size());
  if (rows == 0) return;
  add<&impl::norm_head>(job, batch, chunks_of(rows, tile_rows));
  add<&impl::logits>(job, batch, chunks(weights_->head, rows));
}

void shard_compute::impl::pack_two(micro_batch& batch,
                                   const tensor::weight_matrix& a,
                                   const tensor::weight_matrix& b,
                                   const float* x,
                                   std::int64_t rows,
                                   row_range range) const {
  auto* packed = batch.packed_.as<std::byte>();
  matmul_.pack(a.type, x, a.cols, rows, a.cols, range.first, range.end, packed);
  if (a.type == b.type) return;
  packed += aligned(matmul_.packed_bytes(a.type, rows, a.cols));
  matmul_.pack(b.type, x, a.cols, rows, a.cols, range.first, range.end, packed);
}

const std::byte* shard_compute::impl::packed_second(const micro_batch& batch,
                                                    const tensor::weight_matrix& a,
                                                    const tensor::weight_matrix& b,
                                                    std::int64_t rows) const {
  const auto* packed = batch.packed_.as<std::byte>();
  return a.type == b.type ? packed : packed + aligned(matmul_.packed_bytes(a.type, rows, a.cols));
}

void shard_compute::impl::multiply_chunk(const tensor::weight_matrix& w,
                                         const std::byte* packed,
                                         std::int64_t rows,
                                         std::uint32_t chunk,
                                         float* y,
                                         tensor::worker& on) const {
  const std::int64_t by = matmul_.chunk_rows(w, rows);
  const std::int64_t first = chunk * by;
  matmul_.multiply(
      w.row_range(first, std::min(by, w.rows - first)), packed, rows, y + first, w.rows, on);
}

void shard_compute::impl::embed(micro_batch& batch, std::uint32_t chunk, tensor::worker&) {
  const row_range range = tile(batch.rows(), chunk);
  for (std::int64_t row = range.first; row < range.end; ++row) {
    float* angles = batch.angles_.as<float>() + row * config().rope_dim;
    rope_.angles(batch.positions_[static_cast<std::size_t>(row)], angles, angles + rope_.pairs());
    rows_.embed(weights_->embeddings,
                batch.tokens[static_cast<std::size_t>(row)],
                batch.residual_.as<float>() + row * config().hidden);
  }
}

void shard_compute::impl::finish(micro_batch& batch, std::uint32_t chunk, tensor::worker&) {
  const row_range range = tile(finish_rows(batch), chunk);
  const std::int64_t hidden = config().hidden;
  const std::int64_t at = range.first * hidden;
  const std::int64_t count = (range.end - range.first) * hidden;
  float* residual = batch.residual_.as<float>() + at;
  rows_.add(residual, batch.routed_.as<float>() + at, count);
  if (layer(batch.layer_ - 1).shared.empty()) return;
  rows_.add(residual, batch.ffn_out_.as<float>() + at, count);
}

void shard_compute::impl::dense_sum(micro_batch& batch, std::uint32_t chunk, tensor::worker&) {
  const row_range range = tile(batch.ffn_rows_, chunk);
  const std::int64_t at = range.first * config().hidden;
  rows_.add(batch.residual_.as<float>() + at,
            batch.ffn_out_.as<float>() + at,
            (range.end - range.first) * config().hidden);
}

void shard_compute::impl::gate_up(micro_batch& batch, std::uint32_t chunk, tensor::worker& on) {
  const model::ffn_weights& w = ffn(batch);
  const std::int64_t rows = batch.ffn_rows_;
  const std::int64_t by = matmul_.chunk_rows(w.gate, rows);
  const std::int64_t first = chunk * by;
  const std::int64_t count = std::min(by, w.gate.rows - first);
  const std::int64_t width = w.gate.rows;
  float* gate = batch.gate_.as<float>() + first;
  float* up = batch.up_.as<float>() + first;
  matmul_.multiply(
      w.gate.row_range(first, count), batch.packed_.as<std::byte>(), rows, gate, width, on);
  matmul_.multiply(
      w.up.row_range(first, count), packed_second(batch, w.gate, w.up, rows), rows, up, width, on);
  for (std::int64_t row = 0; row < rows; ++row) {
    float* x = gate + row * width;
    rows_.swiglu(x, up + row * width, x, count);
  }
}

void shard_compute::impl::pack_inner(micro_batch& batch, std::uint32_t chunk, tensor::worker&) {
  const tensor::weight_matrix& w = ffn(batch).down;
  pack_two(batch, w, w, batch.gate_.as<float>(), batch.ffn_rows_, tile(batch.ffn_rows_, chunk));
}

void shard_compute::impl::down(micro_batch& batch, std::uint32_t chunk, tensor::worker& on) {
  multiply_chunk(ffn(batch).down,
                 batch.packed_.as<std::byte>(),
                 batch.ffn_rows_,
                 chunk,
                 batch.ffn_out_.as<float>(),
                 on);
}

void shard_compute::impl::norm_head(micro_batch& batch, std::uint32_t chunk, tensor::worker&) {
  const auto rows = static_cast<std::int64_t>(batch.logit_rows.size());
  const std::int64_t first = chunk * tile_rows;
  const row_range range{first, std::min(rows, first + tile_rows)};
  const std::int64_t hidden = config().hidden;
  float* normed = batch.attended_.as<float>();
  for (std::int64_t i = range.first; i < range.end; ++i) {
    // Where only these rows went on, they lie in this order already.
    const std::int64_t row =
        batch.ffn_rows_ < batch.rows() ? i : batch.logit_rows[static_cast<std::size_t>(i)];
    rows_.rms_norm(batch.residual() + row * hidden,
                   weights_->final_norm,
                   static_cast<float>(config().norm_eps),
                   normed + i * hidden,
                   hidden);
  }
  pack_two(batch, weights_->head, weights_->head, normed, rows, range);
}

void shard_compute::impl::logits(micro_batch& batch, std::uint32_t chunk, tensor::worker& on) {
  multiply_chunk(weights_->head,
                 batch.packed_.as<std::byte>(),
                 static_cast<std::int64_t>(batch.logit_rows.size()),
                 chunk,
                 batch.logits_.as<float>(),
                 on);
}

}  // namespace atl::attention
