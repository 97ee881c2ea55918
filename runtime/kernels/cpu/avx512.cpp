#include "runtime/kernels/cpu/lanes_avx512.hpp"
#include "runtime/kernels/cpu/plain.hpp"

namespace atl::kernels {

const kernel_table avx512_invariant = lane_kernels<lanes_avx512, 3>();
const kernel_table avx512_fast = lane_kernels<lanes_avx512, 1>();

}  // namespace atl::kernels
