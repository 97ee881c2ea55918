// The row kernels, compiled once per instruction set by rows_avx2.cpp and rows_avx512.cpp.

#include "runtime/kernels/cpu/row_tables.hpp"
#include "runtime/kernels/cpu/simd.hpp"

#include <limits>

namespace atl::kernels::ATOLL_SIMD {

namespace {

/// Applies one to every full vector of [0, n) and to the rest, through load and store.
template <class Function>
ATOLL_INLINE void map(float* y, std::int64_t n, Function&& value) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    value([i](const float* p) { return f32x16::load(p + i); }).store(y + i);
  if (i < n)
    store_part(value([i, n](const float* p) { return load_part(p + i, n - i); }), y + i, n - i);
}

/// Values [i, i + count) of a stored vector.
template <tensor::dtype Type>
ATOLL_INLINE f32x16 load_stored(const std::byte* data, std::int64_t i, std::int64_t count) {
  constexpr std::size_t size = tensor::element_bytes(Type);
  alignas(64) std::byte buffer[64];
  const std::byte* p = data + static_cast<std::size_t>(i) * size;
  if (count < 16) {
    std::memset(buffer, 0, sizeof buffer);
    std::memcpy(buffer, p, static_cast<std::size_t>(count) * size);
    p = buffer;
  }
  if constexpr (Type == tensor::dtype::f16) return load_f16(p);
  if constexpr (Type == tensor::dtype::bf16) return load_bf16(p);
  float values[16];
  std::memcpy(values, p, sizeof values);
  return f32x16::load(values);
}

template <tensor::dtype Type>
void norm_apply(const float* x, const std::byte* w, f32x16 r, float* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    ((f32x16::load(x + i) * r) * load_stored<Type>(w, i, 16)).store(y + i);
  if (i < n)
    store_part((load_part(x + i, n - i) * r) * load_stored<Type>(w, i, n - i), y + i, n - i);
}

void rms_norm(const float* x, const tensor::weight_vector& w, float eps, float* y, std::int64_t n) {
  ATOLL_ASSERT(w.count == n && n > 0);
  f32x16 sum = f32x16::of(0.0F);
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const f32x16 v = f32x16::load(x + i);
    sum = fma(v, v, sum);
  }
  if (i < n) {
    const f32x16 v = load_part(x + i, n - i);
    sum = fma(v, v, sum);
  }
  const float mean = sum_lanes(sum) / static_cast<float>(n);
  const f32x16 r = f32x16::of(rsqrt_f32(mean + eps));
  switch (w.type) {
  case tensor::dtype::f32: return norm_apply<tensor::dtype::f32>(x, w.data, r, y, n);
  case tensor::dtype::f16: return norm_apply<tensor::dtype::f16>(x, w.data, r, y, n);
  case tensor::dtype::bf16: return norm_apply<tensor::dtype::bf16>(x, w.data, r, y, n);
  case tensor::dtype::f8_e4m3: break;
  }
  ATOLL_ASSERT(w.type != tensor::dtype::f8_e4m3);
}

void swiglu(const float* gate, const float* up, float* out, std::int64_t n) {
  map(out, n, [&](auto load) { return silu_of(load(gate)) * load(up); });
}

void add(float* y, const float* x, std::int64_t n) {
  map(y, n, [&](auto load) { return load(y) + load(x); });
}

void accumulate(float w, const float* x, float* y, std::int64_t n) {
  const f32x16 factor = f32x16::of(w);
  map(y, n, [&](auto load) { return fma(factor, load(x), load(y)); });
}

void scale_copy(float w, const float* x, float* y, std::int64_t n) {
  const f32x16 factor = f32x16::of(w);
  map(y, n, [&](auto load) { return factor * load(x); });
}

void sigmoid(float* x, std::int64_t n) {
  map(x, n, [&](auto load) { return sigmoid_of(load(x)); });
}

void rotate(float& a, float& b, float c, float s) {
  const float x = a;
  const float m = b * s;
  const float k = x * s;
  a = __builtin_fmaf(x, c, -m);
  b = __builtin_fmaf(b, c, k);
}

