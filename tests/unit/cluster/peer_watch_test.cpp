#include "cluster/peer_watch.hpp"
#include "runtime/base/random.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <queue>
#include <string>
#include <utility>

namespace atl::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using transport::node_identity;

constexpr node_identity peer{node_id{7}, incarnation{3}};

time_point_ns at_ms(std::int64_t ms) { return time_point_ns{} + milliseconds{ms}; }

heartbeat_info beat(std::uint64_t number, std::uint64_t echoed) {
  return {.number = number, .your_heartbeat_seen = echoed};
}

/// Ticks whenever asked until `end`; what changed and when, in ms.
std::vector<std::pair<std::int64_t, peer_change>>
run_until(peer_watch& watch, std::int64_t from_ms, std::int64_t end_ms) {
  std::vector<std::pair<std::int64_t, peer_change>> changes;
  time_point_ns now = at_ms(from_ms);
  while (now <= at_ms(end_ms)) {
    for (peer_change& c : watch.tick(now))
      changes.emplace_back(now.value / 1'000'000, std::move(c));
    now = std::max(watch.next_due(now), now + milliseconds{1});
  }
  return changes;
}

peer_watch watching_one() {
  peer_watch watch{watch_limits{}, at_ms(0)};
  EXPECT_TRUE(watch.add(peer, at_ms(0)).has_value());
  return watch;
}

TEST(peer_watch, a_silent_peer_is_suspect_then_dead_at_the_limits_exactly) {
  peer_watch watch = watching_one();
  const auto changes = run_until(watch, 0, 10'000);
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(changes[0].first, 900);
  EXPECT_EQ(changes[0].second.state, member_state::suspect);
  EXPECT_EQ(changes[0].second.peer, peer);
  EXPECT_EQ(changes[0].second.why, "no heartbeat for 0.9 s");
  EXPECT_EQ(changes[1].first, 1900);
  EXPECT_EQ(changes[1].second.state, member_state::dead);
  EXPECT_EQ(changes[1].second.why, "no heartbeat for 1.9 s");
}

TEST(peer_watch, limits_count_from_the_last_heartbeat) {
  peer_watch watch = watching_one();
  EXPECT_TRUE(watch.heard(peer, beat(1, 1), at_ms(150)));
  const auto changes = run_until(watch, 150, 10'000);
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(changes[0].first, 1050);
  EXPECT_EQ(changes[1].first, 2050);
}

/// Heartbeats every 200 ms from `from` to `end`, as `info` makes them of their index.
template <class F>
std::vector<std::pair<std::int64_t, peer_change>>
beats(peer_watch& watch, int from, int end, F info) {
  std::vector<std::pair<std::int64_t, peer_change>> all;
  for (int i = from; i < end; ++i) {
    EXPECT_TRUE(watch.heard(peer, info(static_cast<std::uint64_t>(i)), at_ms(i * 200)));
    for (auto& c : run_until(watch, i * 200, i * 200 + 199)) all.push_back(std::move(c));
  }
  return all;
}

TEST(peer_watch, is_not_content_with_hearing_a_peer_that_does_not_hear_us) {
  peer_watch watch = watching_one();
  EXPECT_TRUE(beats(watch, 1, 11, [](std::uint64_t i) { return beat(i, i); }).empty());  // to 2 s
  std::vector<std::pair<std::int64_t, peer_change>> changes;
  for (int i = 11; i < 30; ++i) {
    watch.heard(peer, beat(static_cast<std::uint64_t>(i), 10), at_ms(i * 200));
    for (auto& c : run_until(watch, i * 200, i * 200 + 199)) changes.push_back(std::move(c));
  }
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(changes[0].first, 2000 + 1300);
  EXPECT_EQ(changes[0].second.state, member_state::suspect);
  EXPECT_EQ(changes[0].second.why, "heartbeats to it have not arrived for 1.3 s");
  EXPECT_EQ(changes[1].first, 2000 + 2300);
  EXPECT_EQ(changes[1].second.state, member_state::dead);
}

TEST(peer_watch, a_suspect_must_be_heard_both_ways_to_be_alive_again) {
  peer_watch watch = watching_one();
  EXPECT_TRUE(watch.heard(peer, beat(1, 1), at_ms(0)));
  ASSERT_EQ(run_until(watch, 0, 1500).size(), 1U);
  EXPECT_EQ(*watch.state(peer.node), member_state::suspect);
  EXPECT_TRUE(watch.heard(peer, beat(2, 1), at_ms(1510)));  // ours still do not arrive
  EXPECT_TRUE(watch.tick(at_ms(1510)).empty());
  EXPECT_TRUE(watch.heard(peer, beat(3, 5), at_ms(1600)));
  EXPECT_EQ(watch.next_due(at_ms(1600)), at_ms(1600));
  const auto changes = watch.tick(at_ms(1600));
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].state, member_state::alive);
  EXPECT_EQ(changes[0].why, "heard again");
}

