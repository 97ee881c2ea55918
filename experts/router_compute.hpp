// The arithmetic of a router: gate logits and choice of experts for rows, and the weighted sum of
// the experts' answers, as jobs for a device. It knows no placement and sends nothing.
//
// The gate is computed as accurately as float32 allows whatever numerics the rest uses: a logit
// that moves flips experts. The sum runs in rank order, in float32, whatever answer came first.
//
// Threads: immutable after make; jobs of different routings may be open together, a routing has one
// job open at a time. Routing and router_compute outlive the job.
#pragma once

#include "runtime/base/memory.hpp"
#include "runtime/base/result.hpp"
#include "runtime/kernels/isa.hpp"
#include "runtime/model/weights.hpp"
#include "runtime/tensor/device.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace atl::experts {

/// Which experts each row goes to, and with what weight, in rank order (best choice first).
/// Reused; buffers only grow.
struct routing {
  std::int64_t rows = 0;
  std::int64_t k = 0;
  std::vector<std::uint32_t> experts;  // (rows, k)
  std::vector<float> weights;          // (rows, k)

private:
  friend class router_compute;
  const float* normed_ = nullptr;
  const std::byte* const* answers_ = nullptr;
  tensor::dtype answers_type_ = tensor::dtype::f32;
  float* routed_ = nullptr;
  std::int64_t layer_ = 0;
  aligned_buffer packed_;  // rows packed for the gate
  aligned_buffer logits_;  // (rows, experts)
};

class router_compute {
  class impl;

public:
  struct options {
    kernels::isa isa{};
  };

  static result<std::unique_ptr<router_compute>>
  make(std::shared_ptr<const model::model_weights> weights, const options& chosen);
  explicit router_compute(std::unique_ptr<impl> made) noexcept;  // by make
  ~router_compute();

  /// Fills out.experts and out.weights for `rows` rows of `normed` (rows, hidden). Sizes them
  /// now, before the job runs. `layer` is an MoE layer.
  tensor::job route(const float* normed, std::int64_t rows, std::int64_t layer, routing& out) const;

  /// routed[row] = sum over ranks of weights[row, rank] * answers[row, rank], (rows, hidden).
  /// answers: (rows, k) pointers to rows of `hidden` values as they travel, of one type, kept by
  /// the caller until the job ends (answer_table::pointers()).
  tensor::job
  combine(routing& of, const std::byte* const* answers, tensor::dtype type, float* routed) const;

  /// Gate logits (rows, experts) of the latest route() job that has ended.
  static const float* logits(const routing& of) noexcept { return of.logits_.as<float>(); }

private:
  std::unique_ptr<impl> impl_;
};

}  // namespace atl::experts
