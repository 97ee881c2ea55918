// Commands of operators, each a client of the cluster's API: nodes, operations, join tokens,
// and the state of it all. Tables for people, --json for programs; exit codes as of remote
// commands (apps/remote/server.hpp).
#pragma once

#include "apps/cluster/operator_session.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace atl::ops {

struct operator_options {
  operator_server server;
  bool as_json = false;
};

/// Wide: with speeds, domains and devices.
result<int> run_node_list(const operator_options& o, bool is_wide = false);

/// Of commands about one node; by number or by name.
struct node_options {
  operator_options at;
  std::string node;
  std::optional<std::int64_t> deadline_s;  // of drain
  bool detaches = false;                   // of drain
  bool force = false;                      // of drain and remove
};
result<int> run_node_show(const node_options& o);
result<int> run_node_cordon(const node_options& o);
result<int> run_node_uncordon(const node_options& o);
/// Waits for the end of the drain, unless detached; 1 when it failed or was cancelled.
result<int> run_node_drain(const node_options& o);
result<int> run_node_cancel_drain(const node_options& o);
result<int> run_node_remove(const node_options& o);

/// 0 healthy, 1 degraded.
result<int> run_cluster_status(const operator_options& o);

struct operation_options {
  operator_options at;
  std::uint64_t id = 0;
};
result<int> run_operation_list(const operator_options& o);
/// 1 when it failed or was cancelled.
result<int> run_operation_show(const operation_options& o);
result<int> run_operation_cancel(const operation_options& o);

struct token_options {
  operator_options at;
  std::vector<std::string> roles;
  std::int64_t ttl_s = 3600;
  std::int64_t uses = 1;
  std::string out;  // a file for the token; empty: it is printed
  std::string id;   // of revoke
};
result<int> run_token_create(const token_options& o);
result<int> run_token_list(const operator_options& o);
result<int> run_token_revoke(const token_options& o);

struct certificate_options {
  operator_options at;
  std::string serial;  // of revoke
};
result<int> run_certificate_list(const operator_options& o);
result<int> run_certificate_revoke(const certificate_options& o);

}  // namespace atl::ops
