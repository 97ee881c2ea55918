#include "runtime/kernels/cpu/amx_check.hpp"

#include "runtime/base/memory.hpp"
#include "runtime/kernels/cpu/mxcsr.hpp"

#include <cstring>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace atl::kernels {
namespace {

struct check_shape {
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t tokens;
  std::int64_t first_row;
};

constexpr check_shape shapes[] = {
    {32, 256, 1, 0}, {40, 200, 5, 100}, {32, 128, 16, 0}, {64, 320, 40, 0}, {19, 65, 33, 120}};

/// A fixed sequence of bits (Marsaglia's xorshift64); any that has no pattern will do.
class bits {
public:
  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

private:
  std::uint64_t state_ = 88172645463325252ULL;
};

/// Sign and mantissa at random, exponent within 2^+-range; one in 16 near the denormals.
std::uint32_t draw_float(bits& random, std::uint32_t range) {
  const std::uint64_t r = random.next();
  const auto exponent = static_cast<std::uint32_t>(
      r % 16 == 0 ? (r >> 40) % 3 : 127 - range + (r >> 40) % (2 * range));
  return (static_cast<std::uint32_t>(r >> 8) & 0x807fffffU) | exponent << 23;
}

void multiply_with(const format_kernels& kernels, product m, const pack_range& x) {
  aligned_buffer packed{kernels.packed_bytes(x.tokens, x.k)};
  aligned_buffer scratch{kernels.scratch_bytes(x.tokens, x.k)};
  pack_range range = x;
  range.packed = packed.as<std::byte>();
  m.packed = packed.as<std::byte>();
  m.scratch = scratch.as<std::byte>();
  kernels.pack(range);
  kernels.multiply(m);
}

bool same_products(const format_kernels& tried,
                   const format_kernels& trusted,
                   const check_shape& s,
                   bool is_f8,
                   bits& random) {
  const std::size_t count = static_cast<std::size_t>(s.rows * s.cols);
  std::vector<std::uint16_t> weights(count);
  for (std::uint16_t& w : weights)
    w = static_cast<std::uint16_t>(is_f8 ? random.next() & 0x7777U : draw_float(random, 27) >> 16);
  std::vector<std::uint32_t> x(static_cast<std::size_t>(s.tokens * s.cols));
  for (std::uint32_t& v : x) v = draw_float(random, 27);
  const std::int64_t scale_cols = (s.cols + 127) / 128;
  std::vector<float> scales(
      static_cast<std::size_t>(((s.first_row + s.rows) / 128 + 1) * scale_cols));
  for (float& scale : scales) scale = 1.0F / static_cast<float>(1 + random.next() % 99);
  const pack_range range{
      reinterpret_cast<const float*>(x.data()), s.cols, s.tokens, s.cols, 0, s.tokens, nullptr};
  const auto* bytes = reinterpret_cast<const std::byte*>(weights.data());
  std::vector<float> y[2];
  const format_kernels* both[2] = {&tried, &trusted};
  for (int i = 0; i < 2; ++i) {
    y[i].assign(static_cast<std::size_t>(s.tokens * s.rows), 0.0F);
    multiply_with(*both[i],
                  {bytes,
                   s.rows,
                   s.cols,
                   scales.data(),
                   scale_cols,
                   s.first_row,
                   nullptr,
                   s.tokens,
                   y[i].data(),
                   s.rows,
                   nullptr},
                  range);
  }
  return std::memcmp(y[0].data(), y[1].data(), y[0].size() * sizeof(float)) == 0;
}

}  // namespace

std::string compare_tables(const kernel_table& tried, const kernel_table& trusted) {
  const flush_denormals mode;
  bits random;
  for (int round = 0; round < 4; ++round)
    for (const check_shape& s : shapes)
      for (const bool is_f8 : {false, true})
        if (!same_products(
                is_f8 ? tried.f8 : tried.bf16, is_f8 ? trusted.f8 : trusted.bf16, s, is_f8, random))
          return std::string{is_f8 ? "FP8" : "bfloat16"} + " products of " +
                 std::to_string(s.tokens) + " tokens differ";
  return {};
}

std::string amx_refusal() {
  constexpr long request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long tile_data = 18;
  if (syscall(SYS_arch_prctl, request_permission, tile_data) != 0)
    return "the operating system does not let this process use AMX tiles (a signal stack that is "
           "too small is one reason)";
  const std::string difference = compare_tables(amx_invariant(), avx512_invariant);
  if (difference.empty()) return {};
  return "this processor's AMX tiles add in another order than the invariant numerics promise: " +
         difference;
}

}  // namespace atl::kernels
