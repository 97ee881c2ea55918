// The invariant order of bfloat16 and FP8 weights on vector units, and the fast class's float32
// products in the same shape with one part. Lanes are rows of weights: 16 or 8 rows are transposed
// in registers, 64 bytes of each at a time, and every (row, token) has its own chains.
//   few tokens   straight from the registers that hold the transposed words.
//   many tokens  a panel of rows by 128 columns is transposed and decoded once into scratch (cache
//                level 1) and every token runs over it.
// Packed activations, float32: [block of 128 columns][token][step of 32][pair 16][part][even, odd],
// `even` and `odd` being the two positions of the pair. V is a lane type (lanes_*.hpp), Parts 3
// (invariant) or 1 (x as it is). Internal linkage, see table.hpp.
#pragma once

#include "runtime/kernels/cpu/table.hpp"

#include <cstring>

namespace atl::kernels {
namespace {

#define ATOLL_INLINE [[gnu::always_inline]] inline

enum class stored { bf16, f8 };

constexpr std::int64_t block_cols = 128;
constexpr int block_steps = 4;
constexpr int step_pairs = 16;
constexpr std::size_t line = 64;  // bytes of a row transposed at once

template <int Parts>
constexpr std::int64_t step_floats = step_pairs * 2 * Parts;
template <int Parts>
constexpr std::int64_t block_floats = block_steps* step_floats<Parts>;

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Steps of 32 that K columns take: 1 per line of bfloat16, 2 per line of FP8.
template <stored S>
constexpr std::int64_t steps_of(std::int64_t k) {
  return S == stored::bf16 ? ceil_div(k, 32) : 2 * ceil_div(k, 64);
}

template <stored S>
constexpr std::size_t bytes_of = S == stored::bf16 ? 2 : 1;

template <int Parts>
std::size_t panel_packed_bytes(std::int64_t tokens, std::int64_t k) {
  return static_cast<std::size_t>(ceil_div(k, block_cols) * tokens * block_floats<Parts>) * 4;
}

ATOLL_INLINE float high_half(float v) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &v, sizeof bits);
  bits &= 0xffff0000U;
  std::memcpy(&v, &bits, sizeof bits);
  return v;
}

/// The bits of the nearest bfloat16: round to nearest, ties to even; a NaN stays one.
ATOLL_INLINE std::uint32_t round_bf16(float v) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &v, sizeof bits);
  const std::uint32_t up = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  return v != v ? (bits >> 16) | 0x40U : up;
}

/// One step's 32 values, position order, into [pair][part][2].
template <int Parts>
ATOLL_INLINE void pack_step(const float (&x)[32], float* out) {
  float parts[Parts][32];
  for (int p = 0; p < 32; ++p) {
    if constexpr (Parts == 1) {
      parts[0][p] = x[p];
    } else {
      parts[0][p] = high_half(x[p]);
      const float rest = x[p] - parts[0][p];
      parts[1][p] = high_half(rest);
      parts[2][p] = high_half(rest - parts[1][p]);
    }
  }
  for (int pair = 0; pair < step_pairs; ++pair)
    for (int part = 0; part < Parts; ++part)
      std::memcpy(out + (pair * Parts + part) * 2, &parts[part][pair * 2], 2 * sizeof(float));
}

/// Column, within its group of two steps, at position p of step h.
template <stored S>
constexpr int column_of(int h, int p) {
  return S == stored::bf16 ? h * 32 + p : p / 8 * 16 + h * 8 + p % 8;
}

template <int Parts, stored S>
void pack_panel(const pack_range& r) {
  constexpr std::int64_t group = 64;
  float* packed = reinterpret_cast<float*>(r.packed);
  const std::int64_t steps = steps_of<S>(r.k);
  for (std::int64_t t = r.begin; t < r.end; ++t) {
    for (std::int64_t g = 0; g < ceil_div(r.k, group); ++g) {
      const std::int64_t left = r.k - g * group < group ? r.k - g * group : group;
      float x[group] = {};
      std::memcpy(x, r.x + t * r.x_stride + g * group, static_cast<std::size_t>(left) * 4);
      for (int h = 0; h < 2 && 2 * g + h < steps; ++h) {
        float ordered[32];
        for (int p = 0; p < 32; ++p) ordered[p] = x[column_of<S>(h, p)];
        const std::int64_t step = 2 * g + h;
        pack_step<Parts>(ordered,
                         packed + (step / block_steps * r.tokens + t) * block_floats<Parts> +
                             step % block_steps * step_floats<Parts>);
      }
    }
  }
}

