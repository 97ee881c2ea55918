#include "transport/sequence_window.hpp"

namespace atl::transport {

bool sequence_window::take(std::uint64_t sequence) noexcept {
  const auto word = [this](std::uint64_t n) -> std::uint64_t& { return seen_[n % frames / 64]; };
  const auto bit = [](std::uint64_t n) { return std::uint64_t{1} << (n % 64); };
  if (sequence == 0) return false;
  if (sequence > latest_) {
    if (sequence - latest_ >= frames)
      seen_.fill(0);
    else
      for (std::uint64_t n = latest_ + 1; n < sequence; ++n) word(n) &= ~bit(n);
    latest_ = sequence;
    word(sequence) |= bit(sequence);
    return true;
  }
  if (latest_ - sequence >= frames || (word(sequence) & bit(sequence)) != 0) return false;
  word(sequence) |= bit(sequence);
  return true;
}

}  // namespace atl::transport
