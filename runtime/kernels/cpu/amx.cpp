// The tile kernels on AMX. Tile operations are written as assembly: the compiler's own do not say
// which memory they read and write (GCC 12), so that stores to scratch could move past them.
#include "runtime/kernels/cpu/tiles.hpp"

namespace atl::kernels {
namespace {

struct amx_tiles {
  static void configure(const tile_config& config) {
    asm volatile("ldtilecfg %0" : : "m"(config) : "memory");
  }
  static void release() { asm volatile("tilerelease" : : : "memory"); }

  template <int Tile>
  ATOLL_INLINE static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(Tile));
  }
  template <int Tile>
  ATOLL_INLINE static void load(const void* at, std::size_t stride) {
    asm volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(Tile), "r"(at), "r"(stride) : "memory");
  }
  template <int Tile>
  ATOLL_INLINE static void store(void* at, std::size_t stride) {
    asm volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(Tile), "r"(at), "r"(stride) : "memory");
  }
  template <int Sum, int Weights, int Activations>
  ATOLL_INLINE static void dot() {
    asm volatile("tdpbf16ps %%tmm%c0, %%tmm%c1, %%tmm%c2"
                 :
                 : "i"(Activations), "i"(Weights), "i"(Sum));
  }
};

}  // namespace

const kernel_table& amx_invariant() {
  static const kernel_table table = tile_table<amx_tiles>();
  return table;
}

const kernel_table& amx_fast() {
  static const kernel_table table = fast_tile_table<amx_tiles>();
  return table;
}

}  // namespace atl::kernels
