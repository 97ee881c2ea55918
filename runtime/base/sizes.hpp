// Amounts of memory and processors: what the machine has, and how people read them. Any thread.
#pragma once

#include <cstddef>
#include <string>

namespace atl {

/// "1.5 GiB", "300 MiB", "800 bytes".
std::string human_size(std::size_t bytes);

/// The memory that this process may have: the machine's, or less where a control group says so.
std::size_t usable_memory_bytes();

/// The processors whose whole time this process may have: those it may run on (its affinity), or
/// less where a control group's quota says so, down to a part of one.
double usable_cpus();

}  // namespace atl
