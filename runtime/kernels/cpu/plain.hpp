// Kernels that need no transposition: float32 and float16 weights in the invariant order of 16
// lanes along K, and the transposed product of every type, whose lanes are columns. V is a lane
// type (lanes_*.hpp). Internal linkage, see table.hpp.
#pragma once

#include "runtime/kernels/cpu/panel.hpp"

namespace atl::kernels {
namespace {

constexpr std::int64_t dot_lanes = 16;

/// Types of weights with the load of V::count of them as float32.
template <class V>
struct load_f32 {
  static constexpr std::size_t bytes = 4;
  static constexpr bool scaled = false;
  static typename V::floats load(const std::byte* at) {
    return V::load(reinterpret_cast<const float*>(at));
  }
};
template <class V>
struct load_f16 {
  static constexpr std::size_t bytes = 2;
  static constexpr bool scaled = false;
  static typename V::floats load(const std::byte* at) { return V::load_f16(at); }
};
template <class V>
struct load_bf16 {
  static constexpr std::size_t bytes = 2;
  static constexpr bool scaled = false;
  static typename V::floats load(const std::byte* at) { return V::load_bf16(at); }
};
template <class V>
struct load_f8 {
  static constexpr std::size_t bytes = 1;
  static constexpr bool scaled = true;
  static typename V::floats load(const std::byte* at) { return V::load_f8(at); }
};

/// The first `count` of V::count weights, the rest +0; reads no others.
template <class V, class Load>
ATOLL_INLINE typename V::floats load_first(const std::byte* at, std::int64_t count) {
  if (count >= V::count) return Load::load(at);
  alignas(64) std::byte padded[V::count * Load::bytes] = {};
  std::memcpy(padded, at, static_cast<std::size_t>(count) * Load::bytes);
  return Load::load(padded);
}

inline std::size_t dot_packed_bytes(std::int64_t tokens, std::int64_t k) {
  return static_cast<std::size_t>(ceil_div(k, dot_lanes) * dot_lanes * tokens) * sizeof(float);
}

inline std::size_t no_scratch(std::int64_t /*tokens*/, std::int64_t /*k*/) { return 0; }

/// Packed activations: rows padded with zeros to a multiple of 16.
inline void pack_dot(const pack_range& r) {
  const std::int64_t padded = ceil_div(r.k, dot_lanes) * dot_lanes;
  float* packed = reinterpret_cast<float*>(r.packed);
  for (std::int64_t t = r.begin; t < r.end; ++t) {
    float* out = packed + t * padded;
    std::memcpy(out, r.x + t * r.x_stride, static_cast<std::size_t>(r.k) * sizeof(float));
    std::memset(out + r.k, 0, static_cast<std::size_t>(padded - r.k) * sizeof(float));
  }
}

template <class V>
ATOLL_INLINE float tree_sum(const typename V::floats (&a)[dot_lanes / V::count]) {
  alignas(64) float lane[dot_lanes];
  for (int v = 0; v < dot_lanes / V::count; ++v) V::store(lane + v * V::count, a[v]);
  for (int half = dot_lanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] = lane[i] + lane[i + half];
  return lane[0];
}

/// One row of weights times Tokens rows of activations.
template <class V, class Load, int Tokens>
void dot_row(const product& m, const std::byte* row, std::int64_t r, std::int64_t token) {
  constexpr int vectors = dot_lanes / V::count;
  const std::int64_t padded = ceil_div(m.cols, dot_lanes) * dot_lanes;
  const float* x = reinterpret_cast<const float*>(m.packed) + token * padded;
  typename V::floats a[Tokens][vectors];
  for (int t = 0; t < Tokens; ++t)
    for (int v = 0; v < vectors; ++v) a[t][v] = V::zero();
  for (std::int64_t k = 0; k < padded; k += dot_lanes)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) {
      const std::int64_t at = k + v * V::count;
      if (at >= m.cols) break;
      const typename V::floats w =
          load_first<V, Load>(row + static_cast<std::size_t>(at) * Load::bytes, m.cols - at);
#pragma GCC unroll 4
      for (int t = 0; t < Tokens; ++t) a[t][v] = V::fma(w, V::load(x + t * padded + at), a[t][v]);
    }
  for (int t = 0; t < Tokens; ++t) m.y[(token + t) * m.y_stride + r] = tree_sum<V>(a[t]);
}

template <class V, class Load>
void multiply_dot(const product& m) {
  const std::size_t row_bytes = static_cast<std::size_t>(m.cols) * Load::bytes;
  for (std::int64_t r = 0; r < m.rows; ++r) {
    const std::byte* row = m.weights + static_cast<std::size_t>(r) * row_bytes;
    std::int64_t t = 0;
    for (; t + 4 <= m.tokens; t += 4) dot_row<V, Load, 4>(m, row, r, t);
    for (; t < m.tokens; ++t) dot_row<V, Load, 1>(m, row, r, t);
  }
}

/// Scales of `count` columns from `col`, for the scale row `block`.
template <class V>
ATOLL_INLINE typename V::floats
col_scales(const transposed_product& m, std::int64_t block, std::int64_t col, std::int64_t count) {
  const float* row = m.scales + block * m.scale_cols;
  alignas(64) float each[V::count] = {};
  for (std::int64_t i = 0; i < V::count; ++i)
    each[i] = row[(col + (i < count ? i : count - 1)) / block_cols];
  return V::load(each);
}

/// `Vectors` vectors of columns from `col`, Tokens tokens from `token`, all rows. `count` columns
/// of the last vector are there.
template <class V, class Load, int Vectors, int Tokens>
void transposed_columns(const transposed_product& m,
                        std::int64_t col,
                        std::int64_t count,
                        std::int64_t token) {
  const std::size_t row_bytes = static_cast<std::size_t>(m.cols) * Load::bytes;
  const std::byte* base = m.weights + static_cast<std::size_t>(col) * Load::bytes;
  const float* x = m.x + token * m.x_stride;
  typename V::floats total[Tokens][Vectors];
  for (int t = 0; t < Tokens; ++t)
    for (int v = 0; v < Vectors; ++v) total[t][v] = V::zero();
  for (std::int64_t begin = 0; begin < m.rows;) {
    const std::int64_t block = (m.first_row + begin) / block_cols;
    const std::int64_t block_end = (block + 1) * block_cols - m.first_row;
    const std::int64_t end = Load::scaled && block_end < m.rows ? block_end : m.rows;
    typename V::floats chain[Tokens][Vectors];
    for (int t = 0; t < Tokens; ++t)
      for (int v = 0; v < Vectors; ++v) chain[t][v] = V::zero();
    for (std::int64_t r = begin; r < end; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) {
        const typename V::floats w =
            load_first<V, Load>(base + static_cast<std::size_t>(r) * row_bytes +
                                    static_cast<std::size_t>(v) * V::count * Load::bytes,
                                v + 1 < Vectors ? V::count : count);
#pragma GCC unroll 4
        for (int t = 0; t < Tokens; ++t)
          chain[t][v] = V::fma(w, V::broadcast(x + t * m.x_stride + r), chain[t][v]);
      }
    for (int t = 0; t < Tokens; ++t)
      for (int v = 0; v < Vectors; ++v) {
        if constexpr (Load::scaled) {
          const typename V::floats scale =
              col_scales<V>(m, block, col + v * V::count, v + 1 < Vectors ? V::count : count);
          total[t][v] = V::fma(chain[t][v], scale, total[t][v]);
        } else {
          total[t][v] = chain[t][v];
        }
      }
    begin = end;
  }
  for (int t = 0; t < Tokens; ++t)
    for (int v = 0; v < Vectors; ++v) {
      float* out = m.y + (token + t) * m.y_stride + col + v * V::count;
      V::store_first(out, total[t][v], v + 1 < Vectors ? V::count : count);
    }
}

template <class V, class Load, int Vectors>
void transposed_strip(const transposed_product& m, std::int64_t col, std::int64_t count) {
  std::int64_t t = 0;
  for (; t + 2 <= m.tokens; t += 2) transposed_columns<V, Load, Vectors, 2>(m, col, count, t);
  for (; t < m.tokens; ++t) transposed_columns<V, Load, Vectors, 1>(m, col, count, t);
}

template <class V, class Load>
void multiply_transposed_lanes(const transposed_product& m) {
  constexpr std::int64_t wide = V::count == 16 ? 8 : 4;
  std::int64_t col = m.col_begin;
  for (; m.col_end - col >= wide * V::count; col += wide * V::count)
    transposed_strip<V, Load, wide>(m, col, V::count);
  for (; col < m.col_end; col += V::count) {
    const std::int64_t left = m.col_end - col;
    transposed_strip<V, Load, 1>(m, col, left < V::count ? left : V::count);
  }
}

template <class V, int Parts, stored S, class Load>
constexpr format_kernels panel_kernels() {
  return {panel_packed_bytes<Parts>,
          pack_panel<Parts, S>,
          panel_scratch_bytes<V>,
          multiply_lanes<V, Parts, S>,
          multiply_transposed_lanes<V, Load>};
}

template <class V, class Load>
constexpr format_kernels dot_kernels() {
  return {dot_packed_bytes,
          pack_dot,
          no_scratch,
          multiply_dot<V, Load>,
          multiply_transposed_lanes<V, Load>};
}

template <class V, int Parts>
constexpr kernel_table lane_kernels() {
  return {dot_kernels<V, load_f32<V>>(),
          dot_kernels<V, load_f16<V>>(),
          panel_kernels<V, Parts, stored::bf16, load_bf16<V>>(),
          panel_kernels<V, Parts, stored::f8, load_f8<V>>()};
}

}  // namespace
}  // namespace atl::kernels
