// What the row kernels should give, in plain double-precision code: an oracle for tests, not fast.
#pragma once

#include "runtime/tensor/view.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace atl::kernels::reference {

/// A stored vector's values, exact.
std::vector<double> values_of(const tensor::weight_vector& w);

/// Row `row` of a stored matrix, FP8 scales applied.
std::vector<double> row_of(const tensor::weight_matrix& table, std::int64_t row);

std::vector<double> rms_norm(std::span<const float> x, const tensor::weight_vector& w, double eps);

double sigmoid(double x);
double silu(double x);

std::vector<double> softmax(std::span<const float> x);

/// Pair j is (x[2j], x[2j+1]) if interleaved, else (x[j], x[j + pairs]).
std::vector<double> rope(std::span<const float> x,
                         std::span<const float> cos,
                         std::span<const float> sin,
                         bool interleaved);

}  // namespace atl::kernels::reference
