// The one list of what actors say. Between nodes and between roles they say the messages of
// transport/wire, which reach them checked and decoded as `incoming`. The rest below is said inside
// one process: completions of device jobs, and what a shard and its router hand each other about
// the micro-batch they share.
//
// All of it is local: values with pointers, never serialised.
#pragma once

#include "actors/held.hpp"
#include "experts/placement/expert_map.hpp"
#include "experts/router_compute.hpp"
#include "runtime/model/weights.hpp"
#include "transport/plane.hpp"
#include "transport/transport.hpp"
#include "transport/wire/messages.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/atom.hpp>
#include <caf/fwd.hpp>
#include <caf/replies_to.hpp>
#include <caf/typed_actor.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace atl::cluster {
struct elastic_plan;  // cluster/elastic/elastic.hpp
}

namespace atl::actors {

/// A checked frame for an actor of this node.
struct incoming {
  transport::address source;
  incarnation sender;
  transport::plane path = transport::plane::data;  // on which it came
  transport::wire::message body;
};
using incoming_ptr = std::shared_ptr<const incoming>;

/// All members, as the coordinator last said: agent -> mailroom, pulse, gateway, shards, routers.
using members_ptr = std::shared_ptr<const transport::wire::members>;

enum class peer_state : std::uint8_t { alive, suspect, dead };

/// pulse -> routers, shards, gateway, agent, coordinator of its node: what it thinks of one life of
/// a peer on one path. Dead is final for that life.
struct peer_changed {
  transport::node_identity peer;
  transport::plane path = transport::plane::data;
  peer_state state = peer_state::alive;
  std::string why;
};

/// mailroom -> pulse: the medium says so.
struct connection_lost {
  transport::node_identity peer;
  transport::plane path = transport::plane::data;
  std::string why;
};

/// A device job has ended. What it was is known to the receiver by these two numbers.
struct job_ended {
  std::uint64_t subject = 0;  // lane, or call
  std::uint32_t stage = 0;    // the receiver's own enumeration
};

/// shard -> router: send these rows through the routed experts of a layer; their weighted sum
/// belongs into `routed`. `keep` owns normed and routed; the router writes to `routed` until it
/// answers, and then no more.
struct route_rows {
  std::uint32_t lane = 0;
  std::int64_t layer = 0;
  std::int64_t rows = 0;
  const float* normed = nullptr;  // (rows, hidden)
  float* routed = nullptr;        // (rows, hidden)
  bool want_routing = false;
  std::shared_ptr<const void> keep;
};

struct chosen_experts {
  std::int64_t k = 0;
  std::vector<std::uint32_t> experts;  // (rows, k) in rank order
  std::vector<float> weights;
};

/// router -> whoever handed it the latest placement (its agent), whenever one of them changes and
/// after each placement: the epoch it uses, and the earliest that a call of it still refers to.
struct router_epochs {
  shard_id shard;
  epoch current;
  epoch oldest;
};

/// router -> shard: `routed` is filled, or cannot be.
struct rows_routed {
  std::uint32_t lane = 0;
  std::int64_t layer = 0;
  std::shared_ptr<const chosen_experts> routing;  // when wanted
  std::optional<error> failure;
};

/// node agent -> group: take an expert on. `keep` owns the weights; the group and the jobs that use
/// them share it, so that their memory goes back when the last has let go.
struct hold_expert {
  std::int64_t layer = 0;
  std::uint32_t expert = 0;
  model::ffn_weights weights;
  std::shared_ptr<const void> keep;
};

/// node agent -> group: compute it no more.
struct drop_expert {
  std::int64_t layer = 0;
  std::uint32_t expert = 0;
};

struct hold_answer {
  std::uint64_t bytes = 0;  // of the group's experts now
  std::optional<error> failure;
};

/// journal -> coordinator: the oldest `records` of what it was given are durable, or are not.
struct journal_answer {
  std::uint64_t records = 0;
  std::optional<error> failure;
};

/// planner -> coordinator: what came of the job that it was given.
struct plan_answer {
  std::uint64_t job = 0;
  std::shared_ptr<const result<cluster::elastic_plan>> plan;
};

// Atoms: questions that any thread of the process may ask.
using held_atom = caf::atom_constant<caf::atom("held")>;
using counts_atom = caf::atom_constant<caf::atom("counts")>;
using report_atom = caf::atom_constant<caf::atom("report")>;
using overdue_atom = caf::atom_constant<caf::atom("overdue")>;
using tick_atom = caf::atom_constant<caf::atom("tick")>;
using start_atom = caf::atom_constant<caf::atom("start")>;

struct gateway_submit;  // gateway.hpp: carries a listener
using gateway_submit_ptr = std::shared_ptr<gateway_submit>;

struct control_call;  // control_call.hpp: carries functions
using control_call_ptr = std::shared_ptr<control_call>;

}  // namespace atl::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::incoming_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::members_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::peer_changed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::connection_lost)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::job_ended)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::route_rows)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::router_epochs)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::rows_routed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::hold_expert)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::hold_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::drop_expert)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::held)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::expert_counts)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::gateway_submit_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::control_call_ptr)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::journal_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::actors::plan_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(atl::request_id)

