// Views of weights as they are stored: borrowed pointers into a mapped checkpoint, never converted
// or repacked. Plain values; whoever holds the checkpoint keeps the bytes alive.
#pragma once

#include "runtime/base/assert.hpp"
#include "runtime/tensor/dtype.hpp"

#include <cstddef>
#include <cstdint>

namespace atl::tensor {

/// Rows and columns of one FP8 scale block (DeepSeek-V3 checkpoints, weight_block_size).
inline constexpr std::int64_t scale_block = 128;

/// A matrix W of shape (rows, cols), row-major, row r at data + r * cols elements; y = W x has
/// `rows` outputs. FP8 matrices carry one float32 scale per 128 x 128 block of the *whole* stored
/// tensor; a view of some of its rows remembers where it starts (first_row), so that its scale for
/// (r, c) is scales[(first_row + r) / 128 * scale_cols + c / 128]. `data` already points at the
/// view's first row. `data` need not be aligned to the element.
struct weight_matrix {
  const std::byte* data = nullptr;
  dtype type = dtype::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const float* scales = nullptr;  // null unless type is f8_e4m3
  std::int64_t scale_cols = 0;    // ceil(cols / 128)
  std::int64_t first_row = 0;     // of the stored tensor

  bool empty() const noexcept { return data == nullptr; }

  std::size_t row_bytes() const noexcept {
    return static_cast<std::size_t>(cols) * element_bytes(type);
  }

  /// Bytes a product with this matrix reads, scales included.
  std::size_t bytes() const noexcept {
    const std::size_t scale_rows =
        scales == nullptr
            ? 0
            : static_cast<std::size_t>((first_row + rows + scale_block - 1) / scale_block -
                                       first_row / scale_block);
    return static_cast<std::size_t>(rows) * row_bytes() +
           scale_rows * static_cast<std::size_t>(scale_cols) * sizeof(float);
  }

  float scale(std::int64_t row, std::int64_t col) const noexcept {
    return scales == nullptr
               ? 1.0F
               : scales[(first_row + row) / scale_block * scale_cols + col / scale_block];
  }

  /// Rows [begin, begin + count) as a matrix of their own.
  weight_matrix row_range(std::int64_t begin, std::int64_t count) const noexcept {
    ATOLL_ASSERT(begin >= 0 && count >= 0 && begin + count <= rows);
    weight_matrix part = *this;
    part.data = data + static_cast<std::size_t>(begin) * row_bytes();
    part.rows = count;
    part.first_row = first_row + begin;
    return part;
  }
};

/// A stored vector (norm weights, correction bias) of `count` elements, not necessarily aligned.
struct weight_vector {
  const std::byte* data = nullptr;
  dtype type = dtype::f32;
  std::int64_t count = 0;

  bool empty() const noexcept { return data == nullptr; }
};

}  // namespace atl::tensor
