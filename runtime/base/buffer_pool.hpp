// Buffers that go round: activations of a step are as large as those of the step before, and fresh
// memory would cost page faults each time. Buffers come back by themselves when the last reference
// is dropped. Thread-safe.
#pragma once

#include "runtime/base/memory.hpp"

#include <cstddef>
#include <memory>

namespace atl {

class buffer_pool {
public:
  /// Keeps at most `idle_bytes_max` of unused buffers.
  explicit buffer_pool(std::size_t idle_bytes_max);

  /// A buffer of at least `bytes`, 64-byte aligned, content undefined. Outlives the pool if need
  /// be.
  std::shared_ptr<aligned_buffer> take(std::size_t bytes);

private:
  struct shelf;
  std::shared_ptr<shelf> shelf_;
};

}  // namespace atl