namespace atl::actors {

using pulse_actor = caf::typed_actor<caf::reacts_to<incoming_ptr>,
                                     caf::reacts_to<members_ptr>,
                                     caf::reacts_to<connection_lost>,
                                     caf::reacts_to<tick_atom>>;

using gateway_actor = caf::typed_actor<caf::reacts_to<incoming_ptr>,
                                       caf::reacts_to<gateway_submit_ptr>,
                                       caf::reacts_to<request_id>,  // cancel
                                       caf::reacts_to<members_ptr>,
                                       caf::reacts_to<peer_changed>,
                                       caf::reacts_to<overdue_atom, std::uint64_t>,
                                       caf::replies_to<held_atom>::with<held>>;

using shard_actor = caf::typed_actor<caf::reacts_to<incoming_ptr>,
                                     caf::reacts_to<members_ptr>,
                                     caf::reacts_to<peer_changed>,
                                     caf::reacts_to<job_ended>,
                                     caf::reacts_to<rows_routed>,
                                     caf::replies_to<held_atom>::with<held>>;

using router_actor = caf::typed_actor<caf::reacts_to<incoming_ptr>,
                                      caf::reacts_to<members_ptr>,
                                      caf::reacts_to<peer_changed>,
                                      caf::reacts_to<start_atom, shard_actor>,
                                      caf::reacts_to<job_ended>,
                                      caf::reacts_to<route_rows>,
                                      caf::reacts_to<overdue_atom>,
                                      caf::replies_to<held_atom>::with<held>>;

using group_actor = caf::typed_actor<caf::reacts_to<incoming_ptr>,
                                     caf::reacts_to<job_ended>,
                                     caf::replies_to<hold_expert>::with<hold_answer>,
                                     caf::reacts_to<drop_expert>,
                                     caf::replies_to<counts_atom>::with<expert_counts>>;

using agent_actor = caf::typed_actor<caf::reacts_to<incoming_ptr>,
                                     caf::reacts_to<start_atom>,    // join, now and when due
                                     caf::reacts_to<overdue_atom>,  // fetches
                                     caf::reacts_to<tick_atom>,     // time for a report
                                     caf::reacts_to<job_ended>,
                                     caf::reacts_to<peer_changed>,
                                     caf::reacts_to<connection_lost>,
                                     caf::reacts_to<router_epochs>,
                                     caf::replies_to<report_atom>::with<bool>>;

using coordinator_actor = caf::typed_actor<caf::reacts_to<incoming_ptr>,
                                           caf::reacts_to<peer_changed>,
                                           caf::reacts_to<start_atom>,
                                           caf::reacts_to<tick_atom>,
                                           caf::reacts_to<control_call_ptr>,
                                           caf::reacts_to<journal_answer>,
                                           caf::reacts_to<plan_answer>,
                                           caf::replies_to<counts_atom>::with<expert_counts>>;

// Places of actors on a node, for addresses in frames.
inline constexpr std::uint32_t coordinator_slot = 1;
inline constexpr std::uint32_t agent_slot = 2;
inline constexpr std::uint32_t gateway_slot = 3;
inline constexpr std::uint32_t pulse_slot = 4;
inline constexpr std::uint32_t shard_slot_base = 0x1000;
inline constexpr std::uint32_t router_slot_base = 0x2000;
inline constexpr std::uint32_t group_slot_base = 0x3000;

}  // namespace atl::actors
