// The attention kernels, compiled once per instruction set by attention_avx2.cpp and
// attention_avx512.cpp. Sixteen query rows stand in the lanes of a vector, so every product takes
// one key value, broadcast: no sum ever crosses lanes.

#include "runtime/base/assert.hpp"
#include "runtime/kernels/cpu/attention_layout.hpp"
#include "runtime/kernels/cpu/row_tables.hpp"
#include "runtime/kernels/cpu/simd.hpp"

#include <limits>

namespace atl::kernels::ATOLL_SIMD {

namespace {

using index = std::int64_t;

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

// Accumulators in registers: groups x keys (or x latent columns). AVX-512 has 32 registers and one
// per f32x16; AVX2 has 16 and needs two.
#if defined(__AVX512F__)
constexpr int paired_groups = 2;
constexpr int paired_block = 12;
constexpr int single_block = 16;
#else
constexpr int paired_groups = 1;
constexpr int paired_block = 6;
constexpr int single_block = 6;
#endif

/// The block size that takes what is left over by N.
constexpr int next_block(int n) { return n > 8 ? 8 : n > 4 ? 4 : n / 2; }

/// What the functions of one call share.
struct call {
  const attention_shape& shape;
  const query_slice& queries;
  const latent_pages& keys;
};

index row_count(const attention_shape& shape, const query_slice& queries) {
  return queries.tokens * shape.heads;
}

/// One past the last position that a row of the groups before `end_group` sees.
index visible_end(const call& c, index end_group) {
  const index rows = row_count(c.shape, c.queries);
  const index last_row = end_group * 16 < rows ? end_group * 16 - 1 : rows - 1;
  return c.queries.first_position + last_row / c.shape.heads + 1;
}

const float* key_row(const call& c, index position) {
  return c.keys.pages[position / c.keys.page_tokens] + c.keys.offset +
         position % c.keys.page_tokens * c.shape.key_floats();
}

/// Values [0, width) of 16 rows side by side: packed (width, 16). Absent rows (null) are zero.
void pack_rows(const float* const (&from)[16], index width, float* packed) {
  index k = 0;
  for (; k < width; k += 16) {
    const index part = width - k < 16 ? width - k : 16;
    f32x16 block[16];
    for (int lane = 0; lane < 16; ++lane)
      block[lane] = from[lane] == nullptr ? f32x16::of(0.0F)
                    : part == 16          ? f32x16::load(from[lane] + k)
                                          : load_part(from[lane] + k, part);
    transpose(block);
    for (int i = 0; i < part; ++i) block[i].store(packed + (k + i) * 16);
  }
}

/// (key_floats, 16): value k of the group's rows side by side; rows past the last one are zero.
void pack_group(const call& c, index group, float* packed) {
  const index rows = row_count(c.shape, c.queries);
  const float* latent[16] = {};
  const float* rope[16] = {};
  for (index lane = 0; lane < 16 && group * 16 + lane < rows; ++lane) {
    const index token = (group * 16 + lane) / c.shape.heads;
    const index head = (group * 16 + lane) % c.shape.heads;
    const auto at = [&](const head_rows& from) {
      return from.data + token * from.token_stride + head * from.head_stride;
    };
    latent[lane] = at(c.queries.latent);
    rope[lane] = at(c.queries.rope);
  }
  pack_rows(latent, c.shape.kv_rank, packed);
  pack_rows(rope, c.shape.rope_dim, packed + c.shape.kv_rank * 16);
}

/// Scores of N keys (rows of `width` values) for G groups: s[g][n] = scale * sum_k q[g][k]
/// key[n][k].
template <int G, int N>
ATOLL_INLINE void score_block(const float* q,
                              index q_step,
                              const float* keys,
                              index width,
                              f32x16 scale,
                              float* s,
                              index s_step) {
  f32x16 sum[G][N];
  for (int g = 0; g < G; ++g)
    for (int n = 0; n < N; ++n) sum[g][n] = f32x16::of(0.0F);
  for (index k = 0; k < width; ++k) {
    if (G == 1 && k % 16 == 0)
      for (int n = 0; n < N; ++n) __builtin_prefetch(keys + (N + n) * width + k, 0, 2);
    f32x16 query[G];
    for (int g = 0; g < G; ++g) query[g] = f32x16::load(q + g * q_step + k * 16);
    for (int n = 0; n < N; ++n) {
      const f32x16 key = f32x16::of(keys[n * width + k]);
      for (int g = 0; g < G; ++g) sum[g][n] = fma(query[g], key, sum[g][n]);
    }
  }
  for (int g = 0; g < G; ++g)
    for (int n = 0; n < N; ++n) (scale * sum[g][n]).store(s + g * s_step + n * 16);
}

/// Scores of `count` keys of one page. The last block overlaps the one before it: its keys are
/// computed again, to the same bits.
template <int G, int N>
void score_keys(const float* q,
                index q_step,
                const float* keys,
                index count,
                index width,
                f32x16 scale,
                float* s,
                index s_step) {
  if (count >= N) {
    for (index t = 0; t < count; t += N) {
      const index at = t + N <= count ? t : count - N;
      score_block<G, N>(q, q_step, keys + at * width, width, scale, s + at * 16, s_step);
    }
    return;
  }
  if constexpr (N > 1)
    score_keys<G, next_block(N)>(q, q_step, keys, count, width, scale, s, s_step);
}

/// z[g][n] = fma(p[g][t], key[t][n], z[g][n]) for t ascending, for N latent columns.
template <int G, int N>
ATOLL_INLINE void value_block(const float* p,
                              index p_step,
                              const float* keys,
                              index count,
                              index width,
                              float* z,
                              index z_step) {
  f32x16 sum[G][N];
  for (int g = 0; g < G; ++g)
    for (int n = 0; n < N; ++n) sum[g][n] = f32x16::load(z + g * z_step + n * 16);
  for (index t = 0; t < count; ++t) {
    f32x16 weight[G];
    for (int g = 0; g < G; ++g) weight[g] = f32x16::load(p + g * p_step + t * 16);
    for (int n = 0; n < N; ++n) {
      const f32x16 value = f32x16::of(keys[t * width + n]);
      for (int g = 0; g < G; ++g) sum[g][n] = fma(weight[g], value, sum[g][n]);
    }
  }
  for (int g = 0; g < G; ++g)
    for (int n = 0; n < N; ++n) sum[g][n].store(z + g * z_step + n * 16);
}

template <int G, int N>
void value_columns(const float* p,
                   index p_step,
                   const float* keys,
                   index count,
                   index width,
                   index columns,
                   float* z,
                   index z_step) {
  index k = 0;
  for (; k + N <= columns; k += N)
    value_block<G, N>(p, p_step, keys + k, count, width, z + k * 16, z_step);
  if constexpr (N > 1)
    if (k < columns)
      value_columns<G, next_block(N)>(
          p, p_step, keys + k, count, width, columns - k, z + k * 16, z_step);
}

/// Scores of one group in one split become weights e^(s - m); writes m and l. Lane i sees the keys
/// t <= limit[i] of the split.
void softmax_split(float* s, index count, const float* limit, float* m, float* l) {
  const f32x16 last = f32x16::load(limit);
  const f32x16 lowest = f32x16::of(minus_infinity);
  f32x16 top = lowest;
  for (index t = 0; t < count; ++t) {
    const f32x16 seen =
        select_greater(f32x16::of(static_cast<float>(t)), last, lowest, f32x16::load(s + t * 16));
    seen.store(s + t * 16);
    top = max(seen, top);
  }
  // A lane without a visible key subtracts 0 and gets e^-infinity = 0 everywhere.
  const f32x16 base = select_greater(top, lowest, top, f32x16::of(0.0F));
  f32x16 sum = f32x16::of(0.0F);
  for (index t = 0; t < count; ++t) {
    const f32x16 p = exp_of(f32x16::load(s + t * 16) - base);
    p.store(s + t * 16);
    sum = sum + p;
  }
  top.store(m);
  sum.store(l);
}

void softmax_group(const call& c, index group, index begin, index count, float* s, float* state) {
  const partial_layout layout{c.shape};
  const index rows = row_count(c.shape, c.queries);
  alignas(64) float limit[16];
  for (index lane = 0; lane < 16; ++lane) {
    const index row = group * 16 + lane;
    const index at = c.queries.first_position + row / c.shape.heads - begin;
    limit[lane] = row >= rows || at < 0 ? -1.0F
                  : at > count          ? static_cast<float>(count)
                                        : static_cast<float>(at);
  }
  softmax_split(s, count, limit, state + layout.m(), state + layout.l());
}

/// One split for G groups whose packed queries, scores and partial results start at q, s and
/// state, with the given distances from group to group.
template <int G, int N>
void split_of_groups(const call& c,
                     index group,
                     index split,
                     const float* q,
                     float* s,
                     float* state,
                     index state_step) {
  const index begin = split * attention_split_tokens;
  const index seen = visible_end(c, group + G) - begin;
  const index count = seen < 0 ? 0 : seen < attention_split_tokens ? seen : attention_split_tokens;
  const index width = c.shape.key_floats();
  const index q_step = width * 16;
  constexpr index s_step = attention_split_tokens * 16;
  const f32x16 scale = f32x16::of(c.shape.scale);
  const index page = c.keys.page_tokens;
  for (index t = 0; t < count; t += page) {
    const index part = count - t < page ? count - t : page;
    const float* keys = key_row(c, begin + t);
    score_keys<G, N>(q, q_step, keys, part, width, scale, s + t * 16, s_step);
  }
  for (int g = 0; g < G; ++g) {
    softmax_group(c, group + g, begin, count, s + g * s_step, state + g * state_step);
    std::memset(state + g * state_step, 0, static_cast<std::size_t>(c.shape.kv_rank) * 64);
  }
  for (index t = 0; t < count; t += page) {
    const index part = count - t < page ? count - t : page;
    const float* keys = key_row(c, begin + t);
    value_columns<G, N>(s + t * 16, s_step, keys, part, width, c.shape.kv_rank, state, state_step);
  }
}

/// One split for all groups of a call, as many at a time as the registers hold.
void split_of_tile(const call& c,
                   index first_group,
                   index groups,
                   index split,
                   const float* q,
                   float* s,
                   float* state,
                   index state_step) {
  const index q_step = c.shape.key_floats() * 16;
  constexpr index s_step = attention_split_tokens * 16;
  index g = 0;
  for (; g + paired_groups <= groups; g += paired_groups)
    split_of_groups<paired_groups, paired_block>(c,
                                                 first_group + g,
                                                 split,
                                                 q + g * q_step,
                                                 s + g * s_step,
                                                 state + g * state_step,
                                                 state_step);
  for (; g < groups; ++g)
    split_of_groups<1, single_block>(c,
                                     first_group + g,
                                     split,
                                     q + g * q_step,
                                     s + g * s_step,
                                     state + g * state_step,
                                     state_step);
}

/// state = state folded with the next split's partial result.
void fold_into(const attention_shape& shape, float* state, const float* next) {
  const partial_layout layout{shape};
  const f32x16 lowest = f32x16::of(minus_infinity);
  const f32x16 m = f32x16::load(state + layout.m());
  const f32x16 next_m = f32x16::load(next + layout.m());
  const f32x16 top = max(m, next_m);
  const f32x16 base = select_greater(top, lowest, top, f32x16::of(0.0F));
  const f32x16 a = exp_of(m - base);
  const f32x16 b = exp_of(next_m - base);
  const f32x16 l = f32x16::load(state + layout.l());
  fma(f32x16::load(next + layout.l()), b, l * a).store(state + layout.l());
  top.store(state + layout.m());
  for (index k = 0; k < shape.kv_rank; ++k) {
    const f32x16 z = f32x16::load(state + k * 16);
    fma(f32x16::load(next + k * 16), b, z * a).store(state + k * 16);
  }
}

/// Rows of one group: fma(z, 1 / l, 0), row-major.
void finish_group(const call& c, index group, const float* state, float* z) {
  const partial_layout layout{c.shape};
  const index width = c.shape.kv_rank;
  const f32x16 inverse = f32x16::of(1.0F) / f32x16::load(state + layout.l());
  const index rows = row_count(c.shape, c.queries);
  const index lanes = rows - group * 16 < 16 ? rows - group * 16 : 16;
  for (index k = 0; k < width; k += 16) {
    const index part = width - k < 16 ? width - k : 16;
    f32x16 block[16];
    for (int i = 0; i < 16; ++i)
      block[i] = i < part ? fma(f32x16::load(state + (k + i) * 16), inverse, f32x16::of(0.0F))
                          : f32x16::of(0.0F);
    transpose(block);
    for (index lane = 0; lane < lanes; ++lane) {
      float* out = z + (group * 16 + lane) * width + k;
      if (part == 16)
        block[lane].store(out);
      else
        store_part(block[lane], out, part);
    }
  }
}

void check(const call& c, index first_group, index groups) {
  ATOLL_ASSERT(c.shape.heads > 0 && c.shape.kv_rank > 0 && c.shape.rope_dim >= 0);
  ATOLL_ASSERT(c.queries.tokens > 0 && c.queries.first_position >= 0);
  ATOLL_ASSERT(c.keys.page_tokens > 0 && attention_split_tokens % c.keys.page_tokens == 0);
  ATOLL_ASSERT(first_group >= 0 && groups > 0 && groups <= attention_tile_groups);
  ATOLL_ASSERT((first_group + groups - 1) * 16 < row_count(c.shape, c.queries));
}

/// Where the arrays of a call stand in its scratch.
struct workspace {
  float* q;
  float* s;
  float* state;
  float* next;
};

workspace make_workspace(const call& c, index first_group, index groups, void* scratch) {
  const index state = c.shape.kv_rank * 16 + 32;
  float* q = static_cast<float*>(scratch);
  float* s = q + groups * c.shape.key_floats() * 16;
  float* z = s + groups * attention_split_tokens * 16;
  for (index g = 0; g < groups; ++g)
    pack_group(c, first_group + g, q + g * c.shape.key_floats() * 16);
  return {q, s, z, z + groups * state};
}

void tile(const attention_shape& shape,
          const query_slice& queries,
          const latent_pages& keys,
          std::int64_t first_group,
          std::int64_t groups,
          float* z,
          void* scratch) {
  const call c{shape, queries, keys};
  check(c, first_group, groups);
  const workspace w = make_workspace(c, first_group, groups, scratch);
  const index step = static_cast<index>(partial_layout{shape}.floats());
  const index end = visible_end(c, first_group + groups);
  split_of_tile(c, first_group, groups, 0, w.q, w.s, w.state, step);
  for (index split = 1; split * attention_split_tokens < end; ++split) {
    split_of_tile(c, first_group, groups, split, w.q, w.s, w.next, step);
    for (index g = 0; g < groups; ++g) fold_into(shape, w.state + g * step, w.next + g * step);
  }
  for (index g = 0; g < groups; ++g) finish_group(c, first_group + g, w.state + g * step, z);
}

void split(const attention_shape& shape,
           const query_slice& queries,
           const latent_pages& keys,
           std::int64_t first_group,
           std::int64_t groups,
           std::int64_t split,
           float* partials,
           void* scratch) {
  const call c{shape, queries, keys};
  check(c, first_group, groups);
  const index splits = attention_splits(queries);
  ATOLL_ASSERT(split >= 0 && split < splits);
  const workspace w = make_workspace(c, first_group, groups, scratch);
  const index partial = static_cast<index>(partial_layout{shape}.floats());
  float* state = partials + (first_group * splits + split) * partial;
  split_of_tile(c, first_group, groups, split, w.q, w.s, state, splits * partial);
}

void fold(const attention_shape& shape,
          const query_slice& queries,
          std::int64_t group,
          float* partials,
          float* z) {
  const call c{shape, queries, {}};
  const index splits = attention_splits(queries);
  const index partial = static_cast<index>(partial_layout{shape}.floats());
  float* state = partials + group * splits * partial;
  for (index s = 1; s < splits; ++s) fold_into(shape, state, state + s * partial);
  finish_group(c, group, state, z);
}

}  // namespace

const attention_kernels attention{tile, split, fold};

}  // namespace atl::kernels::ATOLL_SIMD
