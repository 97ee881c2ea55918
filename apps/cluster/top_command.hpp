// `atoll top`: a cluster at a glance, each second anew. One thread, before any other starts.
#pragma once

#include "apps/cluster/operator_commands.hpp"
#include "runtime/base/result.hpp"

namespace atl::ops {

struct top_options {
  operator_options at;
  bool once = false;
};

/// Until an interrupt, after which the terminal is as it was. Where standard output is no terminal,
/// pictures follow each other with a blank line between; as JSON, an object a line. 1 when `once`
/// finds it degraded.
result<int> run_top(const top_options& o);

}  // namespace atl::ops