/// Rows of weights seen a line at a time; lines that are not whole are copied and padded with
/// zeros.
template <class V, stored S>
struct row_lines {
  const std::byte* base;
  std::size_t stride;
  std::int64_t rows;  // 1 to V::count are there

  ATOLL_INLINE void load(std::int64_t at, typename V::words (&out)[16]) const {
    const std::size_t offset = static_cast<std::size_t>(at) * line;
    if (rows == V::count && offset + line <= stride) [[likely]] {
      V::transpose(base + offset, stride, out);
    } else {
      load_partial(offset, out);
    }
  }

  [[gnu::noinline]] void load_partial(std::size_t offset, typename V::words (&out)[16]) const {
    alignas(64) std::byte staged[V::count * line] = {};
    const std::size_t bytes = stride - offset < line ? stride - offset : line;
    for (std::int64_t r = 0; r < rows; ++r)
      std::memcpy(staged + static_cast<std::size_t>(r) * line,
                  base + static_cast<std::size_t>(r) * stride + offset,
                  bytes);
    V::transpose(staged, line, out);
  }
};

/// C += step for each part in order, for Vectors x Tokens lanes of C.
template <class V, int Parts>
struct chains {
  typename V::floats even[Parts];
  typename V::floats odd[Parts];

  ATOLL_INLINE void clear() {
    for (int p = 0; p < Parts; ++p) even[p] = odd[p] = V::zero();
  }
  ATOLL_INLINE void add_to(typename V::floats& c) const {
    for (int p = 0; p < Parts; ++p) c = V::add(c, V::add(even[p], odd[p]));
  }
};

template <class V, int Parts, int Tokens>
ATOLL_INLINE void add_pair(chains<V, Parts> (&sums)[Tokens],
                           typename V::floats even,
                           typename V::floats odd,
                           const float* x,
                           std::int64_t token_stride) {
#pragma GCC unroll 4
  for (int t = 0; t < Tokens; ++t)
#pragma GCC unroll 3
    for (int p = 0; p < Parts; ++p) {
      sums[t].even[p] = V::fma(even, V::broadcast(x + t * token_stride + p * 2), sums[t].even[p]);
      sums[t].odd[p] = V::fma(odd, V::broadcast(x + t * token_stride + p * 2 + 1), sums[t].odd[p]);
    }
}

/// One line of V::count rows times Tokens rows of activations, added to c. x: the line's first
/// step.
template <class V, int Parts, int Tokens, stored S>
ATOLL_INLINE void add_line(const typename V::words (&w)[16],
                           const float* x,
                           std::int64_t token_stride,
                           typename V::floats (&c)[Tokens]) {
  chains<V, Parts> sums[Tokens];
  if constexpr (S == stored::bf16) {
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; ++t) sums[t].clear();
#pragma GCC unroll 16
    for (int d = 0; d < 16; ++d)
      add_pair<V, Parts, Tokens>(
          sums, V::even(w[d]), V::odd(w[d]), x + d * 2 * Parts, token_stride);
#pragma GCC unroll 4
    for (int t = 0; t < Tokens; ++t) sums[t].add_to(c[t]);
  } else {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const float* step = x + h * step_floats<Parts>;
#pragma GCC unroll 4
      for (int t = 0; t < Tokens; ++t) sums[t].clear();
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        typename V::floats q[4];
        V::decode(w[i / 2 * 4 + h * 2 + i % 2], q);
        add_pair<V, Parts, Tokens>(sums, q[0], q[1], step + i * 4 * Parts, token_stride);
        add_pair<V, Parts, Tokens>(sums, q[2], q[3], step + (i * 4 + 2) * Parts, token_stride);
      }
#pragma GCC unroll 4
      for (int t = 0; t < Tokens; ++t) sums[t].add_to(c[t]);
    }
  }
}

/// Asks for `count` lines from `at`. Rows are taken in groups; asking for the next group in the
/// order of its addresses, while this one is computed, keeps one linear stream from memory.
/// Harmless past the end of the mapping.
template <int Count>
ATOLL_INLINE void prefetch_lines(const std::byte* at) {
#pragma GCC unroll 16
  for (int i = 0; i < Count; ++i) __builtin_prefetch(at + static_cast<std::size_t>(i) * line);
}

