// The command-line options of clusters: `atoll cluster`, `join-token`, `node`, `expert`,
// `placement`, `operation`, `request`, `events`, `audit`, `top`, `log-level`, `local`. One thread.
#pragma once

#include "apps/cluster/operator_commands.hpp"
#include "apps/options_serve.hpp"

namespace atl::apps {

void add_cluster(CLI::App& root, const choose& chosen);
/// `cluster config`.
void add_cluster_config(CLI::App& cluster, const choose& chosen);
void add_log_level(CLI::App& root, const choose& chosen);
void add_requests(CLI::App& root, const choose& chosen);
void add_join_token(CLI::App& root, const choose& chosen);
void add_certificate(CLI::App& root, const choose& chosen);
void add_node(CLI::App& root, const choose& chosen);
void add_events(CLI::App& root, const choose& chosen);
void add_top(CLI::App& root, const choose& chosen);
void add_audit(CLI::App& root, const choose& chosen);
void add_placement(CLI::App& root, const choose& chosen);
/// `expert` and `operation`.
void add_experts(CLI::App& root, const choose& chosen);
void add_local(CLI::App& root, const choose& chosen);

/// What commands about a cluster have in common: how its coordinator is reached, --json.
void add_operator(CLI::App& app, ops::operator_options& o);

}  // namespace atl::apps
