// A whole cluster in one process: a node with all roles and no paths to others. What a laptop runs,
// and what every command that generates text stands on.
#pragma once

#include "actors/node.hpp"

#include <memory>

namespace atl::actors {

/// What of a model is placed on groups.
cluster::placed_model placed_model_of(const model::model_weights& weights);

/// A node with all roles and no others: the whole of a cluster. Refuses what cannot be, naming
/// option, value and remedy.
result<node_setup> single_node(std::shared_ptr<const model::model_weights> weights,
                               const cluster_options& options,
                               std::shared_ptr<const model::tokenizer> words);

class local_cluster final : public node {
public:
  /// Starts all actors and returns when the coordinator's first placement is in force. `words` are
  /// for constrained answers, which are refused without.
  static result<std::unique_ptr<local_cluster>>
  start(std::shared_ptr<const model::model_weights> weights,
        const cluster_options& options,
        std::shared_ptr<const model::tokenizer> words = nullptr);
  using node::node;
};

}  // namespace atl::actors
