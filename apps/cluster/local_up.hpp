// `atoll local up`: a whole cluster on this machine, each node a process of its own with its own
// state, over real transports. For trying things out, and for tests.
#pragma once

#include "runtime/base/result.hpp"

#include <string>
#include <vector>

namespace atl::ops {

struct local_up_options {
  std::string model;
  int attention_nodes = 2;
  int expert_nodes = 3;
  int gateways = 1;
  int replicas = 2;
  int threads = 0;                     // of each node; 0: the cores shared out, at least one
  std::string dir;                     // empty: a new one under TMPDIR, removed at the end
  std::string listen = "127.0.0.1:0";  // of the first gateway
  std::string data_transport = "auto";
  bool restarts = false;  // what dies is started again
  bool as_json = false;
  bool keeps_dir = false;                // one that was made for this run stays
  std::string expert_policy = "advise";  // off, advise, auto
  std::string expert_memory;             // of each expert node; empty: what is left
  std::vector<std::string> node_flags;   // passed on to every node
};

/// Starts the nodes, prints one line when all of them serve, and stays until SIGINT or SIGTERM,
/// which end the nodes in order; a second one kills them. Answers with an exit code.
result<int> run_local_up(const local_up_options& o);

}  // namespace atl::ops
