// What a node is made of, and whom it tells of its fate. Plain values.
#pragma once

#include "actors/cluster_options.hpp"
#include "actors/control_call.hpp"
#include "actors/node_links.hpp"
#include "cluster/peer_watch.hpp"
#include "experts/kernel_cost.hpp"
#include "runtime/model/tokenizer.hpp"
#include "runtime/model/weights.hpp"
#include "transport/wire/control.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace atl::actors {

inline constexpr std::uint32_t all_roles = transport::wire::roles_known;

/// Of the node that coordinates.
struct coordination {
  cluster::control_settings settings;  // but for `self`
  cluster::durable_state restored;
  journal_function journal;  // empty: nothing is kept
  plan_function plan;        // empty: a thread of the node's own
  /// A cluster of one process ends with the first load that fails; another looks for other places.
  bool fails_fast = false;
};

struct node_setup {
  transport::node_identity self{node_id{1}, incarnation{1}};
  std::uint32_t roles = all_roles;
  node_id coordinator{1};
  node_links links;
  model::model_config config;
  /// Empty: no checkpoint here. An attention shard needs one; experts come from other nodes then.
  std::shared_ptr<const model::model_weights> weights;
  /// For constrained answers, at gateways and attention shards; null: they are refused.
  std::shared_ptr<const model::tokenizer> words;
  cluster_options options;       // resolved
  std::size_t expert_bytes = 0;  // memory for expert weights, mapped or fetched
  /// What it says of itself when it joins; the numbers of its actors are filled in.
  transport::wire::join presence;
  /// Whether the presence says what machine it is and how fast, which a start then measures. Not
  /// where one process is the whole cluster, and not in virtual time.
  bool describes_itself = false;
  /// What its experts cost, as measured; not known: nobody hears of a speed.
  experts::kernel_cost cost = {};
  /// Called once the node listens: adds where others reach it. May be empty.
  std::function<void(transport::wire::join&)> addresses;
  cluster::watch_limits watch;
  std::optional<coordination> coordinates;  // exactly with role_coordinator

  /// Once: it is a member, and where it has attention shards, they have a placement; or why not.
  std::function<void(result<void>)> ready;
  /// Once, after ready: it is no member any more. Without an error nothing of the cluster needs it;
  /// with errc::stale_epoch it may join again as a later life.
  std::function<void(std::optional<error>)> ended;
};

}  // namespace atl::actors
