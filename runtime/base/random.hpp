// Random numbers that are the same on every compiler and machine. Logic is handed a source; nothing
// here reads the system's entropy except system_entropy(), which only main programs call.
#pragma once

#include <cstdint>

namespace atl {

/// Counter-based: the value depends on (key, counter) alone, so position n of a stream needs no
/// history. Philox2x64-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
struct philox {
  std::uint64_t key;

  /// The 64-bit value at (counter_high, counter_low).
  std::uint64_t at(std::uint64_t counter_high, std::uint64_t counter_low) const noexcept;
};

/// Uniform in [0, 1) with 53 bits, from 64 random bits.
double to_unit(std::uint64_t bits) noexcept;

/// A stream of numbers from a seed, for simulation, placement and synthetic data (splitmix64
/// seeding, xoshiro256**). Not thread-safe: give each user its own by split().
class random_source {
public:
  explicit random_source(std::uint64_t seed) noexcept;

  std::uint64_t next() noexcept;
  /// Uniform in [0, bound), unbiased; bound > 0.
  std::uint64_t below(std::uint64_t bound) noexcept;
  double unit() noexcept { return to_unit(next()); }
  /// Standard normal (Marsaglia's polar method, in one order of evaluation).
  double normal() noexcept;
  /// An independent source derived from this one.
  random_source split() noexcept { return random_source{next()}; }

private:
  std::uint64_t state_[4];
};

/// Entropy of the machine. For main programs choosing a seed that they then print.
std::uint64_t system_entropy();

}  // namespace atl
