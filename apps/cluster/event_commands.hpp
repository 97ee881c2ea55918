// `atoll events` and `atoll audit`: what happened in the cluster, and who changed what. One thread.
#pragma once

#include "apps/cluster/operator_commands.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>

namespace atl::ops {

struct events_options {
  operator_options at;  // as_json: an object a line
  std::uint64_t since = 0;
  bool follows = false;
};

/// Following ends with an interrupt. While the coordinator does not answer it asks again every
/// second, and goes on after the last event that was told: none comes twice. Where the coordinator
/// has not all that came after it any more, a line says so (as JSON, of the kind "gap").
result<int> run_events(const events_options& o);

struct audit_options {
  operator_options at;
  std::uint64_t since = 0;
  std::uint64_t limit = 100;
};
/// The latest changes; those after an entry where one is named.
result<int> run_audit(const audit_options& o);

}  // namespace atl::ops
