#include "runtime/model/unicode_classes.hpp"

#include <vector>

namespace atl::model {

namespace {

std::vector<std::uint8_t> make_masks() {
  std::vector<std::uint8_t> masks(code_point_max + 1, 0);
  using enum unicode_class;
  for (const unicode_class which : {letter, mark, number, punctuation, symbol, space})
    for (const auto& range : ranges_of(which))
      for (std::uint32_t c = range.first; c <= range.last; ++c) masks[c] |= mask_of(which);
  return masks;
}

}  // namespace

const std::uint8_t* unicode_masks() {
  static const std::vector<std::uint8_t> masks = make_masks();
  return masks.data();
}

}  // namespace atl::model
