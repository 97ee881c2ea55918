// Attention phases of a layer: absorbed MLA (DeepSeek-V2 report, section 2.1; the absorbed form as
// in DeepSeek-V3 inference/model.py). For each row and head h, with W_UK and W_UV the halves of
// kv_b:
//   qa_h = W_UK[h]^T q_nope_h,   z_h = sum over t of softmax(scale (qa_h . c_t + q_pe_h . k_t))
//   c_t, o = o_proj(concat of W_UV[h] z_h).
#include "attention/kv/page_pool.hpp"
#include "attention/shard_impl.hpp"

#include <functional>

namespace atl::attention {
namespace {

/// Partial results that one batch may hold at once, in (group, split) pairs: about 34 MB for a
/// latent of 512. Slices beyond it are computed without splitting, with equal results.
constexpr std::size_t partials_max = 1024;
/// A slice with more groups than this has chunks enough without splitting its context.
constexpr std::int64_t split_groups_max = 16;

}  // namespace

void shard_compute::impl::plan_attention(micro_batch& batch) const {
  batch.pieces_.clear();
  batch.folds_.clear();
  batch.page_starts_.clear();
  batch.slice_pages_.clear();
  const auto page_floats =
      static_cast<std::size_t>(config().layers * kv_page_tokens * key_floats());
  std::size_t partials = 0;
  for (std::uint32_t index = 0; index < batch.slices.size(); ++index) {
    const slice& part = batch.slices[index];
    batch.slice_pages_.push_back(batch.page_starts_.size());
    for (const std::uint32_t page : part.pages) {
      ATOLL_ASSERT(page < kv_pages_);
      batch.page_starts_.push_back(pages_.as<float>() + page * page_floats);
    }
    const std::int64_t groups = kernels::attention_groups(shape_, part.tokens);
    const std::int64_t splits = kernels::attention_splits(queries(batch, part));
    const auto pairs = static_cast<std::size_t>(groups * splits);
    const bool split = splits > 1 && groups <= split_groups_max && partials + pairs <= partials_max;
    // Few groups: one a chunk, so that every worker gets some.
    const std::int64_t by = std::clamp<std::int64_t>(groups / 8, 1, kernels::attention_tile_groups);
    for (std::int64_t first = 0; first < groups; first += by) {
      const std::int64_t count = std::min(by, groups - first);
      for (std::int64_t s = split ? 0 : -1; s < (split ? splits : 0); ++s) {
        batch.pieces_.push_back({index, first, count, s, partials});
      }
    }
    if (!split) continue;
    for (std::int64_t g = 0; g < groups; ++g) batch.folds_.push_back({index, g, 1, 0, partials});
    partials += pairs;
  }
  batch.partials_.reserve(partials * kernels::attention_partial_floats(shape_) * sizeof(float));
}

void shard_compute::impl::add_attend(tensor::job& job, micro_batch& batch) {
  const std::int64_t rows = batch.rows();
  const model::attention_weights& w = layer(batch.layer_).attention;
  const std::uint32_t tiles = chunks_of(rows, tile_rows);
  const std::uint32_t by_head =
      static_cast<std::uint32_t>(config().heads) * chunks_of(rows, head_rows);
  job.phases.reserve(job.phases.size() + 16);
  add<&impl::enter>(job, batch, tiles);
  add<&impl::project_in>(job, batch, chunks(first_query(w), rows) + chunks(w.kv_a, rows));
  if (w.q.empty()) {
    add<&impl::norm_query>(job, batch, tiles);
    add<&impl::project_query>(job, batch, chunks(w.q_b, rows));
  }
  add<&impl::absorb>(job, batch, tiles + by_head);
  add<&impl::attend_piece>(job, batch, static_cast<std::uint32_t>(batch.pieces_.size()));
  add<&impl::fold_group>(job, batch, static_cast<std::uint32_t>(batch.folds_.size()));
  add<&impl::raise_values>(job, batch, by_head);
  batch.ffn_rows_ = rows;
  if (drops_rows(batch)) {
    batch.ffn_rows_ = static_cast<std::int64_t>(batch.logit_rows.size());
    add<&impl::keep_logit_rows>(job, batch, 1);
  }
  const std::uint32_t tiles_left = chunks_of(batch.ffn_rows_, tile_rows);
  add<&impl::pack_values>(job, batch, tiles_left);
  add<&impl::project_out>(job, batch, chunks(w.o, batch.ffn_rows_));
  add<&impl::leave>(job, batch, tiles_left);
  if (!layer(batch.layer_).moe) {
    add_ffn(job, batch);
    add_dense_sum(job, batch);
  }
}

bool shard_compute::impl::drops_rows(const micro_batch& batch) const {
  const auto& kept = batch.logit_rows;
  return !batch.keep_all_rows && batch.layer_ == config().layers - 1 && !kept.empty() &&
         kept.size() < batch.tokens.size() &&
         std::adjacent_find(kept.begin(), kept.end(), std::greater_equal<>{}) == kept.end();
}

void shard_compute::impl::keep_logit_rows(micro_batch& batch, std::uint32_t, tensor::worker&) {
  // Ascending, so that no row is overwritten before it has moved.
  const auto move_rows = [&](float* rows, std::int64_t width) {
    for (std::size_t i = 0; i < batch.logit_rows.size(); ++i) {
      const float* from = rows + batch.logit_rows[i] * width;
      float* to = rows + static_cast<std::int64_t>(i) * width;
      if (from != to) std::copy_n(from, width, to);
    }
  };
  move_rows(batch.residual_.as<float>(), config().hidden);
  move_rows(batch.values_.as<float>(), config().heads * config().value_dim);
}

void shard_compute::impl::enter(micro_batch& batch, std::uint32_t chunk, tensor::worker&) {
  const model::layer_weights& w = layer(batch.layer_);
  const row_range range = tile(batch.rows(), chunk);
  const std::int64_t hidden = config().hidden;
  const auto eps = static_cast<float>(config().norm_eps);
  float* normed = batch.normed_.as<float>();
  for (std::int64_t row = range.first; row < range.end; ++row) {
    rows_.rms_norm(
        batch.residual() + row * hidden, w.input_norm, eps, normed + row * hidden, hidden);
  }
  pack_two(batch, first_query(w.attention), w.attention.kv_a, normed, batch.rows(), range);
}

void shard_compute::impl::project_in(micro_batch& batch, std::uint32_t chunk, tensor::worker& on) {
  const model::attention_weights& w = layer(batch.layer_).attention;
  const tensor::weight_matrix& query = first_query(w);
  const std::uint32_t query_chunks = chunks(query, batch.rows());
  if (chunk < query_chunks) {
    aligned_buffer& out = w.q.empty() ? batch.query_low_ : batch.query_;
    multiply_chunk(query, batch.packed_.as<std::byte>(), batch.rows(), chunk, out.as<float>(), on);
    return;
  }
  multiply_chunk(w.kv_a,
                 packed_second(batch, query, w.kv_a, batch.rows()),
                 batch.rows(),
                 chunk - query_chunks,
                 batch.latent_.as<float>(),
                 on);
}

void shard_compute::impl::norm_query(micro_batch& batch, std::uint32_t chunk, tensor::worker&) {
  const model::attention_weights& w = layer(batch.layer_).attention;
  const row_range range = tile(batch.rows(), chunk);
  const std::int64_t rank = config().q_rank;
  float* low = batch.query_low_.as<float>();
  for (std::int64_t row = range.first; row < range.end; ++row) {
    float* x = low + row * rank;
    rows_.rms_norm(x, w.q_a_norm, static_cast<float>(config().inner_norm_eps), x, rank);
  }
  pack_two(batch, w.q_b, w.q_b, low, batch.rows(), range);
}

void shard_compute::impl::project_query(micro_batch& batch,
                                        std::uint32_t chunk,
                                        tensor::worker& on) {
  multiply_chunk(layer(batch.layer_).attention.q_b,
                 batch.packed_.as<std::byte>(),
                 batch.rows(),
                 chunk,
                 batch.query_.as<float>(),
                 on);
}

void shard_compute::impl::absorb(micro_batch& batch, std::uint32_t chunk, tensor::worker&) {
  const std::uint32_t tiles = chunks_of(batch.rows(), tile_rows);
  if (chunk < tiles) {
    store_latents(batch, tile(batch.rows(), chunk));
    return;
  }
  const model::model_config& c = config();
  const std::int64_t head = (chunk - tiles) % c.heads;
  const std::int64_t first = (chunk - tiles) / c.heads * head_rows;
  const std::int64_t count = std::min(head_rows, batch.rows() - first);
  const std::int64_t stride = c.heads * c.q_head_dim();
  const std::int64_t out_stride = c.heads * c.kv_rank;
  const float* nope = batch.query_.as<float>() + first * stride + head * c.q_head_dim();
  matmul_.multiply_transposed(
      layer(batch.layer_).attention.kv_b.row_range(head * (c.nope_dim + c.value_dim), c.nope_dim),
      nope,
      stride,
      count,
      0,
      c.kv_rank,
      batch.absorbed_.as<float>() + first * out_stride + head * c.kv_rank,
      out_stride);
}

void shard_compute::impl::store_latents(micro_batch& batch, row_range rows) {
  const model::model_config& c = config();
  const model::attention_weights& w = layer(batch.layer_).attention;
  const auto eps = static_cast<float>(c.inner_norm_eps);
  std::size_t part = 0;
  for (std::int64_t row = rows.first; row < rows.end; ++row) {
    while (row >= batch.slices[part].first_row + batch.slices[part].tokens) ++part;
    const slice& of = batch.slices[part];
    const std::int64_t position = of.first_position + row - of.first_row;
    const auto page = of.pages[static_cast<std::size_t>(position / kv_page_tokens)];
    float* key = pages_.as<float>() +
                 ((page * c.layers + batch.layer_) * kv_page_tokens + position % kv_page_tokens) *
                     key_floats();
    const float* latent = batch.latent_.as<float>() + row * key_floats();
    rows_.rms_norm(latent, w.kv_a_norm, eps, key, c.kv_rank);
    std::copy_n(latent + c.kv_rank, c.rope_dim, key + c.kv_rank);
    const float* cos = batch.angles_.as<float>() + row * c.rope_dim;
    const float* sin = cos + rope_.pairs();
    const auto rotate = [&](float* x) {
      rows_.rope(x, cos, sin, rope_.pairs(), c.rope_interleave);
    };
    rotate(key + c.kv_rank);
    float* query = batch.query_.as<float>() + row * c.heads * c.q_head_dim();
    for (std::int64_t head = 0; head < c.heads; ++head) {
      rotate(query + head * c.q_head_dim() + c.nope_dim);
    }
  }
}

kernels::query_slice shard_compute::impl::queries(const micro_batch& batch,
                                                  const slice& part) const {
  const model::model_config& c = config();
  const std::int64_t latent_stride = c.heads * c.kv_rank;
  const std::int64_t query_stride = c.heads * c.q_head_dim();
  kernels::query_slice q;
  q.latent = {
      batch.absorbed_.as<float>() + part.first_row * latent_stride, latent_stride, c.kv_rank};
  q.rope = {batch.query_.as<float>() + part.first_row * query_stride + c.nope_dim,
            query_stride,
            c.q_head_dim()};
  q.tokens = part.tokens;
  q.first_position = part.first_position;
  return q;
}

kernels::latent_pages shard_compute::impl::keys(const micro_batch& batch, std::size_t part) const {
  kernels::latent_pages pages;
  pages.pages = batch.page_starts_.data() + batch.slice_pages_[part];
  pages.page_tokens = kv_page_tokens;
  pages.offset = batch.layer_ * kv_page_tokens * key_floats();
  return pages;
}

void shard_compute::impl::attend_piece(micro_batch& batch,
                                       std::uint32_t chunk,
                                       tensor::worker& on) {
  const micro_batch::attention_piece& piece = batch.pieces_[chunk];
  const slice& part = batch.slices[piece.slice];
  const kernels::query_slice q = queries(batch, part);
  on.scratch.reserve(kernels::attention_scratch_bytes(shape_, piece.groups));
  if (piece.split < 0) {
    attention_.tile(shape_,
                    q,
                    keys(batch, piece.slice),
                    piece.first_group,
                    piece.groups,
                    batch.mixed_.as<float>() + part.first_row * shape_.heads * shape_.kv_rank,
                    on.scratch.as<void>());
    return;
  }
  attention_.split(shape_,
                   q,
                   keys(batch, piece.slice),
                   piece.first_group,
                   piece.groups,
                   piece.split,
                   batch.partials_.as<float>() +
                       piece.partials * kernels::attention_partial_floats(shape_),
                   on.scratch.as<void>());
}

void shard_compute::impl::fold_group(micro_batch& batch, std::uint32_t chunk, tensor::worker&) {
  const micro_batch::attention_piece& piece = batch.folds_[chunk];
  const slice& part = batch.slices[piece.slice];
  attention_.fold(shape_,
                  queries(batch, part),
                  piece.first_group,
                  batch.partials_.as<float>() +
                      piece.partials * kernels::attention_partial_floats(shape_),
                  batch.mixed_.as<float>() + part.first_row * shape_.heads * shape_.kv_rank);
}

void shard_compute::impl::raise_values(micro_batch& batch,
                                       std::uint32_t chunk,
                                       tensor::worker& on) {
  // The kernels use the worker's own scratch; this holds what they multiply.
  static thread_local aligned_buffer packed;
  const model::model_config& c = config();
  const std::int64_t head = chunk % c.heads;
  const std::int64_t first = chunk / c.heads * head_rows;
  const std::int64_t count = std::min(head_rows, batch.rows() - first);
  const tensor::weight_matrix w =
      layer(batch.layer_)
          .attention.kv_b.row_range(head * (c.nope_dim + c.value_dim) + c.nope_dim, c.value_dim);
  packed.reserve(matmul_.packed_bytes(w.type, count, c.kv_rank));
  matmul_.pack(w.type,
               batch.mixed_.as<float>() + (first * c.heads + head) * c.kv_rank,
               c.heads * c.kv_rank,
               count,
               c.kv_rank,
               0,
               count,
               packed.as<std::byte>());
  matmul_.multiply(w,
                   packed.as<std::byte>(),
                   count,
                   batch.values_.as<float>() + (first * c.heads + head) * c.value_dim,
                   c.heads * c.value_dim,
                   on);
}

void shard_compute::impl::pack_values(micro_batch& batch, std::uint32_t chunk, tensor::worker&) {
  const tensor::weight_matrix& w = layer(batch.layer_).attention.o;
  pack_two(batch, w, w, batch.values_.as<float>(), batch.ffn_rows_, tile(batch.ffn_rows_, chunk));
}

void shard_compute::impl::project_out(micro_batch& batch, std::uint32_t chunk, tensor::worker& on) {
  multiply_chunk(layer(batch.layer_).attention.o,
                 batch.packed_.as<std::byte>(),
                 batch.ffn_rows_,
                 chunk,
                 batch.attended_.as<float>(),
                 on);
}

void shard_compute::impl::leave(micro_batch& batch, std::uint32_t chunk, tensor::worker&) {
  const row_range range = tile(batch.ffn_rows_, chunk);
  const std::int64_t hidden = config().hidden;
  const auto eps = static_cast<float>(config().norm_eps);
  float* normed = batch.normed_.as<float>();
  for (std::int64_t row = range.first; row < range.end; ++row) {
    float* residual = batch.residual_.as<float>() + row * hidden;
    rows_.add(residual, batch.attended_.as<float>() + row * hidden, hidden);
    rows_.rms_norm(
        residual, layer(batch.layer_).post_attention_norm, eps, normed + row * hidden, hidden);
  }
  const model::ffn_weights& w = ffn(batch);
  if (!w.empty()) pack_two(batch, w.gate, w.up, normed, batch.ffn_rows_, range);
}

}  // namespace atl::attention