void rope(float* x, const float* cos, const float* sin, std::int64_t pairs, bool interleaved) {
  std::int64_t j = 0;
  if (interleaved) {
    for (; j + 8 <= pairs; j += 8) {
      const f32x16 v = f32x16::load(x + 2 * j);
      const f32x16 cross = swap_pairs(v) * load_twice(sin + j);
      fma_alternate(v, load_twice(cos + j), cross).store(x + 2 * j);
    }
    for (; j < pairs; ++j) rotate(x[2 * j], x[2 * j + 1], cos[j], sin[j]);
    return;
  }
  for (; j + 16 <= pairs; j += 16) {
    const f32x16 a = f32x16::load(x + j);
    const f32x16 b = f32x16::load(x + pairs + j);
    const f32x16 c = f32x16::load(cos + j);
    const f32x16 s = f32x16::load(sin + j);
    fms(a, c, b * s).store(x + j);
    fma(b, c, a * s).store(x + pairs + j);
  }
  for (; j < pairs; ++j) rotate(x[j], x[pairs + j], cos[j], sin[j]);
}

template <tensor::dtype Type>
void widen(const std::byte* data, float* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) load_stored<Type>(data, i, 16).store(y + i);
  if (i < n) store_part(load_stored<Type>(data, i, n - i), y + i, n - i);
}

void embed(const tensor::weight_matrix& table, std::int64_t row, float* y) {
  ATOLL_ASSERT(row >= 0 && row < table.rows);
  const std::byte* data = table.data + static_cast<std::size_t>(row) * table.row_bytes();
  switch (table.type) {
  case tensor::dtype::f32: return widen<tensor::dtype::f32>(data, y, table.cols);
  case tensor::dtype::f16: return widen<tensor::dtype::f16>(data, y, table.cols);
  case tensor::dtype::bf16: return widen<tensor::dtype::bf16>(data, y, table.cols);
  case tensor::dtype::f8_e4m3: break;
  }
  for (std::int64_t i = 0; i < table.cols; ++i) {
    const float value = tensor::f8_e4m3_to_f32(static_cast<std::uint8_t>(data[i]));
    y[i] = value * table.scale(row, i);
  }
}

float max_of(const float* x, std::int64_t n) {
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  f32x16 top = f32x16::of(lowest);
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) top = max(f32x16::load(x + i), top);
  if (i < n) top = max(load_part(x + i, n - i, lowest), top);
  alignas(64) float lanes[16];
  top.store(lanes);
  float result = lanes[0];
  for (const float v : lanes) result = v > result ? v : result;
  return result;
}

void softmax(float* x, std::int64_t n) {
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  ATOLL_ASSERT(n > 0);
  const f32x16 top = f32x16::of(max_of(x, n));
  f32x16 sum = f32x16::of(0.0F);
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const f32x16 e = exp_of(f32x16::load(x + i) - top);
    e.store(x + i);
    sum = sum + e;
  }
  if (i < n) {
    const f32x16 e = exp_of(load_part(x + i, n - i, lowest) - top);
    store_part(e, x + i, n - i);
    sum = sum + e;  // the lanes past the end are e^-infinity = 0
  }
  const f32x16 total = f32x16::of(sum_lanes(sum));
  map(x, n, [&](auto load) { return load(x) / total; });
}

std::int64_t argmax(const float* x, std::int64_t n) {
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  // The block, a multiple of 16, in which each lane's best stands; a float counts blocks exactly
  // up to 2^24, that is 2^28 values.
  ATOLL_ASSERT(n < (std::int64_t{1} << 28));
  f32x16 top = f32x16::of(lowest);
  f32x16 block = f32x16::of(0.0F);
  f32x16 now = f32x16::of(0.0F);
  const f32x16 one = f32x16::of(1.0F);
  for (std::int64_t i = 0; i < n; i += 16, now = now + one) {
    const f32x16 v = i + 16 <= n ? f32x16::load(x + i) : load_part(x + i, n - i, lowest);
    block = select_greater(v, top, now, block);
    top = select_greater(v, top, v, top);
  }
  alignas(64) float tops[16];
  alignas(64) float blocks[16];
  top.store(tops);
  block.store(blocks);
  float best = lowest;
  std::int64_t index = 0;
  for (std::int64_t lane = 0; lane < 16; ++lane) {
    const std::int64_t at = static_cast<std::int64_t>(blocks[lane]) * 16 + lane;
    if (tops[lane] > best || (tops[lane] == best && best > lowest && at < index)) {
      best = tops[lane];
      index = at;
    }
  }
  return index;
}

}  // namespace

const row_kernels rows{
    rms_norm, swiglu, add, accumulate, scale_copy, rope, embed, sigmoid, softmax, argmax};

}  // namespace atl::kernels::ATOLL_SIMD
