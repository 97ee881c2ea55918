// `atoll cluster init`: makes what a cluster begins with, in the directory of its coordinator: the
// cluster's id, its authority, the first key of its API, and a journal in which the coordinator is
// node 1.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <string>

namespace atl::ops {

/// The coordinator's number in every cluster.
inline constexpr node_id coordinator_node{1};

struct init_options {
  std::string dir;            // empty: default_state_dir()
  std::string name;           // for people; empty: the id
  std::string admin_key_out;  // empty: the key is printed
  bool as_json = false;
};

/// Refuses a directory that holds a cluster or a node. Prints what it made, and the admin key where
/// it is not written to a file; the key is stored nowhere else.
result<int> run_cluster_init(const init_options& o);

}  // namespace atl::ops
