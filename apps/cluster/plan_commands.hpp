// Commands of operators about plans for uneven loads, and the policy that makes them, each a client
// of the cluster's API.
#pragma once

#include "apps/cluster/operator_commands.hpp"

#include <cstdint>
#include <string>

namespace atl::ops {

struct rebalance_options {
  operator_options at;
  bool is_dry_run = false;
  bool detaches = false;
};
/// What is to be done and why, then what came of it; 1 when it failed or was taken back.
result<int> run_expert_rebalance(const rebalance_options& o);

result<int> run_expert_plans(const operator_options& o);

struct plan_options {
  operator_options at;
  std::uint64_t id = 0;
  bool detaches = false;  // of apply
};
result<int> run_expert_plan(const plan_options& o);
result<int> run_expert_apply(const plan_options& o);
result<int> run_expert_cancel(const plan_options& o);

struct policy_options {
  operator_options at;
  std::string policy;  // empty: show it
};
result<int> run_expert_policy(const policy_options& o);

}  // namespace atl::ops
