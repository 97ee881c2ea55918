// The fast class with vdpbf16ps for more than a few tokens: activations rounded to bfloat16, two
// products an instruction. A panel of 32 rows by 128 columns is transposed (and decoded) into
// scratch and every token runs over it.
// Packed activations, 32-bit words of two bfloat16: [block of 128 columns][token][step][pair].
// Few tokens take the float32 kernels of avx512_fast, and their packing. Internal linkage, see
// table.hpp.
#pragma once

#ifdef __AVX512BF16__

#include "runtime/kernels/cpu/lanes_avx512.hpp"
#include "runtime/kernels/cpu/panel.hpp"

namespace atl::kernels {
namespace {

using V = lanes_avx512;

constexpr std::int64_t float_tokens = V::direct_tokens;
constexpr int pair_vectors = 2;
constexpr int pair_rows = pair_vectors * V::count;
constexpr std::int64_t block_pairs = block_steps * step_pairs;
constexpr std::int64_t pair_panel_words = block_pairs * pair_rows;

template <stored S>
const format_kernels& float_kernels() {
  return S == stored::bf16 ? avx512_fast.bf16 : avx512_fast.f8;
}

template <stored S>
std::size_t pair_packed_bytes(std::int64_t tokens, std::int64_t k) {
  if (tokens <= float_tokens) return float_kernels<S>().packed_bytes(tokens, k);
  return static_cast<std::size_t>(ceil_div(k, block_cols) * tokens * block_pairs) * 4;
}

template <stored S>
std::size_t pair_scratch_bytes(std::int64_t tokens, std::int64_t k) {
  if (tokens <= float_tokens) return float_kernels<S>().scratch_bytes(tokens, k);
  return static_cast<std::size_t>(pair_panel_words + tokens * pair_rows) * 4;
}

template <stored S>
void pack_pairs(const pack_range& r) {
  if (r.tokens <= float_tokens) return float_kernels<S>().pack(r);
  constexpr std::int64_t group = 64;
  auto* packed = reinterpret_cast<std::uint32_t*>(r.packed);
  const std::int64_t steps = steps_of<S>(r.k);
  for (std::int64_t t = r.begin; t < r.end; ++t)
    for (std::int64_t g = 0; g < ceil_div(r.k, group); ++g) {
      const std::int64_t left = r.k - g * group < group ? r.k - g * group : group;
      float x[group] = {};
      std::memcpy(x, r.x + t * r.x_stride + g * group, static_cast<std::size_t>(left) * 4);
      for (int h = 0; h < 2 && 2 * g + h < steps; ++h) {
        const std::int64_t step = 2 * g + h;
        std::uint32_t* out = packed + (step / block_steps * r.tokens + t) * block_pairs +
                             step % block_steps * step_pairs;
        for (int pair = 0; pair < step_pairs; ++pair)
          out[pair] = round_bf16(x[column_of<S>(h, 2 * pair)]) |
                      round_bf16(x[column_of<S>(h, 2 * pair + 1)]) << 16;
      }
    }
}

/// Two bfloat16 held as float32 with their low halves zero, as one word.
ATOLL_INLINE __m512i paired(__m512 even, __m512 odd) {
  return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(even), 16),
                         _mm512_castps_si512(odd));
}

/// Lines of one block for one vector of rows into its place of the panel [step][pair][row].
template <stored S>
ATOLL_INLINE void fill_pair_panel(const row_lines<V, S>& lines,
                                  std::int64_t first,
                                  std::int64_t count,
                                  std::uint32_t* panel) {
  for (std::int64_t l = 0; l < count; ++l) {
    __m512i w[16];
    lines.load(first + l, w);
    if constexpr (S == stored::bf16) {
#pragma GCC unroll 16
      for (int d = 0; d < 16; ++d)
        _mm512_store_si512(panel + (l * step_pairs + d) * pair_rows, w[d]);
    } else {
#pragma GCC unroll 16
      for (int d = 0; d < 16; ++d) {
        const int pair = d / 4 * 4 + d % 2 * 2;
        std::uint32_t* out = panel + ((l * 2 + d / 2 % 2) * step_pairs + pair) * pair_rows;
        __m512 q[4];
        V::decode(w[d], q);
        _mm512_store_si512(out, paired(q[0], q[1]));
        _mm512_store_si512(out + pair_rows, paired(q[2], q[3]));
      }
    }
  }
}

