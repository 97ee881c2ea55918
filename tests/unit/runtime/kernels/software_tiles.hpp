// The tile kernels on tiles made of plain code, so that they are tested on machines without AMX.
#pragma once

#include "runtime/kernels/cpu/table.hpp"

namespace atl::kernels::testing {

/// Only where AVX-512 is available.
const kernel_table& software_tile_invariant();
const kernel_table& software_tile_fast();

}  // namespace atl::kernels::testing
