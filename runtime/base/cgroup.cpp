#include "runtime/base/cgroup.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <string_view>
#include <vector>

namespace atl {
namespace {

/// A mounted hierarchy with a controller.
struct hierarchy {
  std::string root;   // the group that is seen at the mount point
  std::string mount;  // where
  bool is_version_2 = false;
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in{text};
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

bool lists(const std::string& names, std::string_view name) {
  const auto all = split(names, ',');
  return std::find(all.begin(), all.end(), name) != all.end();
}

/// Of lines "36 35 98:0 ROOT MOUNT rw,... [tags] - TYPE SOURCE OPTIONS".
std::vector<hierarchy> hierarchies(const std::string& mountinfo, std::string_view controller) {
  std::vector<hierarchy> found;
  for (const std::string& line : split(mountinfo, '\n')) {
    const auto fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 6 || fields.end() - dash < 4) continue;
    const bool is_version_2 = dash[1] == "cgroup2";
    if (!is_version_2 && (dash[1] != "cgroup" || !lists(dash[3], controller))) continue;
    found.push_back({fields[3], fields[4], is_version_2});
  }
  return found;
}

/// The process's group in a hierarchy, from lines "4:memory:/group" and, of version 2, "0::/group".
std::optional<std::string>
group_in(const std::string& groups, bool is_version_2, std::string_view controller) {
  for (const std::string& line : split(groups, '\n')) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (is_version_2 ? line.starts_with("0::") : lists(controllers, controller))
      return line.substr(second + 1);
  }
  return std::nullopt;
}

std::optional<std::size_t> number(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  std::size_t value = 0;
  const auto [end, failure] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (failure != std::errc{} || end == text->data()) return std::nullopt;  // "max"
  // Version 1 writes no limit as the most pages there can be.
  constexpr std::size_t unlimited = std::size_t{1} << 62;
  return value < unlimited ? std::optional{value} : std::nullopt;
}

/// The directories of the process's group and of those around it, in every hierarchy with the
/// controller.
template <class Visit>
void for_each_group(const text_reader& read, std::string_view controller, Visit&& visit) {
  const std::string groups = read("/proc/self/cgroup").value_or("");
  for (const hierarchy& h : hierarchies(read("/proc/self/mountinfo").value_or(""), controller)) {
    std::string group = group_in(groups, h.is_version_2, controller).value_or("/");
    // A container sees its own group at the mount point, whatever the group is called outside.
    if (h.root != "/")
      group = group.starts_with(h.root + "/") ? group.substr(h.root.size()) : std::string{"/"};
    for (std::string at = group == "/" ? "" : group;; at.resize(at.rfind('/'))) {
      visit(h.mount + at, h.is_version_2);
      if (at.find('/') == std::string::npos) break;
    }
  }
}

/// "25000 100000" of version 2, or the two numbers of version 1 with a space between.
std::optional<double> processors(const std::optional<std::string>& text) {
  const std::size_t space = text ? text->find(' ') : std::string::npos;
  if (space == std::string::npos) return std::nullopt;
  const auto quota = number(text->substr(0, space));  // "max" and -1: none
  const auto period = number(text->substr(space + 1));
  if (!quota || !period || *quota == 0 || *period == 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

}  // namespace

std::optional<std::size_t> cgroup_memory_limit(const text_reader& read) {
  std::optional<std::size_t> least;
  for_each_group(read, "memory", [&](const std::string& directory, bool is_version_2) {
    const char* file = is_version_2 ? "/memory.max" : "/memory.limit_in_bytes";
    const std::optional<std::size_t> limit = number(read(directory + file));
    if (limit) least = std::min(*limit, least.value_or(*limit));
  });
  return least;
}

std::optional<double> cgroup_cpu_limit(const text_reader& read) {
  std::optional<double> least;
  for_each_group(read, "cpu", [&](const std::string& directory, bool is_version_2) {
    std::optional<std::string> text;
    if (is_version_2) {
      text = read(directory + "/cpu.max");
    } else if (const auto quota = read(directory + "/cpu.cfs_quota_us")) {
      text = quota->substr(0, quota->find('\n')) + " " +
             read(directory + "/cpu.cfs_period_us").value_or("");
    }
    if (const auto limit = processors(text)) least = std::min(*limit, least.value_or(*limit));
  });
  return least;
}

}  // namespace atl
