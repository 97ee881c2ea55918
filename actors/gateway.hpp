// Gateway: takes requests, chooses a shard for each, and hands what comes back to the request's
// listener. It keeps the prompt and every emitted token, which is all that a replay on another
// shard needs.
//
//   submitted -> at a shard -> (tokens)* -> finished: stop, length, cancelled or error, exactly
//   once
#pragma once

#include "actors/generation.hpp"
#include "actors/mailroom.hpp"
#include "actors/messages.hpp"
#include "runtime/schedule/admission.hpp"

#include <memory>
#include <mutex>
#include <vector>

namespace atl::actors {

/// What is inside, so that a request can be refused before it is a message. Thread-safe.
class front_desk {
public:
  explicit front_desk(schedule::admission_limits limits) : limits_{limits} {}

  /// Reserves for a request, or says why not.
  result<void> enter(std::int64_t prompt_tokens, std::int64_t new_tokens_max);
  void leave(std::int64_t prompt_tokens, std::int64_t new_tokens_max);

private:
  std::mutex mutex_;
  schedule::admission_limits limits_;
  schedule::admission_load load_;
};

/// A request on its way into the gateway; it has entered at the front desk.
struct gateway_submit {
  request_id id;
  generation_request request;
  generation_listener listener;
};

struct gateway_parts {
  mailroom* mail = nullptr;
  std::shared_ptr<front_desk> desk;
  std::vector<transport::address> shards;
};

gateway_actor spawn_gateway(caf::actor_system& system, const gateway_parts& parts);

}  // namespace atl::actors
