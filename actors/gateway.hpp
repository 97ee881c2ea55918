// Gateway: takes requests, keeps them in a fair queue until a shard can start them soon, and hands
// what comes back to the request's listener. It keeps the prompt and every emitted token, which is
// all that a replay on another shard needs.
//
//   submitted -> waits -> at a shard -> (tokens)* -> finished: stop, length, cancelled or error
//                  ^          |
//                  +- replay -+   its shard is lost or draining
// exactly once. A request that waits ends at once when it is cancelled or its time is up. One at a
// shard ends when cancelled with what its step still brings; when its time is up it ends at once,
// and its place is free (`gone`) when the shard has let go.
//
// Shards come and go (shard_roster.hpp). Where none is, requests wait for `unavailable_after` and
// end with errc::unavailable. What a lost frame leaves open is asked for again: submit and cancel
// may be repeated as often as one likes.
#pragma once

#include "actors/front_desk.hpp"
#include "actors/generation.hpp"
#include "actors/mailroom.hpp"
#include "actors/messages.hpp"
#include "runtime/base/clock.hpp"

#include <functional>
#include <memory>

namespace atl::actors {

/// A request on its way into the gateway; it has entered at the front desk.
struct gateway_submit {
  request_id id;
  generation_request request;
  generation_listener listener;
  time_point_ns since;         // its time runs from here
  std::function<void()> gone;  // after its last event, when nothing of it is held; may be empty
};

struct gateway_patience {
  duration_ns unavailable_after = std::chrono::seconds{3};  // without any shard
  // Of a shard about a request; longer than its router tries to reach an expert.
  duration_ns silence = std::chrono::seconds{15};
  duration_ns repeat = std::chrono::milliseconds{200};  // between two askings for one thing
  // A request whose shard's node dies so often, each time this soon after it came and with no token
  // more than the time before, is taken for the cause and ends with errc::internal.
  int deaths_max = 3;
  duration_ns death_within = std::chrono::seconds{10};
};

struct gateway_parts {
  mailroom* mail = nullptr;
  const clock* time = nullptr;
  std::shared_ptr<front_desk> desk;
  std::int64_t queued_tokens = 0;  // that those who wait may reserve beyond what shards hold
  bool shares_prefixes = true;     // shards do; requests that begin alike go to the same one
  gateway_patience patience;
};

/// It knows of no shard until the first members_ptr comes.
gateway_actor spawn_gateway(caf::actor_system& system, const gateway_parts& parts);

}  // namespace atl::actors
