// Functions of one row of float32 values: norms, activations, rotations, small reductions.
//
// Every result is a function of the row alone and has the same bits on every instruction set. A
// reduction runs in 16 virtual lanes, lane = index mod 16 in ascending index, with a zero-padded
// tail; the lanes are then added as a tree: l[i] += l[i+8], then +4, +2, +1. Multiplications and
// additions are fused only where a formula below says fma. Pure functions, any thread; the
// floating-point environment must be the default one (no flushing of denormals). Pointers need not
// be aligned. Input and output may be the same row, but may not overlap otherwise.
#pragma once

#include "runtime/tensor/view.hpp"

#include <cstdint>

namespace atl::kernels {

enum class isa : std::uint8_t;  // runtime/kernels/isa.hpp

struct row_kernels {
  /// y[i] = (x[i] * r) * w[i] with r = 1 / sqrt(sum(x^2) / n + eps), sum by fma; w holds n values,
  /// f32, f16 or bf16 (RMSNorm as in DeepseekV3RMSNorm, all in float32).
  void (*rms_norm)(
      const float* x, const tensor::weight_vector& w, float eps, float* y, std::int64_t n);

  /// out[i] = silu(gate[i]) * up[i].
  void (*swiglu)(const float* gate, const float* up, float* out, std::int64_t n);

  /// y[i] = y[i] + x[i].
  void (*add)(float* y, const float* x, std::int64_t n);

  /// y[i] = fma(w, x[i], y[i]).
  void (*accumulate)(float w, const float* x, float* y, std::int64_t n);

  /// y[i] = w * x[i].
  void (*scale_copy)(float w, const float* x, float* y, std::int64_t n);

  /// Rotates `pairs` pairs in place by their angles: (a, b) becomes (fma(a, cos, -(b * sin)),
  /// fma(b, cos, a * sin)). Pair j is (x[2j], x[2j+1]) if interleaved, else (x[j], x[j+pairs]).
  void (*rope)(float* x, const float* cos, const float* sin, std::int64_t pairs, bool interleaved);

  /// y = the stored row as float32 (exact; FP8: value times the scale of its block, rounded once).
  void (*embed)(const tensor::weight_matrix& table, std::int64_t row, float* y);

  /// x[i] = sigmoid(x[i]), bits as sigmoid_f32.
  void (*sigmoid)(float* x, std::int64_t n);

  /// x[i] = e^(x[i] - max) / sum of these; n >= 1.
  void (*softmax)(float* x, std::int64_t n);

  /// Index of the largest value, the lowest one on ties; NaN never wins; 0 if nothing does.
  std::int64_t (*argmax)(const float* x, std::int64_t n);

  /// The functions for an instruction set, which the machine must have.
  static row_kernels make(isa set) noexcept;
};

}  // namespace atl::kernels
