// What a node has of the model, by its roles: a coordinator and a gateway read headers and map the
// rest, an attention node has to have room for its share, an expert node may have nothing but the
// configuration that it was sent. Blocks on files.
#pragma once

#include "actors/cluster_options.hpp"
#include "apps/engine.hpp"
#include "cluster/control.hpp"
#include "runtime/base/disk.hpp"
#include "runtime/base/result.hpp"
#include "runtime/model/sampler.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace atl::ops {

struct node_model {
  model::model_config config;
  std::shared_ptr<const model::model_weights> weights;  // null: no checkpoint here
  std::shared_ptr<const model::tokenizer> words;
  actors::cluster_options options;  // resolved
  std::string directory;            // of the checkpoint; empty: none
  std::string fingerprint;          // of the checkpoint
  cluster::placed_model placed;
  std::size_t expert_bytes = 0;   // memory for experts
  std::string config_text;        // of config.json, as the coordinator hands it on
  std::string generation_config;  // likewise; may be empty
};

struct node_model_options {
  std::uint32_t roles = 0;
  apps::engine_options engine;    // engine.model: --model; empty: none
  std::size_t expert_memory = 0;  // 0: what is left
  std::string sent_config;        // directory with the configuration that the coordinator sent
};

/// errc::invalid_argument: a role that needs a model got none; errc::out_of_memory: no room for
/// this node's share, with the sum.
result<node_model> find_node_model(disk& files, const node_model_options& o);

/// Rows of one class are equal in every bit.
std::string numeric_class(const actors::cluster_options& resolved);

}  // namespace atl::ops
