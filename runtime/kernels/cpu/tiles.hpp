// Products on matrix tiles (AMX): weights are the A operand as they lie in memory, 16 rows by 64
// bytes; activations are packed as B. FP8 weights are decoded to bfloat16 tiles in scratch.
//   up to 16 tokens  32 rows of weights, tiles of as many columns as tokens; FP8 is decoded one
//   group
//                    of 64 columns ahead, between the tile operations of the group before.
//   more             2 x 2 tiles: 32 rows by 32 tokens; FP8 rows are decoded whole first.
// Packed activations, 32-bit words of two bfloat16: [group of 16 tokens][step][part][pair
// 16][token]. Parts is 3 (x split exactly, the invariant order) or 1 (x rounded). T is a set of
// eight tiles with the operations of TDPBF16PS; the kernel configures it. Internal linkage, see
// table.hpp.
#pragma once

#ifdef __AVX512VBMI__

#include "runtime/kernels/cpu/lanes_avx512.hpp"
#include "runtime/kernels/cpu/panel.hpp"

namespace atl::kernels {
namespace {

constexpr std::int64_t tile_rows = 16;
constexpr std::size_t tile_bytes = 1024;
constexpr std::int64_t tile_words = 256;

/// Shapes of the eight tiles, as LDTILECFG reads them.
struct alignas(64) tile_config {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

/// Tiles that hold activations or results have `columns` columns, those of weights 64 bytes.
/// Results are 0 to 3; weights 4 and 5; activations 6 and 7, and with few columns 2, 3 and 6.
ATOLL_INLINE tile_config shape_tiles(std::int64_t columns) {
  tile_config made;
  for (int i = 0; i < 8; ++i) {
    made.rows[i] = 16;
    made.row_bytes[i] = static_cast<std::uint16_t>(i == 4 || i == 5 ? 64 : columns * 4);
  }
  return made;
}

constexpr std::int64_t tile_columns(std::int64_t tokens) { return tokens < 16 ? tokens : 16; }

template <int Parts, stored S>
std::size_t tile_packed_bytes(std::int64_t tokens, std::int64_t k) {
  const std::int64_t words = 16 * tile_columns(tokens);
  return static_cast<std::size_t>(ceil_div(tokens, 16) * steps_of<S>(k) * Parts * words) * 4;
}

/// Results and totals of 32 rows by 32 tokens (8 tiles), then 32 rows of decoded or padded weights:
/// all their steps, or two groups of FP8 (8 tiles).
template <stored S>
std::size_t tile_scratch_bytes(std::int64_t /*tokens*/, std::int64_t k) {
  return static_cast<std::size_t>(2 * steps_of<S>(k) + 16) * tile_bytes;
}

template <int Parts>
ATOLL_INLINE void split_bf16(float x, std::uint32_t (&parts)[Parts]) {
  if constexpr (Parts == 1) {
    parts[0] = round_bf16(x);
  } else {
    const float pieces[2] = {high_half(x), high_half(x - high_half(x))};
    const float rest = x - pieces[0] - pieces[1];
    std::memcpy(&parts[0], &pieces[0], 4);
    std::memcpy(&parts[1], &pieces[1], 4);
    std::memcpy(&parts[2], &rest, 4);
    for (std::uint32_t& part : parts) part >>= 16;
  }
}

template <int Parts, stored S>
void pack_tiles(const pack_range& r) {
  const std::int64_t columns = tile_columns(r.tokens);
  const std::int64_t steps = steps_of<S>(r.k);
  const std::int64_t step_words = Parts * 16 * columns;
  auto* packed = reinterpret_cast<std::uint32_t*>(r.packed);
  const std::int64_t padded = r.end == r.tokens ? ceil_div(r.end, columns) * columns : r.end;
  for (std::int64_t t = r.begin; t < padded; ++t) {
    std::uint32_t* out = packed + t / 16 * steps * step_words + t % 16;
    for (std::int64_t s = 0; s < steps; ++s, out += step_words) {
      float x[64] = {};
      const std::int64_t from = s / 2 * 64;
      const std::int64_t left = r.k - from < 64 ? r.k - from : 64;
      if (t < r.end)
        std::memcpy(x, r.x + t * r.x_stride + from, static_cast<std::size_t>(left) * 4);
      const int h = static_cast<int>(s % 2);
      for (int pair = 0; pair < step_pairs; ++pair) {
        std::uint32_t even[Parts];
        std::uint32_t odd[Parts];
        split_bf16<Parts>(x[column_of<S>(h, 2 * pair)], even);
        split_bf16<Parts>(x[column_of<S>(h, 2 * pair + 1)], odd);
        for (int p = 0; p < Parts; ++p) out[(p * 16 + pair) * columns] = even[p] | odd[p] << 16;
      }
    }
  }
}

/// Decodes 64 bytes of FP8 into a row of each of the group's two tiles.
ATOLL_INLINE void decode_row(__m512i codes, std::byte* first, std::byte* second) {
  const __m512i low = _mm512_permutex2var_epi8(
      _mm512_load_si512(f8_bytes.low), codes, _mm512_load_si512(f8_bytes.low + 64));
  const __m512i magnitude = _mm512_permutex2var_epi8(
      _mm512_load_si512(f8_bytes.high), codes, _mm512_load_si512(f8_bytes.high + 64));
  const __m512i high =
      _mm512_ternarylogic_epi32(magnitude, codes, _mm512_set1_epi8(static_cast<char>(0x80)), 0xf8);
  _mm512_store_si512(first, _mm512_unpacklo_epi8(low, high));
  _mm512_store_si512(second, _mm512_unpackhi_epi8(low, high));
}

/// Where tile (row tile r, step s) of 32 rows of weights lies.
struct tile_source {
  const std::byte* at;
  std::size_t stride;    // between rows
  std::size_t step;      // between steps
  std::size_t row_tile;  // between the two row tiles

