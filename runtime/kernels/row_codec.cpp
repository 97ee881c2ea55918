#include "runtime/kernels/row_codec.hpp"

#include "runtime/base/assert.hpp"
#include "runtime/kernels/cpu/row_tables.hpp"
#include "runtime/kernels/isa.hpp"

namespace atl::kernels {

row_codec row_codec::make(isa set, tensor::dtype type) noexcept {
  const row_codecs& all = set == isa::avx2 ? simd_avx2::codecs : simd_avx512::codecs;
  switch (type) {
  case tensor::dtype::f32: return all.f32;
  case tensor::dtype::bf16: return all.bf16;
  case tensor::dtype::f8_e4m3: return all.f8_e4m3;
  case tensor::dtype::f16: break;
  }
  ATOLL_ASSERT(type != tensor::dtype::f16);
  return all.f32;
}

}  // namespace atl::kernels
