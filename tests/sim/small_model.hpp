// A model small enough for thousands of runs: three layers, two of them with eight experts. Made in
// memory by the code that makes synthetic checkpoints, and loaded by the code that loads real ones.
#pragma once

#include "runtime/model/weights.hpp"

#include <memory>

namespace atl::sim {

result<std::shared_ptr<const model::model_weights>> small_model();

}  // namespace atl::sim
