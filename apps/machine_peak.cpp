#include "apps/machine_peak.hpp"

#include "runtime/base/clock.hpp"
#include "runtime/base/memory.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <immintrin.h>
#include <sys/mman.h>
#include <thread>
#include <vector>

namespace atl::apps {
namespace {

constexpr std::size_t read_bytes = std::size_t{1} << 30;
constexpr int runs = 5;
constexpr std::int64_t fma_rounds = 1 << 20;
constexpr std::size_t ahead = 4096;  // bytes prefetched before use: a page
constexpr double chains = 12;        // independent accumulators: latency 4, two units, and some

/// Sums eight 64-bit words at a time; the sum keeps the loads from being left out.
[[gnu::target("avx512f")]] std::uint64_t read_avx512(const std::byte* p, std::size_t bytes) {
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
  for (std::size_t i = 0; i + 256 <= bytes; i += 256) {
    for (std::size_t line = 0; line < 256; line += 64)
      _mm_prefetch(reinterpret_cast<const char*>(p + i + ahead + line), _MM_HINT_T0);
    a = _mm512_xor_si512(a, _mm512_load_si512(p + i));
    b = _mm512_xor_si512(b, _mm512_load_si512(p + i + 64));
    c = _mm512_xor_si512(c, _mm512_load_si512(p + i + 128));
    d = _mm512_xor_si512(d, _mm512_load_si512(p + i + 192));
  }
  a = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
  alignas(64) std::uint64_t words[8];
  _mm512_store_si512(words, a);
  return words[0] ^ words[1] ^ words[2] ^ words[3] ^ words[4] ^ words[5] ^ words[6] ^ words[7];
}

[[gnu::target("avx2")]] std::uint64_t read_avx2(const std::byte* p, std::size_t bytes) {
  __m256i a = _mm256_setzero_si256(), b = a;
  for (std::size_t i = 0; i + 64 <= bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(p + i + ahead), _MM_HINT_T0);
    a = _mm256_xor_si256(a, _mm256_load_si256(reinterpret_cast<const __m256i*>(p + i)));
    b = _mm256_xor_si256(b, _mm256_load_si256(reinterpret_cast<const __m256i*>(p + i + 32)));
  }
  alignas(32) std::uint64_t words[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), _mm256_xor_si256(a, b));
  return words[0] ^ words[1] ^ words[2] ^ words[3];
}

// Named accumulators that the compiler must keep in registers and may not fold.
#define ATOLL_EACH_CHAIN(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

[[gnu::target("avx512f")]] void fma_avx512(std::int64_t rounds) {
  const __m512 x = _mm512_set1_ps(1.0F), y = _mm512_set1_ps(1e-9F);
#define ATOLL_DECLARE(k) __m512 a##k = x;
#define ATOLL_STEP(k)                                                                              \
  a##k = _mm512_fmadd_ps(x, y, a##k);                                                              \
  asm volatile("" : "+v"(a##k));
  ATOLL_EACH_CHAIN(ATOLL_DECLARE)
  for (std::int64_t i = 0; i < rounds; ++i) {
    ATOLL_EACH_CHAIN(ATOLL_STEP)
  }
#undef ATOLL_DECLARE
#undef ATOLL_STEP
}

[[gnu::target("avx2,fma")]] void fma_avx2(std::int64_t rounds) {
  const __m256 x = _mm256_set1_ps(1.0F), y = _mm256_set1_ps(1e-9F);
#define ATOLL_DECLARE(k) __m256 a##k = x;
#define ATOLL_STEP(k)                                                                              \
  a##k = _mm256_fmadd_ps(x, y, a##k);                                                              \
  asm volatile("" : "+x"(a##k));
  ATOLL_EACH_CHAIN(ATOLL_DECLARE)
  for (std::int64_t i = 0; i < rounds; ++i) {
    ATOLL_EACH_CHAIN(ATOLL_STEP)
  }
#undef ATOLL_DECLARE
#undef ATOLL_STEP
}
#undef ATOLL_EACH_CHAIN

/// Seconds of the fastest of several runs of `body` in all threads at once.
double best_seconds(int threads, const std::function<void(int)>& body) {
  const steady_clock time;
  double best = 1e30;
  for (int run = 0; run < runs; ++run) {
    const time_point_ns begin = time.now();
    std::vector<std::jthread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back([&body, t] { body(t); });
    body(0);
    others.clear();
    best = std::min(best, seconds(time.now() - begin));
  }
  return best;
}

}  // namespace

machine_peak measure_peak(kernels::isa set, int threads) {
  const bool is_wide = set != kernels::isa::avx2;
  const auto count = static_cast<std::size_t>(threads);
  machine_peak peak;
  {
    aligned_buffer memory{read_bytes + ahead + 256};
    static_cast<void>(::madvise(memory.as<std::byte>(), memory.bytes(), MADV_HUGEPAGE));
    std::memset(memory.as<std::byte>(), 1, memory.bytes());
    const std::size_t share = read_bytes / count / 4096 * 4096;
    std::vector<std::uint64_t> sums(count * 8);  // a cache line each
    const double took = best_seconds(threads, [&](int t) {
      const auto index = static_cast<std::size_t>(t);
      const std::byte* from = memory.as<std::byte>() + index * share;
      sums[index * 8] = is_wide ? read_avx512(from, share) : read_avx2(from, share);
    });
    peak.read_bytes_per_second = static_cast<double>(share * count) / took;
  }
  const double took =
      best_seconds(threads, [&](int) { is_wide ? fma_avx512(fma_rounds) : fma_avx2(fma_rounds); });
  const double lanes = is_wide ? 16 : 8;
  peak.fma_flops_per_second =
      static_cast<double>(fma_rounds) * chains * lanes * 2 * static_cast<double>(threads) / took;
  return peak;
}

}  // namespace atl::apps
