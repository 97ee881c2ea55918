// `atoll node run`: one process of a cluster, from its options to its end. It joins where it has
// not joined yet, runs life after life, renews its certificate, and leaves when it is told to.
#pragma once

#include "apps/cluster/data_path.hpp"
#include "apps/serve/settings.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace atl::ops {

struct node_run_options {
  std::vector<std::string> roles;
  std::string dir;         // empty: default_state_dir()
  std::string join;        // URL of the coordinator's API; of the first start
  std::string token_file;  // likewise
  std::string name;        // empty: the machine's
  std::string domain;      // what fails with the node; empty: it alone
  // Where the coordinator's API listens, and its control path.
  std::string api_listen = "127.0.0.1:7400";
  std::string control_listen;  // empty: 127.0.0.1:7401, or on other nodes any port
  std::vector<std::string> advertise;
  data_choice data;
  std::uint32_t expert_nodes_min = 1;
  std::string expert_policy = "advise";  // off, advise, auto
  std::size_t expert_memory = 0;
  bool as_json = false;
  /// Those of `atoll serve`: engine options for every node, the rest for gateways.
  serve::setting_sources settings;
};

/// Blocks the calling (main) thread. One line on standard output once the node is ready. SIGTERM
/// and SIGINT make it leave the cluster in order, a second one ends it now. Answers with an exit
/// code.
result<int> run_node(const node_run_options& o);

}  // namespace atl::ops
