// The model without actors: a loop that runs the jobs of shard, router and expert groups one after
// the other on a device. What the actors must be equal to, and what their cost is measured against.
//
// Blocks the calling thread while a job runs; one thread at a time.
#pragma once

#include "attention/kv/prefix_cache.hpp"
#include "attention/shard_compute.hpp"
#include "experts/group_compute.hpp"
#include "experts/router_compute.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/weights.hpp"
#include "runtime/tensor/device.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace atl::testing {

class plain_model {
public:
  struct options {
    kernels::isa isa{};
    kernels::numerics numerics = kernels::numerics::invariant;
    std::size_t kv_pages = 64;
    /// Rows of experts and their answers are rounded as if they travelled so, one value at a time.
    tensor::dtype activations = tensor::dtype::f32;
    std::size_t expert_groups = 1;  // expert e lies in group e % expert_groups
  };

  /// What a step computed on the way, for every row in the order fed.
  struct trace {
    std::vector<std::vector<float>> hidden;           // (layers)(rows, hidden) after each layer
    std::vector<std::vector<std::uint32_t>> experts;  // (layers)(rows, k); empty in dense layers
    std::vector<std::vector<float>> weights;          // likewise
    std::vector<std::vector<float>> router_logits;    // (layers)(rows, experts)
  };

  /// A sequence of the model's cache. Release it into the model before either goes.
  struct sequence {
    attention::page_table pages;
    std::int64_t length = 0;
  };

  struct input {
    sequence* to = nullptr;
    std::vector<token_id> tokens;
  };

  /// Borrows the device.
  static result<std::unique_ptr<plain_model>>
  make(std::shared_ptr<const model::model_weights> weights,
       tensor::device& on,
       const options& chosen);

  /// One step: appends the tokens to their sequences. Logits (rows, vocabulary) of every row, or of
  /// the last row of each input. Fails when the cache is full. With a trace, each job runs by
  /// itself; without, the joined jobs run.
  result<std::vector<float>>
  feed(std::span<const input> inputs, bool only_last = false, trace* record = nullptr);

  void release(sequence& s) {
    cache_.release(s.pages);
    s.length = 0;
  }
  const model::model_config& config() const noexcept { return weights_->config; }

private:
  struct created {
    std::unique_ptr<attention::shard_compute> shard;
    std::unique_ptr<experts::router_compute> router;
    std::vector<std::unique_ptr<experts::group_compute>> groups;
  };

public:
  plain_model(std::shared_ptr<const model::model_weights> weights,
              tensor::device& on,
              const options& chosen,
              created parts);

private:
  void run(tensor::job job);
  result<void> fill(std::span<const input> inputs, bool only_last);
  void experts_of(std::int64_t layer);
  void note(trace& record, std::int64_t layer) const;
  void layer_alone(std::int64_t layer);

  std::shared_ptr<const model::model_weights> weights_;
  tensor::device& device_;
  created parts_;
  attention::prefix_cache cache_;  // sharing nothing
  attention::micro_batch batch_;
  experts::routing routing_;
  std::vector<experts::group_call> calls_;
  tensor::dtype activations_;
  std::vector<float> asked_;                   // (rows, hidden)
  std::vector<float> answers_;                 // (rows, k, hidden)
  std::vector<const std::byte*> answer_rows_;  // (rows, k)
};

}  // namespace atl::testing
