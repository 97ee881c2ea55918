// What this machine can do at best, measured now: memory read by plain vector loads, and float32
// fused multiply-adds in registers. Shares of these are what a benchmark can claim on any machine.
// Blocks for a second or two; call while nothing else runs.
#pragma once

#include "runtime/kernels/isa.hpp"

namespace atl::apps {

struct machine_peak {
  double read_bytes_per_second = 0;
  double fma_flops_per_second = 0;  // a fused multiply-add counts as two
};

/// With `threads` threads; `set` decides the width of the vectors (AMX: as AVX-512). Reads 1 GiB,
/// several times; the best run counts.
machine_peak measure_peak(kernels::isa set, int threads);

}  // namespace atl::apps
