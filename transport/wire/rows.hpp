// Tensor rows as they travel, and the limits of counts and indices in messages.
#pragma once

#include "runtime/tensor/dtype.hpp"
#include "transport/frame.hpp"

#include <cstddef>
#include <cstdint>

namespace atl::transport::wire {

// Limits of counts and indices. Each is at least four times the largest known use, and together
// they keep every message under metadata_bytes_max.
inline constexpr std::uint32_t tokens_max = 1U << 20;       // contexts known: 163,840
inline constexpr std::uint32_t layers_max = 1U << 10;       // known: 61 and an MTP layer
inline constexpr std::uint32_t experts_max = 1U << 16;      // per layer; known: 256
inline constexpr std::uint32_t ranks_max = 1U << 8;         // experts of one row; known: 8
inline constexpr std::uint32_t rows_max = 1U << 16;         // of one message; largest chunk: 8,192
inline constexpr std::uint32_t assignments_max = 1U << 20;  // of one dispatch: 8 bytes each
inline constexpr std::uint32_t width_max = 1U << 20;        // of a row; vocabularies: 163,840
inline constexpr std::uint32_t entries_max = 1U << 19;      // placement or load entries
inline constexpr std::uint32_t groups_max = 1U << 16;       // of a placement
inline constexpr std::uint32_t sources_max = 1U << 6;       // of a load order
inline constexpr std::uint32_t stop_tokens_max = 1U << 10;
inline constexpr std::uint32_t biases_max = 1U << 12;  // the usual API allows 300
inline constexpr std::uint32_t text_bytes_max = 1U << 16;
inline constexpr std::uint32_t constraint_bytes_max = 1U << 18;  // as runtime/model/constraint.hpp
inline constexpr std::uint32_t logprobs_top_max = 20;            // of one token
inline constexpr std::uint32_t logprob_rows_max = rows_max;      // of one message

/// `count` rows of `width` elements, contiguous, row-major; element type f32, bf16 or f8_e4m3 (f16
/// is refused). A row of f8_e4m3 is ceil(width / 128) float32 scales, then `width` elements, then
/// zeros to a multiple of four bytes; element i stands for scales[i / 128] * value.
struct rows {
  tensor::dtype type = tensor::dtype::f32;
  std::uint32_t count = 0;
  std::uint32_t width = 0;
  payload_ref payload;  // exactly count * row_bytes(type, width) bytes
};

/// Bytes of one row; 0 for a type that does not travel. width <= width_max.
std::size_t row_bytes(tensor::dtype type, std::uint32_t width) noexcept;

/// Whether every scale is a positive number; rows of other types have none. Not part of check():
/// who reads the rows asks. `of` has passed check().
bool has_usable_scales(const rows& of) noexcept;

}  // namespace atl::transport::wire
