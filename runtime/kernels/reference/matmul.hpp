// Oracles for products of weights and activations: plain code in double precision, and the
// invariant class of runtime/kernels/matmul.hpp word for word in scalar code. Slow; pure functions.
#pragma once

#include "runtime/tensor/view.hpp"

#include <cstdint>

namespace atl::kernels::reference {

/// Rows of activations x (tokens, width), row t at data + t * stride.
struct rows_in {
  const float* data = nullptr;
  std::int64_t stride = 0;
  std::int64_t tokens = 0;
};

/// w[r, c] with its scale, exact in double precision.
double weight_at(const tensor::weight_matrix& w, std::int64_t row, std::int64_t col);

/// y (tokens, w.rows), stride w.rows: y = x W^T. `magnitude`, where not null, gets
/// sum |w x| for each y, the yardstick of its rounding error.
void multiply(const tensor::weight_matrix& w, rows_in x, double* y, double* magnitude);

/// y (tokens, w.cols), stride w.cols: y = x W.
void multiply_transposed(const tensor::weight_matrix& w, rows_in x, double* y, double* magnitude);

/// The invariant class; y (tokens, w.rows), stride y_stride. Needs a processor with FMA.
void multiply_invariant(const tensor::weight_matrix& w, rows_in x, float* y, std::int64_t y_stride);

/// The invariant class; y[t, c] for c in [col_begin, col_end).
void multiply_transposed_invariant(const tensor::weight_matrix& w,
                                   rows_in x,
                                   std::int64_t col_begin,
                                   std::int64_t col_end,
                                   float* y,
                                   std::int64_t y_stride);

}  // namespace atl::kernels::reference
