// Who is at fault when data paths fail while control paths live: a pure judgement over what nodes
// report of their data paths to each other. The coordinator fences the node it names.
//
//  - A node that has lost more than half of the (two or more) nodes it talks to is itself cut off.
//    What it reports is no evidence against others.
//  - Otherwise a node is at fault that more than half of those it talks to have lost.
//  - One broken path between nodes that reach others is nobody's fault: routers go round it.
//  - The last node of a role is never named. Its control path lives and the network may heal, while
//    fencing it would end the service for certain; routers wait for it, or it dies by its own
//    control path.
//  - One node a time, and only a while after the first loss: a fault shows on its paths at
//    different moments, and each removal changes what the others mean. Ask again after it.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/base/ids.hpp"

#include <chrono>
#include <optional>
#include <span>
#include <string>

namespace atl::cluster {

/// A node that is a member and whose control path lives; others are judged by that path. Gateways
/// talk to attention nodes, attention nodes to expert nodes.
struct data_member {
  node_id node;
  bool is_gateway = false;
  bool is_attention = false;
  bool is_expert = false;
};

/// The reporter holds the data path to the subject for lost, and has said so at that time. Losses
/// that name others than members are ignored.
struct path_loss {
  node_id reporter;
  node_id subject;
  time_point_ns since;
  time_point_ns repeated = {};  // said last
};

struct fence_verdict {
  node_id node;
  std::string why;
};

/// Paths that one fault breaks die within two heartbeats and 400 ms of jitter of each other.
inline constexpr duration_ns verdict_settle_time = std::chrono::milliseconds{900};

/// `members` in any order, each node once.
std::optional<fence_verdict> judge_paths(std::span<const data_member> members,
                                         std::span<const path_loss> losses,
                                         time_point_ns now,
                                         duration_ns settle_time = verdict_settle_time);

}  // namespace atl::cluster
