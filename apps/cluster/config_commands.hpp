// Commands of operators about settings of the coordinator that may change while it runs, each a
// client of the cluster's API.
#pragma once

#include "apps/cluster/operator_commands.hpp"

#include <string>
#include <vector>

namespace atl::ops {

result<int> run_cluster_config_show(const operator_options& o);

struct config_set_options {
  operator_options at;
  std::vector<std::string> settings;  // "NAME=VALUE"
};
result<int> run_cluster_config_set(const config_set_options& o);

struct config_apply_options {
  operator_options at;
  std::string file;  // TOML
};
/// All of the file or nothing; what is wrong with it is told by line and column, and ends with 2.
result<int> run_cluster_config_apply(const config_apply_options& o);

struct log_level_options {
  operator_options at;
  std::string level;  // empty: show it
};
result<int> run_log_level(const log_level_options& o);

}  // namespace atl::ops
