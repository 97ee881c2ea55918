// What operators change of the coordinator's settings while it runs; it is kept over its own death.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace atl::cluster {

/// Absent: as the coordinator was started.
struct tuned_settings {
  static constexpr std::uint64_t moved_experts_most = 1'000'000;
  static constexpr std::int64_t drain_deadline_most_s = 86'400;

  std::optional<std::uint64_t> moved_experts_max = {};  // copies moved in one plan, 0: no bound
  std::optional<std::int64_t> drain_deadline_s = {};    // of drains without one of their own

  bool is_empty() const { return !moved_experts_max && !drain_deadline_s; }
  friend bool operator==(const tuned_settings&, const tuned_settings&) = default;
};

std::string to_record(const tuned_settings& t);

}  // namespace atl::cluster
