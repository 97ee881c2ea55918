// Commands of operators about requests under way at the cluster's gateways, each a client of the
// cluster's API.
#pragma once

#include "apps/cluster/operator_commands.hpp"

#include <string>

namespace atl::ops {

/// A line for each, the longest under way first; gateways that did not answer are named.
result<int> run_request_list(const operator_options& o);

struct request_options {
  operator_options at;
  std::string id;
};
result<int> run_request_show(const request_options& o);
result<int> run_request_cancel(const request_options& o);

}  // namespace atl::ops
