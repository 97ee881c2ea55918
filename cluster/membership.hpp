// Who is in the cluster: a pure transition function that the coordinator applies to what it learns.
// Values in, values out. A node lives several lives, told apart by their incarnation; what is said
// about a past life is refused.
//
//   state    joined(life)            suspected  refuted   died   left
//   absent   alive                   -          -         -      -
//   alive    refused                 suspect    -         dead   absent
//   suspect  refused                 -          alive     dead   absent
//   dead     alive if a later life   -          -         -      absent
//   "-": refused, nothing changes. A node that was declared dead must join again as a later life.
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace atl::cluster {

enum class member_state : std::uint8_t { alive, suspect, dead };

struct member {
  node_id node;
  incarnation life;
  member_state state = member_state::alive;
  std::size_t expert_bytes = 0;  // memory for expert weights
  std::uint32_t groups = 0;      // expert groups it runs
  friend bool operator==(const member&, const member&) = default;
};

struct membership {
  std::uint64_t version = 0;    // grows with every change
  std::vector<member> members;  // by ascending node
};

enum class member_event_kind : std::uint8_t { joined, suspected, refuted, died, left };

struct member_event {
  member_event_kind kind = member_event_kind::joined;
  node_id node;
  incarnation life;
  std::size_t expert_bytes = 0;  // joined only
  std::uint32_t groups = 0;      // joined only
};

/// The membership after the event. errc::stale_epoch for a life that is over, errc::not_found for
/// an unknown node, errc::invalid_argument for an event its state does not allow.
result<membership> transition(const membership& now, const member_event& event);

const member* find(const membership& now, node_id node);

}  // namespace atl::cluster
