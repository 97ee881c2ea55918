#include "runtime/base/sizes.hpp"

#include "runtime/base/cgroup.hpp"
#include "runtime/base/disk.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <thread>
#include <unistd.h>

namespace atl {
namespace {

std::optional<std::string> read_text(const std::string& path) {
  const auto text = system_disk()->read(path, std::size_t{4} << 20);
  return text.has_value() ? std::optional{*text} : std::nullopt;
}

}  // namespace

std::string human_size(std::size_t bytes) {
  constexpr std::array<const char*, 4> units{"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return std::to_string(bytes) + " bytes";
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  char text[64];
  std::snprintf(text, sizeof text, "%.*f %s", value < 100 ? 1 : 0, value, units[unit]);
  return text;
}

std::size_t usable_memory_bytes() {
  const std::size_t machine = static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) *
                              static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return std::min(machine, cgroup_memory_limit(read_text).value_or(machine));
}

double usable_cpus() {
  const double machine = std::max(1U, std::thread::hardware_concurrency());
  return std::min(machine, cgroup_cpu_limit(read_text).value_or(machine));
}

}  // namespace atl
