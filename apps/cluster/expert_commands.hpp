// Commands of operators about experts: who holds which, and
// changes of that, each a client of the cluster's API.
#pragma once

#include "apps/cluster/operator_commands.hpp"

#include <optional>
#include <string>

namespace atl::ops {

struct expert_list_options {
  operator_options at;
  std::optional<std::uint32_t> layer;
  std::string sort = "layer";  // of list; or "load": the most asked for first
};
/// A line for each expert: its copies and where they are.
result<int> run_expert_list(const expert_list_options& o);

/// Layers by experts: the nodes that serve each.
result<int> run_expert_map(const expert_list_options& o);

/// A change of one expert, "LAYER:EXPERT". All wait for the end, unless detached; 1 when the change
/// failed or was cancelled.
struct expert_options {
  operator_options at;
  std::string expert;
  std::string node;         // by number or by name; of unpin, empty: all
  std::string from;         // of move; empty: the coordinator chooses
  std::int64_t copies = 0;  // of replicate
  bool force = false;       // of drop
  bool detaches = false;
};
result<int> run_expert_move(const expert_options& o);
result<int> run_expert_replicate(const expert_options& o);
result<int> run_expert_drop(const expert_options& o);
result<int> run_expert_pin(const expert_options& o);
result<int> run_expert_unpin(const expert_options& o);

}  // namespace atl::ops
