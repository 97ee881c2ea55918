// The file that `atoll plan` reads: nodes, loads, an earlier answer, options. Pure; any thread.
#pragma once

#include "cluster/balance/balance.hpp"
#include "runtime/base/result.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace atl::apps {

struct plan_input {
  cluster::balance_input cluster;
  std::vector<std::string> ids;  // of the nodes, as JSON: numbers and strings stay what they were
};

/// Errors name file, field, value and what would be accepted; errc::invalid_argument.
result<plan_input> read_plan_input(std::string_view text, const std::string& path);

/// One line of JSON:
/// {"layers":[{"replicas":[{"expert","node","share"}...],"hottest_over_mean"}...], "moved_experts",
/// ...}. Its `layers` can be given as `previous`.
std::string plan_as_json(const plan_input& input, const cluster::balance_plan& plan);

/// For people: a line a layer, then why each expert moves.
std::string plan_as_text(const plan_input& input, const cluster::balance_plan& plan);

}  // namespace atl::apps
