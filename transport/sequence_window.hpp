// Tells which frames of one life of one node have been taken before. Sequence numbers start at 1
// and may arrive in any order, with gaps (a lost frame) and twice (a repeat of the medium). What is
// older than the window cannot be told apart from a repeat and counts as one. A value; not
// thread-safe.
#pragma once

#include <array>
#include <cstdint>

namespace atl::transport {

class sequence_window {
public:
  /// How far a frame may be overtaken. A repeat is refused for ever; a first arrival that more than
  /// this many later frames have overtaken is lost, like a frame dropped by the medium.
  static constexpr std::uint64_t frames = 4096;

  /// True if this number comes for the first time and is not older than the window. Number 0 is
  /// never taken: no frame has it.
  bool take(std::uint64_t sequence) noexcept;

private:
  std::uint64_t latest_ = 0;                       // the largest number taken
  std::array<std::uint64_t, frames / 64> seen_{};  // bit n % frames: n was taken, if in the window
};

}  // namespace atl::transport
