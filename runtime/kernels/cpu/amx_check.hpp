// Whether this machine's tiles may be used: the process is allowed to, and they add in the order of
// the invariant class. Other generations of the unit might not; no manual promises it.
#pragma once

#include "runtime/kernels/cpu/table.hpp"

#include <string>

namespace atl::kernels {

/// Multiplies several shapes with both tables and compares the bits; empty when all are equal, else
/// what differs first.
std::string compare_tables(const kernel_table& tried, const kernel_table& trusted);

/// Asks the kernel for the tiles, then compares them with the AVX-512 kernels; empty, or why tiles
/// cannot be used. Call only where the processor has AMX.
std::string amx_refusal();

}  // namespace atl::kernels
