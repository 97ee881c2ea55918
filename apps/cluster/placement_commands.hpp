// Commands of operators about the whole placement, each a client of the cluster's API.
#pragma once

#include "apps/cluster/operator_commands.hpp"

#include <string>

namespace atl::ops {

/// As JSON, which `apply` takes back.
result<int> run_placement_get(const operator_options& o);

struct placement_apply_options {
  operator_options at;
  std::string file;  // JSON
  bool detaches = false;
};
/// Sends what differs from the placement now, for the epoch that the file names, if it names one;
/// then waits for the plan. 1: it failed or was taken back. What is no JSON is told by line and
/// column.
result<int> run_placement_apply(const placement_apply_options& o);

}  // namespace atl::ops
