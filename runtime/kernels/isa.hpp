// Instruction sets that the kernels know, and which of them this machine may use. A set counts as
// usable when the processor has it, the operating system saves its registers and, for AMX, the
// process was allowed to use tiles and they add in the order the kernels promise (checked once,
// with real products). Thread-safe; the answer never changes while the process runs. Ask once
// before threads with small signal stacks start: the permission for tiles is refused while one
// exists.
#pragma once

#include "runtime/base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace atl::kernels {

/// avx2: AVX2, FMA and F16C. avx512: also AVX-512 F, BW, DQ, VL and VBMI. amx: also the tiles, with
/// bfloat16.
enum class isa : std::uint8_t { avx2, avx512, amx };

/// "avx2", "avx512", "amx".
std::string_view to_string(isa set) noexcept;
std::optional<isa> isa_from_string(std::string_view name) noexcept;

/// Why the set cannot be used here, in words; empty when it can.
const std::string& isa_refusal(isa set);

inline bool isa_available(isa set) { return isa_refusal(set).empty(); }

/// The highest usable set; refused where not even AVX2 with FMA exists.
result<isa> best_isa();

/// AVX512_BF16 (vdpbf16ps): used by the fast numerics only.
bool has_avx512_bf16();

}  // namespace atl::kernels
