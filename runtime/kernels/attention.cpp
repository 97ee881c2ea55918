#include "runtime/kernels/attention.hpp"

#include "runtime/kernels/cpu/attention_layout.hpp"
#include "runtime/kernels/cpu/row_tables.hpp"
#include "runtime/kernels/isa.hpp"

namespace atl::kernels {

std::int64_t attention_groups(const attention_shape& shape, std::int64_t tokens) noexcept {
  return (tokens * shape.heads + attention_lanes - 1) / attention_lanes;
}

std::int64_t attention_splits(const query_slice& queries) noexcept {
  const std::int64_t end = queries.first_position + queries.tokens;
  return (end + attention_split_tokens - 1) / attention_split_tokens;
}

std::size_t attention_partial_floats(const attention_shape& shape) noexcept {
  return partial_layout{shape}.floats();
}

std::size_t attention_scratch_bytes(const attention_shape& shape, std::int64_t groups) noexcept {
  return tile_layout{shape, groups}.floats() * sizeof(float);
}

attention_kernels attention_kernels::make(isa set) noexcept {
  return set == isa::avx2 ? simd_avx2::attention : simd_avx512::attention;
}

}  // namespace atl::kernels
