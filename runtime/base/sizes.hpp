// Amounts of memory: what the machine has, and how people read them. Any thread.
#pragma once

#include <cstddef>
#include <string>

namespace atl {

/// "1.5 GiB", "300 MiB", "800 bytes".
std::string human_size(std::size_t bytes);

/// The memory of this machine.
std::size_t machine_memory_bytes();

}  // namespace atl
