// Speed of matrix products whose weights come from memory, beside the read bandwidth of the same
// moments. Prints one line a case: GB/s of weights, its share of the bandwidth read just before
// and after, and Gop/s (2 per weight and token, extra passes not counted).
//   matmul_bench [--isa avx2|avx512|amx] [--numerics invariant|fast] [--threads N] [--tokens 1,8]
//                [--types bf16,fp8] [--rows R] [--cols C] [--gigabytes G]
#include "runtime/base/clock.hpp"
#include "runtime/base/memory.hpp"
#include "runtime/kernels/matmul.hpp"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <functional>
#include <immintrin.h>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace atl;
using kernels::matmul;
using tensor::dtype;

constexpr double slice_seconds = 0.15;
constexpr int repeats = 5;

struct options {
  std::map<std::string, std::string> given;

  std::string text(const std::string& name, const std::string& otherwise) const {
    const auto at = given.find(name);
    return at == given.end() ? otherwise : at->second;
  }
  std::int64_t number(const std::string& name, std::int64_t otherwise) const {
    return std::stoll(text(name, std::to_string(otherwise)));
  }
  std::vector<std::string> list(const std::string& name, const std::string& otherwise) const {
    std::stringstream all{text(name, otherwise)};
    std::vector<std::string> items;
    for (std::string item; std::getline(all, item, ',');) items.push_back(item);
    return items;
  }
};

