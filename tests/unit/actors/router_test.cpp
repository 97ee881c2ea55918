#include "tests/unit/actors/router_world.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

namespace atl::actors {
namespace {

using namespace std::chrono_literals;

std::vector<asked> to(const std::vector<asked>& all, std::uint32_t group) {
  std::vector<asked> some;
  for (const auto& a : all)
    if (a.to.node == router_world::node_of(group)) some.push_back(a);
  return some;
}

TEST(router, what_a_dead_node_owes_goes_elsewhere_at_once) {
  router_world w;
  w.place(1, in_two);
  w.ask(0, 12);
  const auto first = w.sent();
  const auto lost = to(first, 1);
  ASSERT_FALSE(lost.empty());
  w.health(1, peer_state::dead);
  const auto moved = w.sent();
  EXPECT_EQ(assignments(moved), assignments(lost));
  EXPECT_TRUE(to(moved, 1).empty());
  for (const auto n : numbers(moved)) EXPECT_EQ(numbers(first).count(n), 0U);
  w.answer(to(first, 0));
  w.answer(to(first, 2));
  EXPECT_TRUE(w.routed.empty());
  w.answer(moved);
  w.expect_routed(0);
  // The dead one's late answer does no harm, and it gets nothing any more.
  w.answer(lost);
  EXPECT_GT(w.counts().answers_late, 0U);
  EXPECT_EQ(w.counts().rows_in_flight, 0U);
  w.ask(0, 13);
  const auto later = w.sent();
  EXPECT_TRUE(to(later, 1).empty());
  w.answer(later);
  w.expect_routed(0);
}

TEST(router, a_path_that_is_back_and_a_later_life_are_used_again) {
  router_world w;
  w.place(1, in_one);
  w.list(1, {{0, 5}, {1, 5}, {2, 5}});
  w.health(1, peer_state::dead, 5);
  w.ask(0, 12);
  auto sent = w.sent();
  EXPECT_TRUE(to(sent, 1).empty());
  EXPECT_LT(assignments(sent), w.pairs(12));
  w.answer(sent);
  w.health(1, peer_state::alive, 5);
  sent = w.sent();
  EXPECT_FALSE(to(sent, 1).empty());
  w.answer(sent);
  w.expect_routed(0);

  w.health(1, peer_state::dead, 5);
  w.ask(0, 13);
  sent = w.sent();
  EXPECT_TRUE(to(sent, 1).empty());
  w.answer(sent);
  w.list(2, {{0, 5}, {1, 6}, {2, 5}});
  sent = w.sent();
  EXPECT_FALSE(to(sent, 1).empty());
  w.answer(sent);
  w.expect_routed(0);
}

TEST(router, a_node_that_leaves_the_members_is_lost) {
  router_world w;
  w.place(1, in_two);
  w.list(1, {{0, 5}, {1, 5}, {2, 5}});
  w.ask(0, 12);
  const auto first = w.sent();
  w.list(2, {{0, 5}, {2, 5}});
  const auto moved = w.sent();
  EXPECT_EQ(assignments(moved), assignments(to(first, 1)));
  w.list(1, {{0, 5}, {1, 5}, {2, 5}});  // an older list says nothing
  w.answer(to(first, 0));
  w.answer(to(first, 2));
  w.answer(moved);
  w.expect_routed(0);
  w.ask(0, 12);
  EXPECT_TRUE(to(w.sent(), 1).empty());
}

TEST(router, a_suspect_is_asked_beside_others_and_the_first_answer_counts) {
  for (const bool suspect_is_first : {true, false}) {
    router_world w;
    w.place(1, in_two);
    w.ask(0, 12);
    const auto first = w.sent();
    w.health(1, peer_state::suspect);
    const auto second = w.sent();
    EXPECT_EQ(assignments(second), assignments(to(first, 1)));
    EXPECT_TRUE(to(second, 1).empty());
    EXPECT_GT(w.counts().rows_hedged, 0U);
    w.answer(to(first, 0));
    w.answer(to(first, 2));
    w.answer(suspect_is_first ? to(first, 1) : second);
    w.expect_routed(0);
    w.answer(suspect_is_first ? second : to(first, 1));
    EXPECT_EQ(w.routed.size(), 1U);
    EXPECT_EQ(w.counts().rows_in_flight, 0U);
    // New rows avoid it until it is alive again.
    w.ask(1, 12);
    auto later = w.sent();
    EXPECT_TRUE(to(later, 1).empty());
    w.answer(later);
    w.expect_routed(1);
    w.health(1, peer_state::alive);
    w.ask(1, 12);
    later = w.sent();
    EXPECT_FALSE(to(later, 1).empty());
    w.answer(later);
    w.expect_routed(1);
  }
}

TEST(router, a_suspect_that_then_dies_is_not_replaced_twice) {
  router_world w;
  w.place(1, in_two);
  w.ask(0, 12);
  const auto first = w.sent();
  w.health(1, peer_state::suspect);
  const auto second = w.sent();
  w.health(1, peer_state::dead);
  EXPECT_TRUE(w.sent().empty());
  w.answer(to(first, 0));
  w.answer(to(first, 2));
  w.answer(second);
  w.expect_routed(0);
}

TEST(router, when_the_second_copy_dies_the_first_may_still_answer) {
  router_world w;
  w.place(1, in_two);
  w.ask(0, 12);
  const auto first = w.sent();
  w.health(1, peer_state::suspect);
  const auto second = w.sent();
  w.health(0, peer_state::dead);
  w.health(2, peer_state::dead);
  w.answer(to(first, 1));
  const auto last = w.sent();  // what 0 and 2 owed and 1 holds too
  EXPECT_FALSE(to(last, 1).empty());
  w.answer(to(last, 1));
  // Experts e % 3 == 2 are in groups 2 and 0 alone.
  EXPECT_TRUE(w.routed.empty());
  w.list(1, {{0, 2}, {1, 1}, {2, 2}});
  w.answer(w.sent());
  w.expect_routed(0);
}

TEST(router, a_suspect_keeps_rows_for_which_there_is_no_other_copy) {
  router_world w;
  w.place(1, in_one);
  w.health(1, peer_state::suspect);
  w.ask(0, 12);
  const auto sent = w.sent();
  EXPECT_EQ(assignments(sent), w.pairs(12));
  EXPECT_FALSE(to(sent, 1).empty());
  w.answer(sent);
  w.expect_routed(0);
}

TEST(router, rows_of_an_expert_without_a_copy_wait_for_a_placement) {
  router_world w;
  const auto holes = [](std::uint32_t e) { return e % 2 == 0 ? group_list{} : in_two(e); };
  w.place(1, holes);
  w.ask(0, 12);
  const auto first = w.sent();
  EXPECT_LT(assignments(first), w.pairs(12));
  w.answer(first);
  EXPECT_TRUE(w.routed.empty());
  w.pass(2900ms);
  w.place(2, in_two);
  const auto rest = w.sent();
  EXPECT_EQ(assignments(first) + assignments(rest), w.pairs(12));
  for (const auto& a : rest) EXPECT_EQ(a.rows.epoch, epoch{2});
  w.pass(1s);
  EXPECT_TRUE(w.routed.empty());
  w.answer(rest);
  w.expect_routed(0);
}

TEST(router, without_any_live_copy_a_call_fails_in_three_seconds) {
  router_world w;
  w.place(1, in_two);
  w.ask(0, 12);
  w.sent();
  for (const std::uint32_t g : {0U, 1U, 2U}) w.health(g, peer_state::dead);
  w.pass(2990ms);
  EXPECT_TRUE(w.routed.empty());
  w.pass(20ms);
  ASSERT_EQ(w.routed.size(), 1U);
  ASSERT_TRUE(w.routed[0].failure);
  EXPECT_EQ(w.routed[0].failure->code(), errc::unavailable);
  EXPECT_NE(w.routed[0].failure->message().find("of layer 1 has no live copy"), std::string::npos);
  EXPECT_EQ(w.counts().rows_in_flight, 0U);
  // The lane is free again.
  w.list(1, {{0, 2}, {1, 2}, {2, 2}});
  w.ask(0, 12);
  w.answer(w.sent());
  w.expect_routed(0);
}

TEST(router, rows_for_experts_that_are_being_loaded_wait_for_them) {
  router_world w;
  w.place(1, in_two);
  w.ask(0, 12);
  w.sent();
  for (const std::uint32_t g : {0U, 1U, 2U}) w.health(g, peer_state::dead);
  w.coming = true;
  w.place(2, [](std::uint32_t) { return group_list{}; });
  w.pass(20s);
  EXPECT_TRUE(w.routed.empty());
  w.list(1, {{0, 2}, {1, 2}, {2, 2}});
  w.place(3, in_one);
  w.answer(w.sent());
  w.expect_routed(0);
  // Nor do they wait once nobody loads them any more.
  w.routed.clear();
  w.ask(0, 12);
  w.sent();
  w.place(4, [](std::uint32_t) { return group_list{}; });
  for (const std::uint32_t g : {0U, 1U, 2U}) w.health(g, peer_state::dead, 2);
  w.pass(10s);
  EXPECT_TRUE(w.routed.empty());
  w.coming = false;
  w.place(5, [](std::uint32_t) { return group_list{}; });
  w.pass(20ms);
  ASSERT_EQ(w.routed.size(), 1U);
  EXPECT_EQ(w.routed[0].failure->code(), errc::unavailable);
}

TEST(router, rows_before_the_first_placement_wait_for_it) {
  router_world w;
  w.ask(0, 4);
  EXPECT_TRUE(w.sent().empty());
  w.pass(1s);
  w.place(1, in_one);
  w.answer(w.sent());
  w.expect_routed(0);
}

TEST(router, a_group_that_does_not_hold_an_expert_is_passed_over) {
  router_world w;
  w.place(1, in_two);
  w.ask(0, 12);
  const auto first = w.sent();
  const auto odd = to(first, 1);
  for (const auto& a : odd) w.refuse(a, errc::stale_epoch);
  const auto moved = w.sent();
  EXPECT_EQ(assignments(moved), assignments(odd));
  EXPECT_TRUE(to(moved, 1).empty());
  w.answer(to(first, 0));
  w.answer(to(first, 2));
  w.answer(moved);
  w.expect_routed(0);
  EXPECT_EQ(w.counts().rows_in_flight, 0U);
}

TEST(router, refused_by_the_only_copy_rows_wait_for_the_next_placement) {
  router_world w;
  w.place(1, in_one);
  w.ask(0, 12);
  const auto first = w.sent();
  for (const auto& a : to(first, 1)) w.refuse(a, errc::stale_epoch);
  EXPECT_TRUE(w.sent().empty());
  w.answer(to(first, 0));
  w.answer(to(first, 2));
  w.place(2, in_one);  // now it does
  const auto rest = w.sent();
  EXPECT_EQ(assignments(rest), assignments(to(first, 1)));
  w.answer(rest);
  w.expect_routed(0);
}

TEST(router, a_refusal_for_another_reason_fails_the_call) {
  router_world w;
  w.place(1, in_one);
  w.ask(0, 12);
  const auto first = w.sent();
  w.refuse(first.front(), errc::unsupported);
  ASSERT_EQ(w.routed.size(), 1U);
  ASSERT_TRUE(w.routed[0].failure);
  EXPECT_EQ(w.routed[0].failure->code(), errc::unsupported);
  for (std::size_t i = 1; i < first.size(); ++i) w.answer(first[i]);
  EXPECT_EQ(w.counts().rows_in_flight, 0U);
}

TEST(router, an_overloaded_group_is_asked_again_soon) {
  router_world w;
  w.place(1, in_one);
  w.ask(0, 12);
  const auto first = w.sent();
  w.refuse(to(first, 1).front(), errc::overloaded);
  EXPECT_TRUE(w.sent().empty());
  w.pass(20ms);
  const auto again = w.sent();
  EXPECT_EQ(assignments(again), assignments({to(first, 1).front()}));
  w.answer(to(first, 0));
  w.answer(to(first, 2));
  w.answer(again);
  w.expect_routed(0);
}

TEST(router, a_full_or_closed_medium_is_tried_again_or_gone_around) {
  for (const errc code : {errc::overloaded, errc::peer_gone}) {
    router_world w;
    w.place(1, in_two);
    w.link->refusing[router_world::node_of(1)] = code;
    w.ask(0, 12);
    w.answer(w.sent());
    EXPECT_TRUE(w.routed.empty());
    w.pass(20ms);
    w.answer(w.sent());
    w.expect_routed(0);

    router_world alone;
    alone.place(1, in_one);
    alone.link->refusing[router_world::node_of(1)] = code;
    alone.ask(0, 12);
    alone.answer(alone.sent());
    alone.pass(200ms);
    EXPECT_TRUE(alone.sent().empty());
    alone.link->refusing.clear();
    alone.pass(20ms);
    alone.answer(alone.sent());
    alone.expect_routed(0);
  }
}

TEST(router, a_late_answer_without_another_copy_is_asked_for_again_under_its_number) {
  router_world w;
  w.place(1, in_one);
  w.ask(0, 12);
  w.answer(w.sent());  // the groups are quick
  w.routed.clear();
  w.ask(0, 12);
  const auto first = w.sent();
  w.pass(90ms);
  EXPECT_TRUE(w.sent().empty());
  w.pass(20ms);
  const auto again = w.sent();
  EXPECT_EQ(numbers(again), numbers(first));
  EXPECT_EQ(w.counts().rows_hedged, 0U);
  // A repeat waits twice as long, up to two seconds.
  w.pass(150ms);
  EXPECT_TRUE(w.sent().empty());
  w.pass(60ms);
  EXPECT_EQ(numbers(w.sent()), numbers(first));
  w.answer(again);
  w.expect_routed(0);
  w.answer(again);
  EXPECT_EQ(w.routed.size(), 1U);
  EXPECT_EQ(w.counts().rows_in_flight, 0U);
}

TEST(router, a_call_without_progress_fails_after_a_minute) {
  router_world w;
  w.place(1, in_one);
  w.ask(0, 12);
  w.pass(59s);
  EXPECT_TRUE(w.routed.empty());
  w.pass(2s);
  ASSERT_EQ(w.routed.size(), 1U);
  ASSERT_TRUE(w.routed[0].failure);
  EXPECT_EQ(w.routed[0].failure->code(), errc::deadline);
  EXPECT_EQ(w.counts().rows_in_flight, 0U);
}

TEST(router, late_rows_go_to_a_second_copy_within_one_in_twenty) {
  router_world w{100'000};
  w.place(1, in_two);
  for (int i = 0; i < 400; ++i) {
    w.ask(0, 12);
    w.answer(w.sent());
  }
  w.ask(0, 12);
  const auto first = w.sent();
  w.answer(to(first, 0));
  w.answer(to(first, 2));
  w.pass(110ms);
  const auto second = w.sent();
  EXPECT_EQ(assignments(second), assignments(to(first, 1)));
  EXPECT_TRUE(to(second, 1).empty());
  w.answer(second);
  w.expect_routed(0);
  // A node that answers no more, and that nobody suspects, is not gone around for ever.
  std::size_t repeats = 0;
  for (int i = 0; i < 400; ++i) {
    w.ask(0, 12);
    const auto all = w.sent();
    w.answer(to(all, 0));
    w.answer(to(all, 2));
    w.pass(110ms);
    const auto late = w.sent();
    repeats += to(late, 1).size();
    w.answer(late);
  }
  const auto c = w.counts();
  EXPECT_LE(20 * c.rows_hedged, c.rows_sent);
  EXPECT_GT(c.rows_hedged, 0U);
  EXPECT_GT(repeats, 0U);
}

TEST(router, a_second_copy_that_is_late_too_is_not_followed_by_a_third) {
  router_world w{100'000};
  w.place(1, [](std::uint32_t) { return group_list{0, 1, 2}; });
  for (int i = 0; i < 400; ++i) {
    w.ask(0, 12);
    w.answer(w.sent());
  }
  w.ask(0, 12);
  const auto first = w.sent();
  w.answer(to(first, 0));
  w.answer(to(first, 2));
  w.pass(110ms);
  const auto second = w.sent();
  EXPECT_EQ(assignments(second), assignments(to(first, 1)));
  const auto hedged = w.counts().rows_hedged;
  w.pass(2s);
  auto known = numbers(first);
  known.merge(numbers(second));
  const auto repeats = w.sent();
  EXPECT_FALSE(repeats.empty());
  for (const auto n : numbers(repeats)) EXPECT_EQ(known.count(n), 1U);
  EXPECT_EQ(w.counts().rows_hedged, hedged);
  w.answer(repeats);
  w.expect_routed(0);
}

TEST(router, a_long_chunk_is_no_reason_to_ask_twice) {
  router_world w{4096};
  w.place(1, in_two);
  for (int i = 0; i < 30; ++i) {
    w.ask(0, 200);
    const auto sent = w.sent();
    w.pass(1500ms);
    w.answer(sent);
    w.expect_routed(0);
  }
  const auto before = w.counts();
  w.ask(0, 400);
  w.pass(3s);
  EXPECT_EQ(w.counts().rows_hedged, before.rows_hedged);
  EXPECT_EQ(w.counts().frames_repeated, before.frames_repeated);
  w.answer(w.sent());
  w.expect_routed(0);
}

TEST(router, odd_answers_are_dropped_and_counted) {
  router_world w;
  w.place(1, in_one);
  w.ask(0, 12);
  const auto sent = w.sent();
  auto narrow = w.answer_to(sent.front());
  narrow.output.width /= 2;
  w.say(sent.front(), narrow);
  auto few = w.answer_to(sent.front());
  few.output.count -= 1;
  w.say(sent.front(), few);
  auto elsewhere = sent.front();
  elsewhere.to.node = node_id{99};
  w.answer(elsewhere);
  EXPECT_EQ(w.counts().answers_odd, 3U);
  auto unknown = sent.front();
  unknown.rows.call.step = 12345;
  w.answer(unknown);
  EXPECT_EQ(w.counts().answers_late, 1U);
  EXPECT_TRUE(w.routed.empty());
  w.answer(sent);
  w.expect_routed(0);
}

TEST(router, credits_bound_what_a_group_has_and_come_back_with_its_death) {
  router_world w{4};
  w.place(1, in_two);
  w.ask(0, 30);
  auto sent = w.sent();
  for (const std::uint32_t g : {0U, 1U, 2U}) {
    std::size_t rows = 0;
    for (const auto& a : to(sent, g)) rows += a.rows.input.count;
    EXPECT_EQ(rows, 4U);
  }
  EXPECT_EQ(w.counts().rows_in_flight, 12U);
  w.health(1, peer_state::dead);
  EXPECT_EQ(w.counts().rows_in_flight, 8U);
  for (int i = 0; i < 200 && w.routed.empty(); ++i) {
    EXPECT_TRUE(to(w.sent(), 1).empty());
    EXPECT_LE(w.counts().rows_in_flight, 8U);
    // Whatever is awaited is answered in the end by its repeats.
    auto next = sent;
    sent.clear();
    for (const auto& a : next)
      if (a.to.node != router_world::node_of(1)) w.answer(a);
    for (auto& a : w.sent()) sent.push_back(std::move(a));
    if (sent.empty()) w.pass(100ms);
  }
  w.expect_routed(0);
  EXPECT_EQ(w.counts().rows_in_flight, 0U);
  // Its next life has all its credits.
  w.list(1, {{0, 1}, {1, 2}, {2, 1}});
  w.ask(0, 30);
  std::size_t rows = 0;
  for (const auto& a : to(w.sent(), 1)) rows += a.rows.input.count;
  EXPECT_EQ(rows, 4U);
}

TEST(router, a_placement_may_change_while_calls_are_under_way) {
  router_world w;
  w.place(1, in_one);
  EXPECT_EQ(w.told(), (std::vector<std::pair<std::uint64_t, std::uint64_t>>{{1, 1}}));
  w.ask(0, 12);
  const auto first = w.sent();
  w.place(2, [](std::uint32_t e) { return group_list{(e + 1) % 3}; });
  EXPECT_TRUE(w.sent().empty());
  w.ask(1, 12);
  const auto second = w.sent();
  for (const auto& a : second) EXPECT_EQ(a.rows.epoch, epoch{2});
  w.place(3, in_two);
  EXPECT_EQ(w.told(), (std::vector<std::pair<std::uint64_t, std::uint64_t>>{{2, 1}, {3, 1}}));
  w.answer(first);
  w.expect_routed(0);
  EXPECT_EQ(w.told(), (std::vector<std::pair<std::uint64_t, std::uint64_t>>{{3, 2}}));
  w.answer(second);
  w.expect_routed(1);
  EXPECT_EQ(w.told(), (std::vector<std::pair<std::uint64_t, std::uint64_t>>{{3, 3}}));
  // An older one changes nothing; the same again is answered again.
  w.place(2, in_one);
  w.place(3, in_two);
  w.ask(0, 12);
  for (const auto& a : w.sent()) EXPECT_EQ(a.rows.epoch, epoch{3});
}

TEST(router, a_placement_without_places_of_its_groups_is_refused) {
  router_world w;
  w.place(1, in_one);
  w.place(2, in_two, 1);
  w.ask(0, 12);
  const auto sent = w.sent();
  for (const auto& a : sent) EXPECT_EQ(a.rows.epoch, epoch{1});
  w.answer(sent);
  w.expect_routed(0);
}

TEST(router, a_death_while_rows_are_copied_waits_for_the_copy) {
  router_world w{4096};
  w.place(1, in_two);
  w.ask(0, 2000);  // frames above the size that is copied at once
  w.answer(w.sent());
  w.expect_routed(0);
  w.routed.clear();

  w.device.is_stopped = true;
  w.ask(0, 2000);
  EXPECT_TRUE(w.sent().empty());
  w.device.go();
  w.device.is_stopped = true;
  w.run();  // the gate has chosen, and the copies wait
  EXPECT_TRUE(w.sent().empty());
  w.health(1, peer_state::dead);
  for (const std::uint32_t g : {0U, 2U}) w.health(g, peer_state::dead);
  w.pass(4s);
  EXPECT_TRUE(w.routed.empty());
  w.device.go();
  w.run();
  EXPECT_TRUE(w.sent().empty());
  ASSERT_EQ(w.routed.size(), 1U);
  EXPECT_EQ(w.routed[0].failure->code(), errc::unavailable);
  EXPECT_EQ(w.counts().rows_in_flight, 0U);
}

}  // namespace
}  // namespace atl::actors