/// c (Tokens, pair_rows) += panel times Tokens rows of one block of activations.
template <int Tokens, stored S>
[[gnu::noinline]] void run_pairs(const std::uint32_t* panel,
                                 const std::uint32_t* x,
                                 std::int64_t steps,
                                 const ahead& next,
                                 const __m512 (&scale)[pair_vectors],
                                 float* sums) {
  __m512 c[Tokens][pair_vectors];
#pragma GCC unroll 12
  for (int t = 0; t < Tokens; ++t)
#pragma GCC unroll 2
    for (int v = 0; v < pair_vectors; ++v)
      c[t][v] =
          S == stored::f8 ? _mm512_setzero_ps() : V::load(sums + t * pair_rows + v * V::count);
  for (std::int64_t s = 0; s < steps; ++s) {
    for (std::int64_t i = 0; i < next.step_lines; ++i)
      __builtin_prefetch(next.at + (s * next.step_lines + i) * line);
#pragma GCC unroll 1
    for (int d = 0; d < step_pairs; ++d) {
      const std::uint32_t* w = panel + (s * step_pairs + d) * pair_rows;
      const auto w0 = reinterpret_cast<__m512bh>(_mm512_load_si512(w));
      const auto w1 = reinterpret_cast<__m512bh>(_mm512_load_si512(w + V::count));
#pragma GCC unroll 12
      for (int t = 0; t < Tokens; ++t) {
        const auto pair = reinterpret_cast<__m512bh>(
            _mm512_set1_epi32(static_cast<int>(x[t * block_pairs + s * step_pairs + d])));
        c[t][0] = _mm512_dpbf16_ps(c[t][0], w0, pair);
        c[t][1] = _mm512_dpbf16_ps(c[t][1], w1, pair);
      }
    }
  }
#pragma GCC unroll 12
  for (int t = 0; t < Tokens; ++t)
#pragma GCC unroll 2
    for (int v = 0; v < pair_vectors; ++v) {
      float* at = sums + t * pair_rows + v * V::count;
      V::store(at, S == stored::f8 ? V::fma(c[t][v], scale[v], V::load(at)) : c[t][v]);
    }
}

/// All columns of rows [row, row + rows), rows at most pair_rows, for all tokens.
template <stored S>
void multiply_pair_panel(const product& m, std::int64_t row, std::int64_t rows) {
  constexpr int line_steps = S == stored::bf16 ? 1 : 2;
  constexpr int block_lines = block_steps / line_steps;
  const std::size_t row_bytes = static_cast<std::size_t>(m.cols) * bytes_of<S>;
  auto* panel = reinterpret_cast<std::uint32_t*>(m.scratch);
  auto* sums = reinterpret_cast<float*>(panel + pair_panel_words);
  std::memset(sums, 0, static_cast<std::size_t>(m.tokens * pair_rows) * sizeof(float));
  const std::int64_t line_count = steps_of<S>(m.cols) / line_steps;
  for (std::int64_t first = 0, b = 0; first < line_count; first += block_lines, ++b) {
    const std::int64_t here = line_count - first < block_lines ? line_count - first : block_lines;
    __m512 scale[pair_vectors];
    for (int v = 0; v < pair_vectors; ++v) {
      const std::int64_t at = row + v * V::count;
      const std::int64_t left = row + rows - at < V::count ? row + rows - at : V::count;
      scale[v] = V::zero();
      if (left <= 0) continue;
      const row_lines<V, S> lines{
          m.weights + static_cast<std::size_t>(at) * row_bytes, row_bytes, left};
      fill_pair_panel<S>(lines, first, here, panel + v * V::count);
      if constexpr (S == stored::f8) scale[v] = row_scales<V>(m, at, left, b);
    }
    const std::int64_t steps = here * line_steps;
    const std::int64_t calls = ceil_div(m.tokens, 12);
    ahead next{m.weights + static_cast<std::size_t>(row + pair_rows) * row_bytes +
                   static_cast<std::size_t>(first * pair_rows) * line,
               row + 2 * pair_rows <= m.rows ? ceil_div(here * pair_rows, calls * steps) : 0};
    const auto* x = reinterpret_cast<const std::uint32_t*>(m.packed) + b * m.tokens * block_pairs;
    for (std::int64_t t = 0; t < m.tokens;) {
      const std::uint32_t* at = x + t * block_pairs;
      float* c = sums + t * pair_rows;
      const std::int64_t left = m.tokens - t;
      if (left >= 12) {
        run_pairs<12, S>(panel, at, steps, next, scale, c);
        t += 12;
      } else if (left >= 4) {
        run_pairs<4, S>(panel, at, steps, next, scale, c);
        t += 4;
      } else {
        run_pairs<1, S>(panel, at, steps, next, scale, c);
        ++t;
      }
      next.at += static_cast<std::size_t>(next.step_lines * steps) * line;
    }
  }
  for (std::int64_t t = 0; t < m.tokens; ++t)
    std::memcpy(m.y + t * m.y_stride + row,
                sums + t * pair_rows,
                static_cast<std::size_t>(rows) * sizeof(float));
}

template <stored S>
void multiply_pairs(const product& m) {
  if (m.tokens <= float_tokens) return float_kernels<S>().multiply(m);
  for (std::int64_t row = 0; row < m.rows; row += pair_rows) {
    const std::int64_t left = m.rows - row;
    multiply_pair_panel<S>(m, row, left < pair_rows ? left : pair_rows);
  }
}

template <stored S>
format_kernels pair_kernels() {
  return {pair_packed_bytes<S>,
          pack_pairs<S>,
          pair_scratch_bytes<S>,
          multiply_pairs<S>,
          float_kernels<S>().multiply_transposed};
}

}  // namespace
}  // namespace atl::kernels

#endif
