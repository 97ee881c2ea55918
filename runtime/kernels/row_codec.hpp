// A row of float32 values as it travels: in one of the types f32, bf16 and f8_e4m3, laid out as
// transport/wire/rows.hpp says. What a row becomes is a function of the row alone, with the same
// bits on every instruction set.
//
//   f32      the values themselves
//   bf16     each rounded to nearest, ties to even; denormals kept, infinities and NaN stay what
//            they are
//   f8_e4m3  by blocks of 128 values, the last one shorter: scale s = max(max|x|, 1e-4) / 448, then
//            e4m3(x / s), rounded to nearest, ties to even; all the scales first, then the
//            elements, then zeros to a multiple of four bytes (the activations of DeepSeek-V3,
//            act_quant in inference/kernel.py). A block that holds an infinity or a NaN becomes all
//            NaN, under the scale 1: scales are always positive numbers.
// Read back, an f8_e4m3 element is its value times its scale, rounded once.
//
// Error for finite values, of x: bf16 at most 2^-8 |x| (or half a denormal's step); f8_e4m3 at most
// 2^-4 |x| (1 + 2^-22), or 2^-10 s where that is more.
//
// Pure functions, any thread; the floating-point environment must be the default one. Pointers to
// encoded rows need not be aligned. Input and output may not overlap.
#pragma once

#include "runtime/tensor/dtype.hpp"

#include <cstddef>
#include <cstdint>

namespace atl::kernels {

enum class isa : std::uint8_t;  // runtime/kernels/isa.hpp

struct row_codec {
  static constexpr std::int64_t block = 128;  // values of one scale

  tensor::dtype type = tensor::dtype::f32;

  /// n >= 0. The encoded row takes as many bytes as its layout says.
  void (*encode)(const float* x, std::int64_t n, std::byte* out) = nullptr;
  void (*decode)(const std::byte* in, std::int64_t n, float* y) = nullptr;

  /// The functions for a type of rows (not f16), on an instruction set, which the machine must
  /// have.
  static row_codec make(isa set, tensor::dtype type) noexcept;
};

}  // namespace atl::kernels
