#include "runtime/base/random.hpp"

#include "runtime/base/assert.hpp"

#include <bit>
#include <cmath>
#include <random>

namespace atl {

std::uint64_t philox::at(std::uint64_t counter_high, std::uint64_t counter_low) const noexcept {
  constexpr std::uint64_t multiplier = 0xD2B74407B1CE6E93ULL;
  constexpr std::uint64_t weyl = 0x9E3779B97F4A7C15ULL;
  std::uint64_t low = counter_low;
  std::uint64_t high = counter_high;
  std::uint64_t k = key;
  for (int round = 0; round < 10; ++round) {
    const unsigned __int128 product = static_cast<unsigned __int128>(multiplier) * low;
    const auto product_high = static_cast<std::uint64_t>(product >> 64);
    const auto product_low = static_cast<std::uint64_t>(product);
    low = product_high ^ k ^ high;
    high = product_low;
    k += weyl;
  }
  return low;
}

double to_unit(std::uint64_t bits) noexcept { return static_cast<double>(bits >> 11) * 0x1.0p-53; }

namespace {

std::uint64_t splitmix(std::uint64_t& x) noexcept {
  x += 0x9E3779B97F4A7C15ULL;
  std::uint64_t z = x;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

}  // namespace

random_source::random_source(std::uint64_t seed) noexcept {
  for (auto& word : state_) word = splitmix(seed);
}

std::uint64_t random_source::next() noexcept {
  const std::uint64_t value = std::rotl(state_[1] * 5, 7) * 9;
  const std::uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return value;
}

std::uint64_t random_source::below(std::uint64_t bound) noexcept {
  ATOLL_ASSERT(bound > 0);
  const std::uint64_t threshold = (0 - bound) % bound;
  for (;;) {
    const std::uint64_t value = next();
    if (value >= threshold) return value % bound;
  }
}

double random_source::normal() noexcept {
  for (;;) {
    const double u = 2.0 * unit() - 1.0;
    const double v = 2.0 * unit() - 1.0;
    const double s = u * u + v * v;
    if (s > 0.0 && s < 1.0) return u * std::sqrt(-2.0 * std::log(s) / s);
  }
}

std::uint64_t system_entropy() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

}  // namespace atl
