// The allocator and the end of a process as seams of the simulation, by linking: atoll-sim has its
// own aligned_alloc(), under all buffers of rows, weights and scratch, and its own way for an actor
// that threw. What a real process ends with std::_Exit() ends one node here. One thread.
#pragma once

#include "runtime/base/random.hpp"

#include <functional>
#include <string>

namespace atl::sim {

/// While one exists, allocations are refused with that chance.
class scarce_memory {
public:
  scarce_memory(double chance, random_source& random);
  ~scarce_memory();
  scarce_memory(const scarce_memory&) = delete;
  scarce_memory& operator=(const scarce_memory&) = delete;

  static std::uint64_t refusals();
};

/// Called with an actor's id when an exception left its handler, and what it said; empty: there was
/// no memory.
using process_end = std::function<void(std::uint64_t actor, const std::string& what)>;
void set_process_end(process_end tell);

}  // namespace atl::sim
