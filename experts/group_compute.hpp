// The arithmetic of an expert group: down(silu(gate x) * up x) for rows of several experts of one
// layer, as a job for a device. It knows nothing of requests; a row's answer depends on the row and
// the expert alone.
//
// Threads: hold, release, holds and forward are for one thread at a time (the group's actor); jobs
// run meanwhile on the device. Weights handed to hold() are borrowed: whoever releases an expert
// keeps its weights until the jobs that were made before have ended. Call and group_compute outlive
// the job.
#pragma once

#include "runtime/base/memory.hpp"
#include "runtime/base/result.hpp"
#include "runtime/kernels/matmul.hpp"
#include "runtime/model/model_config.hpp"
#include "runtime/model/weights.hpp"
#include "runtime/tensor/device.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace atl::experts {

/// Rows for one expert: inputs[i] and outputs[i] point at `hidden` floats each, aligned to 4 bytes.
/// Inputs may repeat, outputs may not overlap anything.
struct expert_rows {
  std::uint32_t expert = 0;
  std::vector<const float*> inputs;
  std::vector<float*> outputs;
};

/// One call of a group. Reused; buffers only grow.
struct group_call {
  std::int64_t layer = 0;
  std::vector<expert_rows> experts;  // different ones; those without rows are skipped

private:
  friend class group_compute;

  /// One expert of this call that has rows. Offsets are bytes of packed_ and floats of floats_.
  struct part {
    const expert_rows* rows = nullptr;
    model::ffn_weights weights;
    std::int64_t count = 0;
    std::int64_t input_stride = 0, output_stride = 0;  // floats; unspaced: rows lie anywhere
    std::size_t packed_gate = 0, packed_up = 0, packed_inner = 0;
    std::size_t gate = 0, up = 0, gathered = 0, answers = 0;
  };

  /// Rows (of activations, or of weights) [first, first + count) of one part: what a chunk does.
  struct piece {
    std::uint32_t part = 0;
    std::int64_t first = 0, count = 0;
  };

  std::vector<part> parts_;
  std::vector<piece> tiles_, gate_up_, down_;
  aligned_buffer packed_, floats_;
};

class group_compute {
  class impl;

public:
  struct options {
    kernels::isa isa{};
    kernels::numerics numerics{};
  };

  static result<std::unique_ptr<group_compute>> make(const model::model_config& config,
                                                     const options& chosen);
  explicit group_compute(std::unique_ptr<impl> made) noexcept;  // by make
  ~group_compute();

  /// Takes an expert on (again: its weights are replaced). Refuses shapes the configuration does
  /// not give, layers that are not MoE, and experts out of range, with invalid_argument.
  result<void> hold(std::int64_t layer, std::uint32_t expert, const model::ffn_weights& weights);
  void release(std::int64_t layer, std::uint32_t expert);
  bool holds(std::int64_t layer, std::uint32_t expert) const noexcept;

  /// Every expert named in the call is held. Reads and writes through the call's pointers while the
  /// job runs.
  tensor::job forward(group_call& call) const;

private:
  std::unique_ptr<impl> impl_;
};

}  // namespace atl::experts
