#include "runtime/kernels/isa.hpp"

#include "runtime/kernels/cpu/amx_check.hpp"

#include <array>
#include <cpuid.h>

namespace atl::kernels {
namespace {

struct cpu_features {
  bool avx2 = false;
  bool avx512 = false;
  bool avx512_bf16 = false;
  bool amx = false;
};

std::uint64_t enabled_state() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

bool all_bits(std::uint64_t value, std::uint64_t mask) { return (value & mask) == mask; }

cpu_features detect() {
  cpu_features found;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return found;
  constexpr unsigned fma = 1U << 12;
  constexpr unsigned osxsave = 1U << 27;
  constexpr unsigned avx = 1U << 28;
  constexpr unsigned f16c = 1U << 29;
  if (!all_bits(c, fma | osxsave | avx | f16c)) return found;
  const std::uint64_t state = enabled_state();
  constexpr std::uint64_t ymm_state = 0x6;
  constexpr std::uint64_t zmm_state = 0xe6;
  constexpr std::uint64_t tile_state = 0x60000;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
  const unsigned sub_leaves = a;
  found.avx2 = all_bits(b, 1U << 5) && all_bits(state, ymm_state);
  constexpr unsigned avx512_f_dq_bw_vl = (1U << 16) | (1U << 17) | (1U << 30) | (1U << 31);
  constexpr unsigned vbmi = 1U << 1;
  found.avx512 = found.avx2 && all_bits(b, avx512_f_dq_bw_vl) && all_bits(c, vbmi) &&
                 all_bits(state, zmm_state);
  constexpr unsigned amx_bf16_tile = (1U << 22) | (1U << 24);
  found.amx = found.avx512 && all_bits(d, amx_bf16_tile) && all_bits(state, tile_state);
  if (sub_leaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0)
    found.avx512_bf16 = found.avx512 && all_bits(a, 1U << 5);
  return found;
}

const cpu_features& features() {
  static const cpu_features found = detect();
  return found;
}

std::string why_not(isa set) {
  switch (set) {
  case isa::avx2: return features().avx2 ? "" : "the processor lacks AVX2, FMA or F16C";
  case isa::avx512:
    return features().avx512 ? "" : "the processor lacks AVX-512 F, BW, DQ, VL or VBMI";
  case isa::amx: break;
  }
  return features().amx ? amx_refusal() : "the processor lacks AMX tiles with bfloat16";
}

}  // namespace

std::string_view to_string(isa set) noexcept {
  switch (set) {
  case isa::avx2: return "avx2";
  case isa::avx512: return "avx512";
  case isa::amx: return "amx";
  }
  return "?";
}

std::optional<isa> isa_from_string(std::string_view name) noexcept {
  for (const isa set : {isa::avx2, isa::avx512, isa::amx})
    if (name == to_string(set)) return set;
  return std::nullopt;
}

const std::string& isa_refusal(isa set) {
  static const std::array<std::string, 3> reasons{
      why_not(isa::avx2), why_not(isa::avx512), why_not(isa::amx)};
  return reasons[static_cast<std::size_t>(set)];
}

result<isa> best_isa() {
  for (const isa set : {isa::amx, isa::avx512, isa::avx2})
    if (isa_available(set)) return set;
  return error{errc::unsupported,
               isa_refusal(isa::avx2) + "; Atoll's processor kernels need all three"};
}

bool has_avx512_bf16() { return features().avx512_bf16; }

}  // namespace atl::kernels
