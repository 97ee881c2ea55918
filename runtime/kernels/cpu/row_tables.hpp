// The tables of row and attention kernels, one per instruction set, from sources compiled with
// that set's flags. Only isa dispatch names them.
#pragma once

#include "runtime/kernels/attention.hpp"
#include "runtime/kernels/math.hpp"
#include "runtime/kernels/rows.hpp"

namespace atl::kernels {

namespace simd_avx2 {
extern const row_kernels rows;
extern const attention_kernels attention;
}  // namespace simd_avx2

namespace simd_avx512 {
extern const row_kernels rows;
extern const attention_kernels attention;
}  // namespace simd_avx512

}  // namespace atl::kernels