/// Calls body(worker, i) for i = 0, 1, ... on `threads` threads until the time is over; bodies done
/// per second.
double rate(int threads, const std::function<void(tensor::worker&, std::uint64_t)>& body) {
  const steady_clock clock;
  std::atomic<std::uint64_t> next{0};
  const time_point_ns start = clock.now();
  const auto work = [&](int index) {
    tensor::worker on;
    on.index = index;
    while (seconds(clock.now() - start) < slice_seconds) body(on, next.fetch_add(1));
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(work, i);
  work(0);
  for (std::thread& t : others) t.join();
  return static_cast<double>(next.load()) / seconds(clock.now() - start);
}

class pool {
public:
  explicit pool(std::size_t bytes) : bytes_{bytes}, data_{bytes} {
    std::mt19937 random{1};
    std::vector<std::uint16_t> block(1 << 16);
    for (auto& w : block)  // as bfloat16 within [2^-7, 2); as FP8 any code but NaN
      w = static_cast<std::uint16_t>(0x3c00 | (random() & 0x83ef));
    for (std::size_t at = 0; at + block.size() * 2 <= bytes; at += block.size() * 2)
      std::memcpy(data_.as<std::byte>() + at, block.data(), block.size() * 2);
  }
  const std::byte* at(std::size_t offset) const { return data_.as<std::byte>() + offset; }
  std::size_t bytes() const { return bytes_; }

private:
  std::size_t bytes_;
  aligned_buffer data_;
};

/// Bytes per second that plain loads reach.
double read_rate(const pool& memory, int threads) {
  constexpr std::size_t piece = 1 << 19;
  std::atomic<std::uint64_t> sink{0};
  const double pieces = rate(threads, [&](tensor::worker&, std::uint64_t i) {
    const std::byte* at = memory.at(i * piece % (memory.bytes() - piece) / 64 * 64);
    __m128i sum = _mm_setzero_si128();
    for (std::size_t b = 0; b < piece; b += 64)
      for (std::size_t q = 0; q < 64; q += 16)
        sum = _mm_xor_si128(sum, _mm_load_si128(reinterpret_cast<const __m128i*>(at + b + q)));
    sink += static_cast<std::uint64_t>(_mm_cvtsi128_si64(sum));
  });
  return pieces * static_cast<double>(piece);
}

struct measured {
  double bytes_per_second = 0;
  double share = 0;  // of the read bandwidth
};

void run_case(const matmul& mm,
              const pool& memory,
              dtype type,
              std::int64_t rows,
              std::int64_t cols,
              std::int64_t tokens,
              int threads) {
  std::vector<float> scales(static_cast<std::size_t>((rows / 128 + 1) * (cols / 128 + 1)), 0.01F);
  tensor::weight_matrix w{memory.at(0), type, rows, cols, nullptr, 0, 0};
  if (type == dtype::f8_e4m3) {
    w.scales = scales.data();
    w.scale_cols = (cols + 127) / 128;
  }
  std::vector<float> x(static_cast<std::size_t>(tokens * cols));
  std::mt19937 random{2};
  std::normal_distribution<float> normal;
  for (float& v : x) v = normal(random);
  aligned_buffer packed{mm.packed_bytes(type, tokens, cols)};
  mm.pack(type, x.data(), cols, tokens, cols, 0, tokens, packed.as<std::byte>());
  std::vector<float> y(static_cast<std::size_t>(tokens * rows));
  const std::int64_t chunk = mm.chunk_rows(w, tokens);
  const std::int64_t chunks = (rows + chunk - 1) / chunk;
  const std::size_t matrix_bytes = static_cast<std::size_t>(rows) * w.row_bytes();
  const std::size_t matrices = memory.bytes() / matrix_bytes;
  std::vector<measured> all;
  for (int i = 0; i < repeats; ++i) {
    const double before = read_rate(memory, threads);
    const double done = rate(threads, [&](tensor::worker& on, std::uint64_t n) {
      tensor::weight_matrix one = w;
      one.data = memory.at(n / static_cast<std::uint64_t>(chunks) % matrices * matrix_bytes);
      const auto begin = static_cast<std::int64_t>(n % static_cast<std::uint64_t>(chunks)) * chunk;
      const auto part = one.row_range(begin, std::min(chunk, rows - begin));
      mm.multiply(part, packed.as<std::byte>(), tokens, y.data() + begin, rows, on);
    });
    const double after = read_rate(memory, threads);
    const double bytes = done * static_cast<double>(matrix_bytes) / static_cast<double>(chunks);
    all.push_back({bytes, bytes * 2 / (before + after)});
  }
  const auto median = [&](double measured::*field) {
    std::sort(all.begin(), all.end(), [&](const measured& a, const measured& b) {
      return a.*field < b.*field;
    });
    return all[all.size() / 2].*field;
  };
  const double bytes = median(&measured::bytes_per_second);
  const double weights = bytes / static_cast<double>(tensor::element_bytes(type));
  std::printf("%-4s %6lld x %5lld  %4lld tokens  %dT  %6.1f GB/s  %5.1f %% of read  %7.1f Gop/s\n",
              std::string{to_string(type)}.c_str(),
              static_cast<long long>(rows),
              static_cast<long long>(cols),
              static_cast<long long>(tokens),
              threads,
              bytes * 1e-9,
              median(&measured::share) * 100,
              weights * 2e-9 * static_cast<double>(tokens));
  std::fflush(stdout);
}

int run(const options& chosen) {
  const auto best = kernels::best_isa();
  const auto set =
      kernels::isa_from_string(chosen.text("--isa", best ? std::string{to_string(*best)} : "avx2"));
  if (!set) {
    std::fprintf(stderr, "--isa: not one of avx2, avx512, amx\n");
    return 2;
  }
  const bool fast = chosen.text("--numerics", "invariant") == "fast";
  const auto mm = matmul::make(*set, fast ? kernels::numerics::fast : kernels::numerics::invariant);
  if (!mm) {
    std::fprintf(stderr, "%s\n", mm.error().message().c_str());
    return 1;
  }
  const pool memory{static_cast<std::size_t>(chosen.number("--gigabytes", 2)) << 30};
  const auto threads = static_cast<int>(chosen.number("--threads", 1));
  std::printf("%s, %s, read %.1f GB/s\n",
              std::string{to_string(*set)}.c_str(),
              fast ? "fast" : "invariant",
              read_rate(memory, threads) * 1e-9);
  for (const std::string& type : chosen.list("--types", "bf16,fp8"))
    for (const std::string& tokens : chosen.list("--tokens", "1,2,4,8,16,128,512"))
      run_case(*mm,
               memory,
               tensor::dtype_from_string(type).value_or(dtype::bf16),
               chosen.number("--rows", 1408),
               chosen.number("--cols", 2048),
               std::stoll(tokens),
               threads);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  options chosen;
  for (int i = 1; i + 1 < argc; i += 2) chosen.given[argv[i]] = argv[i + 1];
  return run(chosen);
}
