#include "runtime/base/cgroup.hpp"

#include <gtest/gtest.h>

#include <map>

namespace atl {
namespace {

constexpr const char* v1_mount =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";
constexpr const char* v2_mount =
    "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

std::optional<std::size_t> limit_of(const std::map<std::string, std::string>& files) {
  return cgroup_memory_limit([&](const std::string& path) -> std::optional<std::string> {
    const auto found = files.find(path);
    if (found == files.end()) return std::nullopt;
    return found->second;
  });
}

std::optional<double> cpus_of(const std::map<std::string, std::string>& files) {
  return cgroup_cpu_limit([&](const std::string& path) -> std::optional<std::string> {
    const auto found = files.find(path);
    if (found == files.end()) return std::nullopt;
    return found->second;
  });
}

TEST(cgroup_cpu_limit, of_both_versions_is_the_least_of_the_groups_around) {
  std::map<std::string, std::string> files{{"/proc/self/cgroup", "0::/a/b\n"},
                                           {"/proc/self/mountinfo", v2_mount},
                                           {"/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"},
                                           {"/sys/fs/cgroup/a/cpu.max", "150000 100000\n"}};
  EXPECT_EQ(cpus_of(files), 1.5);
  files["/sys/fs/cgroup/a/b/cpu.max"] = "25000 50000\n";
  EXPECT_EQ(cpus_of(files), 0.5);
  files = {{"/proc/self/cgroup", "4:memory:/a\n1:cpu:/c/d\n0::/\n"},
           {"/proc/self/mountinfo", v1_mount},
           {"/sys/fs/cgroup/cpu/c/d/cpu.cfs_quota_us", "20000\n"},
           {"/sys/fs/cgroup/cpu/c/d/cpu.cfs_period_us", "100000\n"},
           {"/sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1\n"},
           {"/sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n"}};
  EXPECT_EQ(cpus_of(files), 0.2);
  files["/sys/fs/cgroup/cpu/c/d/cpu.cfs_quota_us"] = "-1\n";
  EXPECT_EQ(cpus_of(files), std::nullopt);
  files["/sys/fs/cgroup/cpu/c/d/cpu.cfs_quota_us"] = "20000\n";
  files.erase("/sys/fs/cgroup/cpu/c/d/cpu.cfs_period_us");
  EXPECT_EQ(cpus_of(files), std::nullopt);
  EXPECT_EQ(cpus_of({}), std::nullopt);
}

TEST(cgroup_memory_limit, version_1_of_the_own_group) {
  EXPECT_EQ(limit_of({{"/proc/self/cgroup", "4:memory:/a/b\n1:cpu:/c\n0::/\n"},
                      {"/proc/self/mountinfo", v1_mount},
                      {"/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "104857600\n"},
                      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"}}),
            104857600U);
}

TEST(cgroup_memory_limit, the_least_of_the_groups_around_counts) {
  std::map<std::string, std::string> files{{"/proc/self/cgroup", "0::/a/b/c\n"},
                                           {"/proc/self/mountinfo", v2_mount},
                                           {"/sys/fs/cgroup/a/b/c/memory.max", "max\n"},
                                           {"/sys/fs/cgroup/a/b/memory.max", "5000\n"},
                                           {"/sys/fs/cgroup/a/memory.max", "4000\n"}};
  EXPECT_EQ(limit_of(files), 4000U);
  files["/sys/fs/cgroup/a/b/c/memory.max"] = "300\n";
  EXPECT_EQ(limit_of(files), 300U);
}

TEST(cgroup_memory_limit, a_container_sees_its_group_at_the_mount_point) {
  const std::string mount =
      "35 31 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,cpu,memory\n";
  EXPECT_EQ(limit_of({{"/proc/self/cgroup", "4:cpu,memory:/docker/ab\n"},
                      {"/proc/self/mountinfo", mount},
                      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "7000"}}),
            7000U);
  EXPECT_EQ(limit_of({{"/proc/self/cgroup", "4:cpu,memory:/docker/ab/in\n"},
                      {"/proc/self/mountinfo", mount},
                      {"/sys/fs/cgroup/memory/in/memory.limit_in_bytes", "6000"}}),
            6000U);
}

TEST(cgroup_memory_limit, both_versions_at_once) {
  EXPECT_EQ(limit_of({{"/proc/self/cgroup", "4:memory:/\n0::/x\n"},
                      {"/proc/self/mountinfo",
                       v1_mount + std::string{"40 31 0:40 / /uni rw - cgroup2 cgroup2 rw\n"}},
                      {"/uni/x/memory.max", "800"},
                      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "900"}}),
            800U);
}

TEST(cgroup_memory_limit, nothing_where_there_is_none) {
  EXPECT_EQ(limit_of({}), std::nullopt);
  EXPECT_EQ(limit_of({{"/proc/self/cgroup", "0::/\n"}, {"/proc/self/mountinfo", v2_mount}}),
            std::nullopt);
  EXPECT_EQ(limit_of({{"/proc/self/cgroup", "nonsense\n:\n"},
                      {"/proc/self/mountinfo", "short line\n\n- - -\n"}}),
            std::nullopt);
  EXPECT_EQ(limit_of({{"/proc/self/cgroup", "0::/x\n"},
                      {"/proc/self/mountinfo", v2_mount},
                      {"/sys/fs/cgroup/x/memory.max", "max\n"}}),
            std::nullopt);
}

}  // namespace
}  // namespace atl
