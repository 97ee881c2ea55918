#include "cluster/membership.hpp"

#include "runtime/base/assert.hpp"

#include <algorithm>
#include <string>

namespace atl::cluster {

namespace {

std::string named(node_id node) { return "node " + std::to_string(node.value); }

std::string_view name_of(member_state state) {
  switch (state) {
  case member_state::alive: return "alive";
  case member_state::suspect: return "suspect";
  case member_state::dead: return "dead";
  }
  ATOLL_ASSERT(false);
}

std::string_view name_of(member_event_kind kind) {
  switch (kind) {
  case member_event_kind::joined: return "join";
  case member_event_kind::suspected: return "be suspected";
  case member_event_kind::refuted: return "refute a suspicion";
  case member_event_kind::died: return "die";
  case member_event_kind::left: return "leave";
  }
  ATOLL_ASSERT(false);
}

error not_allowed(const member& m, member_event_kind kind) {
  return {errc::invalid_argument,
          named(m.node) + " is " + std::string{name_of(m.state)} + " and cannot " +
              std::string{name_of(kind)}};
}

error past_life(const member& m, incarnation life) {
  return {errc::stale_epoch,
          named(m.node) + " is in its life " + std::to_string(m.life.value) + ", not " +
              std::to_string(life.value) + "; it must join again"};
}

auto position(membership& in, node_id node) {
  return std::lower_bound(in.members.begin(),
                          in.members.end(),
                          node,
                          [](const member& m, node_id id) { return m.node < id; });
}

result<membership> join(membership next, const member_event& event) {
  const member joined{.node = event.node,
                      .life = event.life,
                      .state = member_state::alive,
                      .expert_bytes = event.expert_bytes,
                      .groups = event.groups};
  const auto at = position(next, event.node);
  if (at == next.members.end() || at->node != event.node) {
    next.members.insert(at, joined);
  } else {
    if (event.life <= at->life) return past_life(*at, event.life);
    if (at->state != member_state::dead) return not_allowed(*at, event.kind);
    *at = joined;
  }
  ++next.version;
  return next;
}

}  // namespace

result<membership> transition(const membership& now, const member_event& event) {
  using kind = member_event_kind;
  if (event.kind == kind::joined) return join(now, event);
  membership next = now;
  const auto at = position(next, event.node);
  if (at == next.members.end() || at->node != event.node) {
    return error{errc::not_found, named(event.node) + " is no member"};
  }
  if (event.life != at->life) return past_life(*at, event.life);
  const bool is_allowed = event.kind == kind::left ||
                          (event.kind == kind::suspected && at->state == member_state::alive) ||
                          (event.kind == kind::refuted && at->state == member_state::suspect) ||
                          (event.kind == kind::died && at->state != member_state::dead);
  if (!is_allowed) return not_allowed(*at, event.kind);
  if (event.kind == kind::left) {
    next.members.erase(at);
  } else {
    at->state = event.kind == kind::suspected ? member_state::suspect
                : event.kind == kind::refuted ? member_state::alive
                                              : member_state::dead;
  }
  ++next.version;
  return next;
}

const member* find(const membership& now, node_id node) {
  for (const member& m : now.members) {
    if (m.node == node) return &m;
  }
  return nullptr;
}

}  // namespace atl::cluster
