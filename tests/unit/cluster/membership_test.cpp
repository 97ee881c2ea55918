#include "cluster/membership.hpp"
#include "runtime/base/random.hpp"

#include <gtest/gtest.h>

#include <map>
#include <optional>

namespace atl::cluster {
namespace {

using kind = member_event_kind;

member_event event(kind what, std::uint32_t node, std::uint64_t life) {
  return {.kind = what,
          .node = node_id{node},
          .life = incarnation{life},
          .expert_bytes = 100,
          .groups = 2};
}

/// State of node 1 after the event, which must be allowed.
std::optional<member_state> after(const membership& now, const member_event& e) {
  const auto next = transition(now, e);
  EXPECT_TRUE(next.has_value());
  if (next.has_error()) return std::nullopt;
  EXPECT_EQ(next->version, now.version + 1);
  const member* m = find(*next, e.node);
  if (m == nullptr) return std::nullopt;
  return m->state;
}

errc refusal(const membership& now, const member_event& e) {
  const auto next = transition(now, e);
  return next.has_error() ? next.error().code() : errc{};
}

/// Node 1 in its life 5, in that state.
membership one(member_state state) {
  return {.version = 9,
          .members = {{.node = node_id{1},
                       .life = incarnation{5},
                       .state = state,
                       .expert_bytes = 100,
                       .groups = 2}}};
}

TEST(membership, follows_its_table) {
  EXPECT_EQ(after({}, event(kind::joined, 1, 5)), member_state::alive);
  for (const kind k : {kind::suspected, kind::refuted, kind::died, kind::left}) {
    EXPECT_EQ(refusal({}, event(k, 1, 5)), errc::not_found);
  }

  const membership alive = one(member_state::alive);
  EXPECT_EQ(after(alive, event(kind::suspected, 1, 5)), member_state::suspect);
  EXPECT_EQ(after(alive, event(kind::died, 1, 5)), member_state::dead);
  EXPECT_EQ(after(alive, event(kind::left, 1, 5)), std::nullopt);
  EXPECT_EQ(refusal(alive, event(kind::refuted, 1, 5)), errc::invalid_argument);
  EXPECT_EQ(refusal(alive, event(kind::joined, 1, 6)), errc::invalid_argument);

  const membership suspect = one(member_state::suspect);
  EXPECT_EQ(after(suspect, event(kind::refuted, 1, 5)), member_state::alive);
  EXPECT_EQ(after(suspect, event(kind::died, 1, 5)), member_state::dead);
  EXPECT_EQ(after(suspect, event(kind::left, 1, 5)), std::nullopt);
  EXPECT_EQ(refusal(suspect, event(kind::suspected, 1, 5)), errc::invalid_argument);
  EXPECT_EQ(refusal(suspect, event(kind::joined, 1, 6)), errc::invalid_argument);

  const membership dead = one(member_state::dead);
  EXPECT_EQ(after(dead, event(kind::joined, 1, 6)), member_state::alive);
  EXPECT_EQ(after(dead, event(kind::left, 1, 5)), std::nullopt);
  for (const kind k : {kind::suspected, kind::refuted, kind::died}) {
    EXPECT_EQ(refusal(dead, event(k, 1, 5)), errc::invalid_argument);
  }
}

TEST(membership, refuses_what_is_said_about_another_life) {
  for (const member_state state :
       {member_state::alive, member_state::suspect, member_state::dead}) {
    const membership now = one(state);
    for (const kind k : {kind::suspected, kind::refuted, kind::died, kind::left}) {
      EXPECT_EQ(refusal(now, event(k, 1, 4)), errc::stale_epoch);
      EXPECT_EQ(refusal(now, event(k, 1, 6)), errc::stale_epoch);
    }
    EXPECT_EQ(refusal(now, event(kind::joined, 1, 5)), errc::stale_epoch);
    EXPECT_EQ(refusal(now, event(kind::joined, 1, 4)), errc::stale_epoch);
  }
}

TEST(membership, random_walk_stays_sorted_and_never_goes_back_to_a_past_life) {
  constexpr std::uint64_t seed = 11;
  SCOPED_TRACE(seed);
  random_source random{seed};
  membership now;
  std::map<std::uint32_t, std::uint64_t> lives;  // of present members
  for (int i = 0; i < 20000; ++i) {
    const auto node = static_cast<std::uint32_t>(random.below(5));
    const member_event e =
        event(static_cast<kind>(random.below(5)), node, 1 + random.below(6) + lives[node] / 2);
    const auto next = transition(now, e);
    if (next.has_error()) continue;
    ASSERT_EQ(next->version, now.version + 1);
    now = *next;
    if (e.kind == kind::joined) {
      ASSERT_GT(e.life.value, lives[node]);
      lives[node] = e.life.value;
    }
    if (e.kind == kind::left) lives[node] = 0;
    for (std::size_t m = 0; m < now.members.size(); ++m) {
      ASSERT_EQ(now.members[m].life.value, lives[now.members[m].node.value]);
      if (m > 0) {
        ASSERT_LT(now.members[m - 1].node, now.members[m].node);
      }
    }
  }
  EXPECT_GT(now.version, 1000U);
}

}  // namespace
}  // namespace atl::cluster
