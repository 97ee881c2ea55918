// The tables of row and attention kernels, one per instruction set, from sources compiled with
// that set's flags. Only isa dispatch names them.
#pragma once

#include "runtime/kernels/attention.hpp"
#include "runtime/kernels/math.hpp"
#include "runtime/kernels/row_codec.hpp"
#include "runtime/kernels/rows.hpp"

namespace atl::kernels {

struct row_codecs {
  row_codec f32, bf16, f8_e4m3;
};

namespace simd_avx2 {
extern const row_kernels rows;
extern const row_codecs codecs;
extern const attention_kernels attention;
}  // namespace simd_avx2

namespace simd_avx512 {
extern const row_kernels rows;
extern const row_codecs codecs;
extern const attention_kernels attention;
}  // namespace simd_avx512

}  // namespace atl::kernels