/// Scales of V::count rows from `row` of the matrix, in column block b: at most two rows of scales.
template <class V>
ATOLL_INLINE typename V::floats
row_scales(const product& m, std::int64_t row, std::int64_t rows, std::int64_t b) {
  const std::int64_t first = m.first_row + row;
  const float* top = m.scales + first / block_cols * m.scale_cols + b;
  if (first / block_cols == (first + rows - 1) / block_cols) return V::broadcast(top);
  alignas(64) float each[V::count];
  for (std::int64_t i = 0; i < V::count; ++i) {
    const std::int64_t r = i < rows ? i : rows - 1;
    each[i] = m.scales[(first + r) / block_cols * m.scale_cols + b];
  }
  return V::load(each);
}

/// All columns of rows [row, row + rows) for all Tokens tokens.
template <class V, int Parts, int Tokens, stored S>
void multiply_direct(const product& m, std::int64_t row, std::int64_t rows) {
  constexpr int line_steps = S == stored::bf16 ? 1 : 2;
  const std::size_t row_bytes = static_cast<std::size_t>(m.cols) * bytes_of<S>;
  const row_lines<V, S> lines{
      m.weights + static_cast<std::size_t>(row) * row_bytes, row_bytes, rows};
  const std::byte* next = lines.base + V::count * row_bytes;
  const bool prefetch = row + 2 * V::count <= m.rows;
  const float* x = reinterpret_cast<const float*>(m.packed);
  typename V::floats c[Tokens];
  typename V::floats total[Tokens];
  for (int t = 0; t < Tokens; ++t) c[t] = total[t] = V::zero();
  const std::int64_t line_count = steps_of<S>(m.cols) / line_steps;
  constexpr int block_lines = block_steps / line_steps;
  for (std::int64_t first = 0, b = 0; first < line_count; first += block_lines, ++b) {
    const float* block_x = x + b * m.tokens * block_floats<Parts>;
    const std::int64_t here = line_count - first < block_lines ? line_count - first : block_lines;
    for (std::int64_t l = 0; l < here; ++l) {
      typename V::words w[16];
      lines.load(first + l, w);
      if (prefetch) prefetch_lines<V::count>(next + (first + l) * V::count * line);
      add_line<V, Parts, Tokens, S>(
          w, block_x + l * line_steps * step_floats<Parts>, block_floats<Parts>, c);
    }
    if constexpr (S == stored::f8) {
      const typename V::floats scale = row_scales<V>(m, row, rows, b);
      for (int t = 0; t < Tokens; ++t) {
        total[t] = V::fma(c[t], scale, total[t]);
        c[t] = V::zero();
      }
    }
  }
  for (int t = 0; t < Tokens; ++t) {
    float* out = m.y + t * m.y_stride + row;
    const typename V::floats value = S == stored::f8 ? total[t] : c[t];
    if (rows == V::count) {
      V::store(out, value);
    } else {
      V::store_first(out, value, rows);
    }
  }
}

/// A panel: float32 [step][pair][even, odd][row vector], for block_steps steps.
template <class V>
constexpr int panel_rows = V::panel_vectors* V::count;
template <class V>
constexpr std::int64_t panel_floats = block_steps* step_pairs * 2 * panel_rows<V>;

/// Transposes and decodes the lines of one block for one vector of rows into its place of the
/// panel.
template <class V, stored S>
ATOLL_INLINE void
fill_panel(const row_lines<V, S>& lines, std::int64_t first, std::int64_t count, float* panel) {
  constexpr int pair_floats = 2 * panel_rows<V>;
  for (std::int64_t l = 0; l < count; ++l) {
    typename V::words w[16];
    lines.load(first + l, w);
    if constexpr (S == stored::bf16) {
      float* out = panel + l * step_pairs * pair_floats;
#pragma GCC unroll 16
      for (int d = 0; d < 16; ++d) {
        V::store(out + d * pair_floats, V::even(w[d]));
        V::store(out + d * pair_floats + panel_rows<V>, V::odd(w[d]));
      }
    } else {
#pragma GCC unroll 16
      for (int d = 0; d < 16; ++d) {
        const int pair = d / 4 * 4 + d % 2 * 2;
        float* out = panel + ((l * 2 + d / 2 % 2) * step_pairs + pair) * pair_floats;
        typename V::floats q[4];
        V::decode(w[d], q);
        for (int i = 0; i < 4; ++i) V::store(out + i * panel_rows<V>, q[i]);
      }
    }
  }
}

