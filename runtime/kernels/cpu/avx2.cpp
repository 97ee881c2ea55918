#include "runtime/kernels/cpu/lanes_avx2.hpp"
#include "runtime/kernels/cpu/plain.hpp"

namespace atl::kernels {

const kernel_table avx2_invariant = lane_kernels<lanes_avx2, 3>();
const kernel_table avx2_fast = lane_kernels<lanes_avx2, 1>();

}  // namespace atl::kernels
