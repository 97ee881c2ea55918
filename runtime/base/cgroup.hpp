// The limits that Linux control groups put on a process. Pure but for what they are given to read
// with; any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

namespace atl {

/// The content of a file, or nothing where it cannot be read.
using text_reader = std::function<std::optional<std::string>(const std::string& path)>;

/// The least limit of this process's memory group and the groups around it, as far as they can be
/// seen: memory.max of version 2, memory.limit_in_bytes of version 1 (both where both are mounted).
/// Nothing where there is none. Read from /proc/self/cgroup and /proc/self/mountinfo (cgroups(7),
/// proc(5)).
std::optional<std::size_t> cgroup_memory_limit(const text_reader& read);

/// The least quota of processor time in the same groups, in processors: cpu.max of version 2,
/// cpu.cfs_quota_us over cpu.cfs_period_us of version 1.
std::optional<double> cgroup_cpu_limit(const text_reader& read);

}  // namespace atl