/// Lines to ask for during each step of a panel: a share of the next panel's weights.
struct ahead {
  const std::byte* at;
  std::int64_t step_lines;
};

/// One pair of positions of a panel; each broadcast activation serves all row vectors.
template <class V, int Parts, int Tokens>
ATOLL_INLINE void
add_panel_pair(chains<V, Parts> (&sums)[V::panel_vectors][Tokens], const float* w, const float* x) {
  typename V::floats even[V::panel_vectors];
  typename V::floats odd[V::panel_vectors];
#pragma GCC unroll 4
  for (int v = 0; v < V::panel_vectors; ++v) {
    even[v] = V::load(w + v * V::count);
    odd[v] = V::load(w + panel_rows<V> + v * V::count);
  }
#pragma GCC unroll 4
  for (int t = 0; t < Tokens; ++t)
#pragma GCC unroll 3
    for (int p = 0; p < Parts; ++p) {
      const float* at = x + t * block_floats<Parts> + p * 2;
      const typename V::floats x_even = V::broadcast(at);
#pragma GCC unroll 4
      for (int v = 0; v < V::panel_vectors; ++v)
        sums[v][t].even[p] = V::fma(even[v], x_even, sums[v][t].even[p]);
      const typename V::floats x_odd = V::broadcast(at + 1);
#pragma GCC unroll 4
      for (int v = 0; v < V::panel_vectors; ++v)
        sums[v][t].odd[p] = V::fma(odd[v], x_odd, sums[v][t].odd[p]);
    }
}

/// c (Tokens, panel rows) += panel times Tokens rows of one block of activations.
template <class V, int Parts, int Tokens>
ATOLL_INLINE void run_panel(const float* panel,
                            const float* x,
                            std::int64_t steps,
                            const ahead& next,
                            typename V::floats (&c)[Tokens][V::panel_vectors]) {
  constexpr int vectors = V::panel_vectors;
  for (std::int64_t s = 0; s < steps; ++s) {
    chains<V, Parts> sums[vectors][Tokens];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v)
#pragma GCC unroll 4
      for (int t = 0; t < Tokens; ++t) sums[v][t].clear();
    const float* w = panel + s * step_pairs * 2 * panel_rows<V>;
    const float* xs = x + s * step_floats<Parts>;
    for (std::int64_t i = 0; i < next.step_lines; ++i)
      __builtin_prefetch(next.at + (s * next.step_lines + i) * line);
#pragma GCC unroll 1
    for (int d = 0; d < step_pairs; ++d) {
      add_panel_pair<V, Parts, Tokens>(sums, w, xs);
      w += 2 * panel_rows<V>;
      xs += 2 * Parts;
    }
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v)
#pragma GCC unroll 4
      for (int t = 0; t < Tokens; ++t) sums[v][t].add_to(c[t][v]);
  }
}

template <class V, int Parts, int Tokens, stored S>
[[gnu::noinline]] void panel_tokens(const float* panel,
                                    const float* x,
                                    std::int64_t steps,
                                    const ahead& next,
                                    const typename V::floats (&scale)[V::panel_vectors],
                                    float* sums) {
  constexpr int vectors = V::panel_vectors;
  typename V::floats c[Tokens][vectors];
  for (int t = 0; t < Tokens; ++t)
    for (int v = 0; v < vectors; ++v)
      c[t][v] = S == stored::f8 ? V::zero() : V::load(sums + (t * vectors + v) * V::count);
  run_panel<V, Parts, Tokens>(panel, x, steps, next, c);
  for (int t = 0; t < Tokens; ++t)
    for (int v = 0; v < vectors; ++v) {
      float* at = sums + (t * vectors + v) * V::count;
      V::store(at, S == stored::f8 ? V::fma(c[t][v], scale[v], V::load(at)) : c[t][v]);
    }
}

