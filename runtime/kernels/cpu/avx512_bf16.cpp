#include "runtime/kernels/cpu/pairs.hpp"

namespace atl::kernels {

const kernel_table& avx512_bf16_fast() {
  static const kernel_table table{
      avx512_fast.f32, avx512_fast.f16, pair_kernels<stored::bf16>(), pair_kernels<stored::f8>()};
  return table;
}

}  // namespace atl::kernels