TEST(peer_watch, heartbeats_that_were_overtaken_or_repeated_prove_nothing) {
  peer_watch watch = watching_one();
  EXPECT_TRUE(watch.heard(peer, beat(9, 9), at_ms(0)));
  for (int ms = 100; ms <= 800; ms += 100) {
    EXPECT_TRUE(watch.heard(peer, beat(9, 9), at_ms(ms)));
    EXPECT_TRUE(watch.heard(peer, beat(8, 8), at_ms(ms)));
    EXPECT_TRUE(watch.tick(at_ms(ms)).empty());
  }
  EXPECT_EQ(watch.tick(at_ms(900)).size(), 1U);
  EXPECT_EQ(watch.received(peer.node), 9U);
  EXPECT_EQ(watch.received(node_id{8}), 0U);
}

TEST(peer_watch, death_is_final_for_a_life) {
  peer_watch watch = watching_one();
  run_until(watch, 0, 2000);
  EXPECT_EQ(*watch.state(peer.node), member_state::dead);
  EXPECT_FALSE(watch.heard(peer, beat(100, 100), at_ms(2001)));
  EXPECT_TRUE(run_until(watch, 2001, 5000).empty());
  EXPECT_EQ(watch.add(peer, at_ms(5000)).error().code(), errc::stale_epoch);
  EXPECT_EQ(watch.add({peer.node, incarnation{2}}, at_ms(5000)).error().code(), errc::stale_epoch);

  const node_identity later{peer.node, incarnation{4}};
  ASSERT_TRUE(watch.add(later, at_ms(5000)).has_value());
  EXPECT_EQ(*watch.state(peer.node), member_state::alive);
  EXPECT_FALSE(watch.heard(peer, beat(101, 100), at_ms(5001)));
  watch.connection_lost(peer, "of the past life");
  EXPECT_TRUE(watch.tick(at_ms(5001)).empty());
  EXPECT_TRUE(watch.heard(later, beat(1, 1), at_ms(5002)));
}

TEST(peer_watch, a_lost_connection_kills_at_once) {
  peer_watch watch = watching_one();
  watch.connection_lost(peer, "reset by peer");
  EXPECT_FALSE(watch.heard(peer, beat(1, 1), at_ms(10)));
  EXPECT_EQ(watch.next_due(at_ms(10)), at_ms(10));
  const auto changes = watch.tick(at_ms(10));
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].state, member_state::dead);
  EXPECT_EQ(changes[0].why, "its connection is lost: reset by peer");
}

