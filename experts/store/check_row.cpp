#include "experts/store/check_row.hpp"

#include "runtime/base/random.hpp"

#include <xxhash.h>

#include <cstddef>

namespace atl::experts {
namespace {

constexpr philox numbers{0x61'74'6F'6C'6C'72'6F'77};  // "atollrow"

}  // namespace

std::vector<float> check_row(layer_index layer, std::uint32_t expert, std::int64_t hidden) {
  const std::uint64_t subject = std::uint64_t{layer.value} << 32 | expert;
  std::vector<float> row(static_cast<std::size_t>(hidden));
  for (std::size_t i = 0; i < row.size(); ++i)
    row[i] = static_cast<float>(to_unit(numbers.at(subject, i)) * 2 - 1);
  return row;
}

std::uint64_t check_of(std::span<const float> answer) noexcept {
  return XXH3_64bits(answer.data(), answer.size_bytes());
}

}  // namespace atl::experts