template <class V>
std::size_t panel_scratch_bytes(std::int64_t tokens, std::int64_t /*k*/) {
  return static_cast<std::size_t>(panel_floats<V> + tokens * panel_rows<V>) * sizeof(float);
}

/// All columns of rows [row, row + rows), rows at most panel_rows, for all tokens.
template <class V, int Parts, stored S>
void multiply_panel(const product& m, std::int64_t row, std::int64_t rows) {
  constexpr int vectors = V::panel_vectors;
  constexpr int line_steps = S == stored::bf16 ? 1 : 2;
  constexpr int block_lines = block_steps / line_steps;
  const std::size_t row_bytes = static_cast<std::size_t>(m.cols) * bytes_of<S>;
  float* panel = reinterpret_cast<float*>(m.scratch);
  float* sums = panel + panel_floats<V>;
  std::memset(sums, 0, static_cast<std::size_t>(m.tokens * panel_rows<V>) * sizeof(float));
  const std::int64_t line_count = steps_of<S>(m.cols) / line_steps;
  for (std::int64_t first = 0, b = 0; first < line_count; first += block_lines, ++b) {
    const std::int64_t here = line_count - first < block_lines ? line_count - first : block_lines;
    typename V::floats scale[vectors];
    for (int v = 0; v < vectors; ++v) {
      const std::int64_t at = row + v * V::count;
      const std::int64_t left = row + rows - at < V::count ? row + rows - at : V::count;
      scale[v] = V::zero();
      if (left <= 0) continue;
      const row_lines<V, S> lines{
          m.weights + static_cast<std::size_t>(at) * row_bytes, row_bytes, left};
      fill_panel<V, S>(lines, first, here, panel + v * V::count);
      if constexpr (S == stored::f8) scale[v] = row_scales<V>(m, at, left, b);
    }
    const float* x = reinterpret_cast<const float*>(m.packed) + b * m.tokens * block_floats<Parts>;
    const std::int64_t steps = here * line_steps;
    const std::int64_t calls = ceil_div(m.tokens, V::panel_tokens);
    ahead next{m.weights + static_cast<std::size_t>(row + panel_rows<V>) * row_bytes +
                   static_cast<std::size_t>(first * panel_rows<V>) * line,
               row + 2 * panel_rows<V> <= m.rows ? ceil_div(here * panel_rows<V>, calls * steps)
                                                 : 0};
    for (std::int64_t t = 0; t < m.tokens;) {
      const float* at = x + t * block_floats<Parts>;
      float* c = sums + t * panel_rows<V>;
      if (t + V::panel_tokens <= m.tokens) {
        panel_tokens<V, Parts, V::panel_tokens, S>(panel, at, steps, next, scale, c);
        t += V::panel_tokens;
      } else {
        panel_tokens<V, Parts, 1, S>(panel, at, steps, next, scale, c);
        ++t;
      }
      next.at += static_cast<std::size_t>(next.step_lines * steps) * line;
    }
  }
  for (std::int64_t t = 0; t < m.tokens; ++t)
    std::memcpy(m.y + t * m.y_stride + row,
                sums + t * panel_rows<V>,
                static_cast<std::size_t>(rows) * sizeof(float));
}

template <class V, int Parts, int Tokens, stored S>
void multiply_direct_rows(const product& m) {
  for (std::int64_t row = 0; row < m.rows; row += V::count) {
    const std::int64_t left = m.rows - row;
    multiply_direct<V, Parts, Tokens, S>(m, row, left < V::count ? left : V::count);
  }
}

template <class V, int Parts, stored S>
void multiply_lanes(const product& m) {
  if (m.tokens == 1) return multiply_direct_rows<V, Parts, 1, S>(m);
  if (m.tokens == 2) return multiply_direct_rows<V, Parts, 2, S>(m);
  if constexpr (V::direct_tokens >= 4) {
    if (m.tokens == 3) return multiply_direct_rows<V, Parts, 3, S>(m);
    if (m.tokens == 4) return multiply_direct_rows<V, Parts, 4, S>(m);
  }
  for (std::int64_t row = 0; row < m.rows; row += panel_rows<V>) {
    const std::int64_t left = m.rows - row;
    multiply_panel<V, Parts, S>(m, row, left < panel_rows<V> ? left : panel_rows<V>);
  }
}

}  // namespace
}  // namespace atl::kernels
