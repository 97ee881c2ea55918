// The model without actors, frames and router: the same jobs of shard, gate and experts one after
// the other, each submitted by the completion of the one before. What the cost of the actors is
// measured against. Blocks the calling thread.
#pragma once

#include "actors/cluster_options.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/weights.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace atl::apps {

struct plain_result {
  std::vector<token_id> tokens;  // generated, greedily
  double seconds = 0;            // from the first of them to the last
};

/// One sequence: the prompt in a single step, then `count` tokens. `options` are resolved.
result<plain_result> run_plain_loop(std::shared_ptr<const model::model_weights> weights,
                                    const actors::cluster_options& options,
                                    std::span<const token_id> prompt,
                                    std::int64_t count);

}  // namespace atl::apps
