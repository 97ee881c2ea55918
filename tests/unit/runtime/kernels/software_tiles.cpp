#include "tests/unit/runtime/kernels/software_tiles.hpp"

#include "runtime/kernels/cpu/tiles.hpp"

namespace atl::kernels::testing {
namespace {

/// Eight tiles with the rules of Intel's manual: rows and row bytes from the configuration, loads
/// clear what lies beyond a tile's shape, TDPBF16PS in the order of the invariant class.
struct software_tiles {
  struct state {
    tile_config config;
    alignas(64) std::byte tile[8][16][64];
  };
  static state& self() {
    static thread_local state only{};
    return only;
  }

  static void configure(const tile_config& config) {
    self().config = config;
    std::memset(self().tile, 0, sizeof self().tile);
  }
  static void release() { std::memset(self().tile, 0xff, sizeof self().tile); }

  template <int Tile>
  static void zero() {
    std::memset(self().tile[Tile], 0, sizeof self().tile[Tile]);
  }
  template <int Tile>
  static void load(const void* at, std::size_t stride) {
    zero<Tile>();
    for (std::size_t r = 0; r < self().config.rows[Tile]; ++r)
      std::memcpy(self().tile[Tile][r],
                  static_cast<const std::byte*>(at) + r * stride,
                  self().config.row_bytes[Tile]);
  }
  template <int Tile>
  static void store(void* at, std::size_t stride) {
    for (std::size_t r = 0; r < self().config.rows[Tile]; ++r)
      std::memcpy(static_cast<std::byte*>(at) + r * stride,
                  self().tile[Tile][r],
                  self().config.row_bytes[Tile]);
  }

  static float half(const std::byte* pair, int which) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, pair, 4);
    bits = which == 0 ? bits << 16 : bits & 0xffff0000U;
    float value = 0;
    std::memcpy(&value, &bits, 4);
    return value;
  }

  template <int Sum, int Weights, int Activations>
  static void dot() {
    const tile_config& config = self().config;
    const int columns = config.row_bytes[Sum] / 4;
    for (int m = 0; m < config.rows[Sum]; ++m)
      for (int n = 0; n < columns; ++n) {
        float chain[2] = {};
        for (int k = 0; k < config.row_bytes[Weights] / 4; ++k)
          for (int which = 0; which < 2; ++which)
            chain[which] = __builtin_fmaf(half(self().tile[Weights][m] + k * 4, which),
                                          half(self().tile[Activations][k] + n * 4, which),
                                          chain[which]);
        float c = 0;
        std::memcpy(&c, self().tile[Sum][m] + n * 4, 4);
        c = c + (chain[0] + chain[1]);
        std::memcpy(self().tile[Sum][m] + n * 4, &c, 4);
      }
  }
};

}  // namespace

const kernel_table& software_tile_invariant() {
  static const kernel_table table = tile_table<software_tiles>();
  return table;
}

const kernel_table& software_tile_fast() {
  static const kernel_table table = fast_tile_table<software_tiles>();
  return table;
}

}  // namespace atl::kernels::testing
