#include "runtime/kernels/rows.hpp"

#include "runtime/kernels/cpu/row_tables.hpp"
#include "runtime/kernels/isa.hpp"

namespace atl::kernels {

row_kernels row_kernels::make(isa set) noexcept {
  return set == isa::avx2 ? simd_avx2::rows : simd_avx512::rows;
}

}  // namespace atl::kernels
