// How long a device takes for rows of experts: measured once at a start, corrected by what real
// calls take since. What comes of it compares nodes with each other and means nothing else.
#pragma once

#include "experts/group_compute.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/model_config.hpp"
#include "runtime/tensor/device.hpp"

#include <cstddef>
#include <optional>

namespace atl::experts {

/// A job takes, for each of its experts, fixed_ns + row_ns * rows: the first is mostly reading the
/// weights, the second arithmetic.
struct kernel_cost {
  /// Rows of one expert for which speed() is said: a block of the router.
  static constexpr double speed_rows = 16;

  double fixed_ns = 0;
  double row_ns = 0;  // 0: not known

  bool is_known() const noexcept { return row_ns > 0; }
  double job_ns(std::size_t experts, std::size_t rows) const noexcept {
    return fixed_ns * static_cast<double>(experts) + row_ns * static_cast<double>(rows);
  }
  /// Rows/s; 0 where it is not known.
  double speed() const noexcept {
    return is_known() ? speed_rows * 1e9 / (fixed_ns + speed_rows * row_ns) : 0;
  }
};

/// Runs experts of the model's shapes, with weights that mean nothing, on an otherwise idle device:
/// jobs of 1 and of 16 rows an expert by turns until `within` has passed, at least three of each;
/// the fastest count. Weights are out of caches each time, unless the whole model's experts might
/// stay there. With a `quota` of processors (0: none) a job takes the time in which that grants
/// what its chunks used. Memory for up to four experts, of 32 MiB together unless one alone is
/// larger, is taken meanwhile. Blocks; not on a worker of the device. errc::unsupported: no
/// experts.
result<kernel_cost> measure_kernel_cost(const model::model_config& config,
                                        const group_compute::options& chosen,
                                        tensor::device& device,
                                        const clock& time,
                                        duration_ns within,
                                        double quota = 0);

/// The ratio of expected to real times of the calls of late, weighted by time: what a call that
/// ended longer ago than 5 s of computing says fades (1/e). Not thread-safe.
class speed_observer {
public:
  void add(double expected_ns, double taken_ns);
  /// Nothing before calls of 20 ms in all; at most 2.
  std::optional<double> correction() const;

private:
  double expected_ns_ = 0, taken_ns_ = 0;
};

}  // namespace atl::experts