TEST(peer_watch, a_busy_peer_without_progress_is_stuck) {
  peer_watch watch = watching_one();
  const auto changes = beats(watch, 1, 70, [](std::uint64_t i) {
    // Busy from 1 s on, the counter stands from 2 s on.
    return heartbeat_info{.number = i,
                          .progress = std::min<std::uint64_t>(i, 10),
                          .busy = i >= 5,
                          .your_heartbeat_seen = i};
  });
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(changes[0].first, 12'000);
  EXPECT_EQ(changes[0].second.state, member_state::suspect);
  EXPECT_EQ(changes[0].second.why, "stuck: busy without progress for 10.0 s");
  EXPECT_EQ(changes[1].first, 13'900);
  EXPECT_EQ(changes[1].second.state, member_state::dead);
}

TEST(peer_watch, a_stuck_peer_that_moves_again_is_alive) {
  peer_watch watch = watching_one();
  const auto changes = beats(watch, 1, 200, [](std::uint64_t i) {
    return heartbeat_info{
        .number = i, .progress = i / 55, .busy = true, .your_heartbeat_seen = i};  // every 11 s
  });
  ASSERT_GE(changes.size(), 2U);
  for (std::size_t i = 0; i < changes.size(); ++i)
    EXPECT_EQ(changes[i].second.state, i % 2 == 0 ? member_state::suspect : member_state::alive);
}

TEST(peer_watch, an_idle_peer_and_a_slowly_moving_one_are_fine) {
  for (const bool busy : {false, true}) {
    peer_watch watch = watching_one();
    const auto changes = beats(watch, 1, 500, [&](std::uint64_t i) {
      const std::uint64_t progress = busy ? i / 45 : 0;  // every 9 s
      return heartbeat_info{
          .number = i, .progress = progress, .busy = busy, .your_heartbeat_seen = i};
    });
    EXPECT_TRUE(changes.empty());
  }
}

TEST(peer_watch, time_without_a_job_is_not_time_without_progress) {
  peer_watch watch = watching_one();
  const auto changes = beats(watch, 1, 500, [&](std::uint64_t i) {
    // Idle for 15 s, then a job whose first chunk takes 5 s.
    return heartbeat_info{
        .number = i, .progress = 4, .busy = i % 100 >= 75, .your_heartbeat_seen = i};
  });
  EXPECT_TRUE(changes.empty());
}

TEST(peer_watch, an_own_freeze_of_any_length_kills_nobody) {
  for (const int frozen_ms : {601, 900, 2000, 5000, 60'000}) {
    peer_watch watch = watching_one();
    EXPECT_TRUE(beats(watch, 1, 10, [](std::uint64_t i) { return beat(i, i); }).empty());
    const int resumed = 1999 + frozen_ms;
    EXPECT_TRUE(watch.tick(at_ms(resumed)).empty()) << frozen_ms;
    // The first heartbeat after it may take its time, and ours has still to come back.
    EXPECT_TRUE(run_until(watch, resumed + 1, resumed + 300).empty());
    EXPECT_TRUE(watch.heard(peer, beat(11, 9), at_ms(resumed + 300)));
    EXPECT_TRUE(run_until(watch, resumed + 301, resumed + 500).empty());
    EXPECT_TRUE(watch.heard(peer, beat(12, 11), at_ms(resumed + 500)));
    EXPECT_TRUE(run_until(watch, resumed + 501, resumed + 900).empty());
  }
}

TEST(peer_watch, after_an_own_freeze_the_dead_are_still_found) {
  peer_watch watch = watching_one();
  EXPECT_TRUE(watch.tick(at_ms(0)).empty());
  const auto changes = run_until(watch, 30'000, 40'000);
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_EQ(changes[0].first, 30'000 + 700);  // 200 ms had counted before
  EXPECT_EQ(changes[1].first, 30'000 + 1700);
}

TEST(peer_watch, reports_in_the_order_of_nodes_and_forgets_the_removed) {
  peer_watch watch{watch_limits{}, at_ms(0)};
  for (const std::uint32_t n : {5U, 1U, 9U, 3U}) {
    ASSERT_TRUE(watch.add({node_id{n}, incarnation{1}}, at_ms(0)).has_value());
  }
  watch.remove(node_id{3});
  EXPECT_EQ(watch.state(node_id{3}), nullptr);
  const auto changes = run_until(watch, 0, 900);
  ASSERT_EQ(changes.size(), 3U);
  EXPECT_EQ(changes[0].second.peer.node, node_id{1});
  EXPECT_EQ(changes[1].second.peer.node, node_id{5});
  EXPECT_EQ(changes[2].second.peer.node, node_id{9});
}

TEST(peer_watch, asks_for_ticks_as_often_as_heartbeats_come) {
  peer_watch watch{watch_limits{}, at_ms(0)};
  EXPECT_EQ(watch.next_due(at_ms(0)), at_ms(200));
  ASSERT_TRUE(watch.add(peer, at_ms(0)).has_value());
  watch.tick(at_ms(750));
  EXPECT_EQ(watch.next_due(at_ms(750)), at_ms(950));
  watch.tick(at_ms(850));
  EXPECT_EQ(watch.next_due(at_ms(850)), at_ms(1050));
  EXPECT_EQ(watch.next_due(at_ms(2000)), at_ms(2000));
}

/// Two nodes that send every 200 ms over a path whose delays are uniform in [0, jitter].
struct jittery_pair {
  struct message {
    time_point_ns arrives;
    int to;
    heartbeat_info info;
    bool operator<(const message& other) const { return arrives > other.arrives; }
  };

  explicit jittery_pair(std::uint64_t seed, duration_ns jitter) : random{seed}, jitter_{jitter} {
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(watch[i].add(identity(1 - i), {}).has_value());
    offset = duration_ns{static_cast<std::int64_t>(random.below(200'000'000))};
  }

  static node_identity identity(int i) {
    return {node_id{static_cast<std::uint32_t>(i)}, incarnation{1}};
  }

  void send(int from, time_point_ns now) {
    const auto delay = duration_ns{
        static_cast<std::int64_t>(random.unit() * static_cast<double>(jitter_.count()))};
    under_way.push(
        {now + delay,
         1 - from,
         {.number = ++sent[from], .your_heartbeat_seen = watch[from].received(node_id(1 - from))}});
  }

  /// Number of changes until `end`.
  std::size_t run(time_point_ns end) {
    std::size_t changes = 0;
    time_point_ns sends[2] = {{}, time_point_ns{} + offset};
    time_point_ns ticks[2] = {};
    for (time_point_ns now{}; now < end;) {
      for (int i = 0; i < 2; ++i) {
        if (sends[i] <= now) {
          send(i, now);
          sends[i] = sends[i] + milliseconds{200};
        }
      }
      while (!under_way.empty() && under_way.top().arrives <= now) {
        const message m = under_way.top();
        under_way.pop();
        watch[m.to].heard(identity(1 - m.to), m.info, now);
      }
      for (int i = 0; i < 2; ++i) {
        if (ticks[i] <= now) changes += watch[i].tick(now).size();
        ticks[i] = watch[i].next_due(now);
      }
      time_point_ns next = std::min({sends[0], sends[1], ticks[0], ticks[1]});
      if (!under_way.empty()) next = std::min(next, under_way.top().arrives);
      now = std::max(next, now + duration_ns{1});
    }
    return changes;
  }

  random_source random;
  duration_ns jitter_;
  duration_ns offset;
  peer_watch watch[2] = {{watch_limits{}, {}}, {watch_limits{}, {}}};
  std::uint64_t sent[2] = {};
  std::priority_queue<message> under_way;
};

TEST(peer_watch, suspects_nobody_at_400_ms_of_jitter) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    jittery_pair pair{seed, milliseconds{400}};
    EXPECT_EQ(pair.run(time_point_ns{} + seconds{10'000}), 0U) << "seed " << seed;
  }
}

TEST(peer_watch, suspects_where_delays_are_far_beyond_that) {
  jittery_pair pair{1, milliseconds{3000}};
  EXPECT_GT(pair.run(time_point_ns{} + seconds{1000}), 0U);
}

TEST(peer_watch, refuses_limits_that_cannot_work) {
  EXPECT_TRUE(check(watch_limits{}).has_value());
  const auto refusal = [](auto change) {
    watch_limits limits;
    change(limits);
    const auto checked = check(limits);
    return checked.has_error() ? checked.error().message() : "";
  };
  const duration_ns zero{0};
  EXPECT_EQ(refusal([&](watch_limits& l) { l.heartbeat_every = zero; }),
            "heartbeat_every: 0.0 s is too short; at least 0.0 s (1 ms)");
  EXPECT_EQ(refusal([](watch_limits& l) { l.suspect_after = milliseconds{300}; }),
            "suspect_after: 0.3 s is too short; at least 0.4 s (two heartbeats)");
  EXPECT_EQ(refusal([](watch_limits& l) { l.dead_after = milliseconds{1000}; }),
            "dead_after: 1.0 s is too short; at least 1.3 s (suspect_after and two heartbeats)");
  EXPECT_EQ(refusal([](watch_limits& l) { l.stuck_after = milliseconds{800}; }),
            "stuck_after: 0.8 s is too short; at least 0.9 s (suspect_after)");
  EXPECT_NE(refusal([&](watch_limits& l) { l.echo_extra = zero; }), "");
}

}  // namespace
}  // namespace atl::cluster