  ATOLL_INLINE const std::byte* tile(std::int64_t r, std::int64_t s) const {
    return at + static_cast<std::size_t>(r) * row_tile + static_cast<std::size_t>(s) * step;
  }
};

/// 32 rows of a product from `row`; `rows` of them are there.
struct tile_block {
  const product& m;
  std::int64_t row;
  std::int64_t rows;
  std::size_t row_bytes;
  std::int64_t steps;

  const std::byte* row_at(std::int64_t r) const {
    return m.weights + static_cast<std::size_t>(row + r) * row_bytes;
  }
  /// 64 bytes of row r from `offset`; zeros beyond the row, and for rows that are not there.
  ATOLL_INLINE __m512i line_at(std::int64_t r, std::size_t offset) const {
    if (r >= rows || offset >= row_bytes) return _mm512_setzero_si512();
    const std::size_t left = row_bytes - offset;
    const __mmask64 there = left >= line ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
    return _mm512_maskz_loadu_epi8(there, row_at(r) + offset);
  }
};

/// Rows [from, to) of group g (64 columns) of FP8: tiles [row tile][2] at `out`.
ATOLL_INLINE void
decode_group(const tile_block& b, std::int64_t g, int from, int to, std::byte* out) {
  for (int r = from; r < to; ++r) {
    std::byte* at = out + static_cast<std::size_t>(r / 16) * 2 * tile_bytes +
                    static_cast<std::size_t>(r % 16) * line;
    decode_row(b.line_at(r, static_cast<std::size_t>(g) * line), at, at + tile_bytes);
  }
}

/// The block as tiles [row tile][step] in scratch.
template <stored S>
tile_source stage_block(const tile_block& b, std::byte* scratch) {
  const std::size_t row_tile = static_cast<std::size_t>(b.steps) * tile_bytes;
  for (std::int64_t r = 0; r < 2 * tile_rows; ++r) {
    std::byte* out = scratch + static_cast<std::size_t>(r / 16) * row_tile +
                     static_cast<std::size_t>(r % 16) * line;
    if constexpr (S == stored::bf16) {
      for (std::int64_t s = 0; s < b.steps; ++s, out += tile_bytes)
        _mm512_store_si512(out, b.line_at(r, static_cast<std::size_t>(s) * line));
    } else {
      for (std::int64_t g = 0; g < b.steps / 2; ++g, out += 2 * tile_bytes)
        decode_row(b.line_at(r, static_cast<std::size_t>(g) * line), out, out + tile_bytes);
    }
  }
  return {scratch, line, tile_bytes, row_tile};
}

/// totals = fma(results, scale of the row, totals) for one tile of 16 rows.
ATOLL_INLINE void
add_scaled(const tile_block& b, std::int64_t r, std::int64_t block, const float* c, float* total) {
  for (std::int64_t i = 0; i < tile_rows && r * tile_rows + i < b.rows; ++i) {
    const std::int64_t row = b.m.first_row + b.row + r * tile_rows + i;
    const float* scale = b.m.scales + row / block_cols * b.m.scale_cols + block;
    float* at = total + i * 16;
    _mm512_store_ps(
        at,
        _mm512_fmadd_ps(_mm512_load_ps(c + i * 16), _mm512_set1_ps(*scale), _mm512_load_ps(at)));
  }
}

/// A tile of results (16 rows, 16 tokens) to y.
ATOLL_INLINE void
store_tile(const tile_block& b, std::int64_t r, std::int64_t group, const float* tile) {
  const std::int64_t rows = b.rows - r * tile_rows < 16 ? b.rows - r * tile_rows : 16;
  if (rows <= 0) return;
  __m512i token[16];
  lanes_avx512::transpose(reinterpret_cast<const std::byte*>(tile), line, token);
  const std::int64_t tokens = b.m.tokens - group * 16 < 16 ? b.m.tokens - group * 16 : 16;
  for (std::int64_t t = 0; t < tokens; ++t)
    lanes_avx512::store_first(b.m.y + (group * 16 + t) * b.m.y_stride + b.row + r * tile_rows,
                              _mm512_castsi512_ps(token[t]),
                              rows);
}

/// One step of few tokens: both row tiles by the parts of the step's activations.
template <class T, int Parts>
ATOLL_INLINE void
narrow_step(const tile_source& w, std::int64_t s, const std::uint32_t* x, std::int64_t columns) {
  const std::size_t stride = static_cast<std::size_t>(columns) * 4;
  const std::uint32_t* at = x + s * Parts * 16 * columns;
  T::template load<2>(at, stride);
  T::template load<4>(w.tile(0, s), w.stride);
  T::template dot<0, 4, 2>();
  if constexpr (Parts == 3) {
    T::template load<3>(at + 16 * columns, stride);
    T::template dot<0, 4, 3>();
    T::template load<6>(at + 32 * columns, stride);
    T::template dot<0, 4, 6>();
  }
  T::template load<5>(w.tile(1, s), w.stride);
  T::template dot<1, 5, 2>();
  if constexpr (Parts == 3) {
    T::template dot<1, 5, 3>();
    T::template dot<1, 5, 6>();
  }
}

/// FP8, up to 16 tokens: one group of 64 columns is decoded ahead.
template <class T, int Parts>
void narrow_f8(const tile_block& b, const std::uint32_t* x, std::byte* decoded, float* results) {
  const std::int64_t columns = tile_columns(b.m.tokens);
  float* totals = results + 2 * tile_words;
  const std::int64_t groups = b.steps / 2;
  constexpr std::size_t group_bytes = 4 * tile_bytes;
  const std::byte* next = b.row_at(2 * tile_rows);
  const bool prefetch = b.row + 4 * tile_rows <= b.m.rows;
  decode_group(b, 0, 0, 32, decoded);
  T::template zero<0>();
  T::template zero<1>();
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::byte* now = decoded + static_cast<std::size_t>(g % 2) * group_bytes;
    std::byte* then = decoded + static_cast<std::size_t>((g + 1) % 2) * group_bytes;
    const tile_source w{now, line, tile_bytes, 2 * tile_bytes};
    const std::uint32_t* at = x + g * 2 * Parts * 16 * columns;
    if (prefetch) prefetch_lines<16>(next + static_cast<std::size_t>(g) * 32 * line);
    decode_group(b, g + 1, 0, 8, then);
    narrow_step<T, Parts>(w, 0, at, columns);
    decode_group(b, g + 1, 8, 24, then);
    if (prefetch) prefetch_lines<16>(next + (static_cast<std::size_t>(g) * 32 + 16) * line);
    narrow_step<T, Parts>(w, 1, at, columns);
    decode_group(b, g + 1, 24, 32, then);
    if (g % 2 == 0 && g + 1 < groups) continue;
    T::template store<0>(results, line);
    T::template store<1>(results + tile_words, line);
    T::template zero<0>();
    T::template zero<1>();
    for (int r = 0; r < 2; ++r)
      add_scaled(b, r, g / 2, results + r * tile_words, totals + r * tile_words);
  }
}

template <class T, int Parts, stored S>
void multiply_narrow(const tile_block& b, const tile_source* direct) {
  const auto* x = reinterpret_cast<const std::uint32_t*>(b.m.packed);
  auto* results = reinterpret_cast<float*>(b.m.scratch);
  std::memset(results, 0, 4 * tile_bytes);
  std::byte* staged = b.m.scratch + 4 * tile_bytes;
  float* out = results;
  if constexpr (S == stored::f8) {
    narrow_f8<T, Parts>(b, x, staged, results);
    out = results + 2 * tile_words;
  } else {
    const tile_source w = direct != nullptr ? *direct : stage_block<S>(b, staged);
    T::template zero<0>();
    T::template zero<1>();
    for (std::int64_t s = 0; s < b.steps; ++s)
      narrow_step<T, Parts>(w, s, x, tile_columns(b.m.tokens));
    T::template store<0>(results, line);
    T::template store<1>(results + tile_words, line);
  }
  for (int r = 0; r < 2; ++r) store_tile(b, r, 0, out + r * tile_words);
}

/// Steps [from, to) of 32 rows by the two groups of tokens at x and x + group_words.
template <class T, int Parts>
ATOLL_INLINE void wide_steps(const tile_source& w,
                             std::int64_t from,
                             std::int64_t to,
                             const std::uint32_t* x,
                             std::int64_t group_words) {
  for (std::int64_t s = from; s < to; ++s) {
    T::template load<4>(w.tile(0, s), w.stride);
    T::template load<5>(w.tile(1, s), w.stride);
#pragma GCC unroll 3
    for (int p = 0; p < Parts; ++p) {
      const std::uint32_t* at = x + (s * Parts + p) * tile_words;
      T::template load<6>(at, line);
      T::template load<7>(at + group_words, line);
      T::template dot<0, 4, 6>();
      T::template dot<1, 4, 7>();
      T::template dot<2, 5, 6>();
      T::template dot<3, 5, 7>();
    }
  }
}

template <class T>
ATOLL_INLINE void zero_results() {
  T::template zero<0>();
  T::template zero<1>();
  T::template zero<2>();
  T::template zero<3>();
}

template <class T>
ATOLL_INLINE void store_results(float* results) {
  T::template store<0>(results, line);
  T::template store<1>(results + tile_words, line);
  T::template store<2>(results + 2 * tile_words, line);
  T::template store<3>(results + 3 * tile_words, line);
}

/// More than 16 tokens. An odd last group is computed beside itself.
template <class T, int Parts, stored S>
void multiply_wide(const tile_block& b, const tile_source* direct) {
  auto* results = reinterpret_cast<float*>(b.m.scratch);
  float* totals = results + 4 * tile_words;
  const tile_source w =
      direct != nullptr ? *direct : stage_block<S>(b, b.m.scratch + 8 * tile_bytes);
  const std::int64_t groups = ceil_div(b.m.tokens, 16);
  const std::int64_t group_words = b.steps * Parts * tile_words;
  const std::byte* next = b.row_at(2 * tile_rows);
  const std::int64_t next_lines =
      b.row + 4 * tile_rows <= b.m.rows
          ? static_cast<std::int64_t>(b.row_bytes * 32 / line) / ceil_div(groups, 2)
          : 0;
  for (std::int64_t g = 0; g < groups; g += 2) {
    const std::int64_t beside = g + 1 < groups ? group_words : 0;
    const auto* x = reinterpret_cast<const std::uint32_t*>(b.m.packed) + g * group_words;
    for (std::int64_t i = 0; i < next_lines; ++i, next += line) __builtin_prefetch(next, 0, 2);
    const float* out = results;
    zero_results<T>();
    if constexpr (S == stored::bf16) {
      wide_steps<T, Parts>(w, 0, b.steps, x, beside);
      store_results<T>(results);
    } else {
      std::memset(totals, 0, 4 * tile_bytes);
      for (std::int64_t s = 0; s < b.steps; s += block_steps) {
        const std::int64_t end = s + block_steps < b.steps ? s + block_steps : b.steps;
        wide_steps<T, Parts>(w, s, end, x, beside);
        store_results<T>(results);
        zero_results<T>();
        for (int i = 0; i < 4; ++i)
          add_scaled(b, i / 2, s / block_steps, results + i * tile_words, totals + i * tile_words);
      }
      out = totals;
    }
    for (int i = 0; i < 4; ++i)
      if (g + i % 2 < groups) store_tile(b, i / 2, g + i % 2, out + i * tile_words);
  }
}

template <class T, int Parts, stored S>
void multiply_tiles(const product& m) {
  const tile_config config = shape_tiles(tile_columns(m.tokens));
  T::configure(config);
  const std::size_t row_bytes = static_cast<std::size_t>(m.cols) * bytes_of<S>;
  for (std::int64_t row = 0; row < m.rows; row += 2 * tile_rows) {
    const std::int64_t left = m.rows - row;
    const tile_block b{m, row, left < 32 ? left : 32, row_bytes, steps_of<S>(m.cols)};
    const tile_source whole{b.row_at(0), row_bytes, line, tile_rows * row_bytes};
    const bool is_whole = S == stored::bf16 && b.rows == 32 && row_bytes % line == 0;
    if (m.tokens <= 16) {
      multiply_narrow<T, Parts, S>(b, is_whole ? &whole : nullptr);
    } else {
      multiply_wide<T, Parts, S>(b, is_whole ? &whole : nullptr);
    }
  }
  T::release();
}

/// The fast class rounds activations only where tiles, not memory, set the pace.
template <class T, stored S>
struct fast_tiles {
  static bool few(std::int64_t tokens) { return tokens <= 16; }
  static std::size_t packed_bytes(std::int64_t tokens, std::int64_t k) {
    return few(tokens) ? tile_packed_bytes<3, S>(tokens, k) : tile_packed_bytes<1, S>(tokens, k);
  }
  static void pack(const pack_range& r) {
    return few(r.tokens) ? pack_tiles<3, S>(r) : pack_tiles<1, S>(r);
  }
  static void multiply(const product& m) {
    return few(m.tokens) ? multiply_tiles<T, 3, S>(m) : multiply_tiles<T, 1, S>(m);
  }
};

template <class T, stored S>
format_kernels tile_kernels(const format_kernels& lanes) {
  return {tile_packed_bytes<3, S>,
          pack_tiles<3, S>,
          tile_scratch_bytes<S>,
          multiply_tiles<T, 3, S>,
          lanes.multiply_transposed};
}

template <class T, stored S>
format_kernels fast_tile_kernels(const format_kernels& lanes) {
  return {fast_tiles<T, S>::packed_bytes,
          fast_tiles<T, S>::pack,
          tile_scratch_bytes<S>,
          fast_tiles<T, S>::multiply,
          lanes.multiply_transposed};
}

template <class T>
kernel_table tile_table() {
  return {avx512_invariant.f32,
          avx512_invariant.f16,
          tile_kernels<T, stored::bf16>(avx512_invariant.bf16),
          tile_kernels<T, stored::f8>(avx512_invariant.f8)};
}

template <class T>
kernel_table fast_tile_table() {
  return {avx512_fast.f32,
          avx512_fast.f16,
          fast_tile_kernels<T, stored::bf16>(avx512_fast.bf16),
          fast_tile_kernels<T, stored::f8>(avx512_fast.f8)};
}

}  // namespace
}  // namespace atl::kernels

#endif
