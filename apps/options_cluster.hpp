// The command-line options of clusters: `atoll cluster`, `join-token`, `node`, `events`, `local`.
// One thread.
#pragma once

#include "apps/options_serve.hpp"

namespace atl::apps {

void add_cluster(CLI::App& root, const choose& chosen);
void add_join_token(CLI::App& root, const choose& chosen);
void add_node(CLI::App& root, const choose& chosen);
void add_events(CLI::App& root, const choose& chosen);
void add_local(CLI::App& root, const choose& chosen);

}  // namespace atl::apps
