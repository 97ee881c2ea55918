#include "runtime/base/random.hpp"
#include "runtime/schedule/fair_queue.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace atl::schedule {
namespace {

waiting_request wait(std::uint64_t id,
                     std::uint32_t tenant,
                     std::int64_t cost = 100,
                     int priority = 0,
                     std::uint32_t share = 1,
                     int urgency = 0) {
  return {request_id{id}, tenant, share, priority, cost, urgency};
}

std::vector<std::uint64_t> drain(fair_queue& q) {
  std::vector<std::uint64_t> order;
  while (q.next() != nullptr) order.push_back(q.pop().id.value);
  return order;
}

TEST(fair_queue, urgency_takes_nothing_from_other_tenants) {
  fair_queue q;
  for (std::uint64_t i = 0; i < 3; ++i) q.push(wait(i, 1));
  for (std::uint64_t i = 10; i < 13; ++i) q.push(wait(i, 2, 100, 0, 1, 1000));
  q.push(wait(20, 1, 100, 0, 1, 5));
  EXPECT_EQ(drain(q), (std::vector<std::uint64_t>{10, 20, 0, 11, 1, 12, 2}));
}

TEST(fair_queue, OneTenantIsServedInOrder) {
  fair_queue q;
  EXPECT_EQ(q.next(), nullptr);
  for (const std::uint64_t id : {7U, 3U, 9U, 1U}) EXPECT_TRUE(q.push(wait(id, 5)));
  EXPECT_EQ(q.size(), 4U);
  EXPECT_EQ(drain(q), (std::vector<std::uint64_t>{7, 3, 9, 1}));
  EXPECT_EQ(q.size(), 0U);
}

TEST(fair_queue, ReplaysGoBeforeOthersOfTheirPriorityAndAreNotCharged) {
  fair_queue q;
  const auto again = [](std::uint64_t id, std::uint32_t tenant, int priority) {
    auto r = wait(id, tenant, 100, priority);
    r.is_replay = true;
    return r;
  };
  for (const std::uint64_t id : {1U, 2U, 3U}) q.push(wait(id, 1));
  for (const std::uint64_t id : {11U, 12U}) q.push(wait(id, 2));
  q.push(wait(30, 1, 100, 4));
  for (const std::uint64_t id : {21U, 22U, 23U}) q.push(again(id, 1, 0));
  q.push(again(40, 1, -1));
  EXPECT_TRUE(q.remove(request_id{22}));
  EXPECT_EQ(q.size(), 9U);
  // Tenant 1 got two replays, and its turn is no later for that.
  EXPECT_EQ(drain(q), (std::vector<std::uint64_t>{30, 21, 23, 1, 11, 2, 12, 3, 40}));
  EXPECT_EQ(q.size(), 0U);
}

TEST(fair_queue, TheSameIdWaitsOnce) {
  fair_queue q;
  EXPECT_TRUE(q.push(wait(1, 1)));
  EXPECT_FALSE(q.push(wait(1, 2)));
  EXPECT_EQ(q.size(), 1U);
}

TEST(fair_queue, HigherPriorityFirstThenTurnsOfTenants) {
  fair_queue q;
  for (std::uint64_t id = 0; id < 4; ++id) q.push(wait(id, 1));
  for (std::uint64_t id = 10; id < 12; ++id) q.push(wait(id, 2));
  q.push(wait(20, 3, 100, -1));
  q.push(wait(30, 1, 100, 4));
  EXPECT_EQ(drain(q), (std::vector<std::uint64_t>{30, 0, 10, 1, 11, 2, 3, 20}));
}

TEST(fair_queue, ALargeShareGetsThatMuchMore) {
  fair_queue q;
  for (std::uint64_t i = 0; i < 60; ++i) {
    q.push(wait(i, 1, 100, 0, 3));
    q.push(wait(100 + i, 2, 100, 0, 1));
  }
  int of_first = 0;
  for (int i = 0; i < 40; ++i) of_first += q.pop().tenant == 1 ? 1 : 0;
  EXPECT_EQ(of_first, 30);
}

TEST(fair_queue, BeingAwayEarnsNothing) {
  fair_queue q;
  std::uint64_t id = 0;
  for (; id < 100; ++id) q.push(wait(id, 1));
  for (int i = 0; i < 50; ++i) q.pop();
  for (int i = 0; i < 20; ++i) q.push(wait(++id, 2));
  int of_second = 0;
  for (int i = 0; i < 20; ++i) of_second += q.pop().tenant == 2 ? 1 : 0;
  EXPECT_EQ(of_second, 10);  // from now on every other one, and none for the time before
}

TEST(fair_queue, LeavingForAMomentForgivesNothing) {
  fair_queue q;
  q.push(wait(1, 1, 1000));
  for (std::uint64_t id = 10; id < 30; ++id) q.push(wait(id, 2, 100));
  EXPECT_EQ(q.pop().id.value, 1U);
  q.push(wait(2, 1, 1000));
  // Tenant 1 has had 1000, so tenant 2 comes until it has, too, and once more as the older one.
  for (int i = 0; i < 11; ++i) EXPECT_EQ(q.pop().tenant, 2U) << i;
  EXPECT_EQ(q.pop().tenant, 1U);
}

TEST(fair_queue, WhatLeavesTheQueueIsNotCharged) {
  fair_queue q;
  for (std::uint64_t id = 0; id < 10; ++id) q.push(wait(id, 1));
  for (std::uint64_t id = 10; id < 13; ++id) q.push(wait(id, 2));
  for (std::uint64_t id = 0; id < 8; ++id) EXPECT_TRUE(q.remove(request_id{id}));
  EXPECT_FALSE(q.remove(request_id{0}));
  EXPECT_FALSE(q.remove(request_id{99}));
  EXPECT_EQ(drain(q), (std::vector<std::uint64_t>{8, 10, 9, 11, 12}));
}

/// Random arrivals, departures and turns, checked against a list that is searched.
class walk {
public:
  explicit walk(std::uint64_t seed) : random_{seed} {}

  void run() {
    for (int i = 0; i < 3000; ++i) {
      const auto dice = random_.below(10);
      if (dice < 5) {
        arrive();
      } else if (dice < 9) {
        take();
      } else {
        leave();
      }
      ASSERT_EQ(queue_.size(), list_.size());
      if (::testing::Test::HasFailure()) return;
    }
    while (!list_.empty()) take();
    EXPECT_EQ(queue_.next(), nullptr);
  }

private:
  void arrive() {
    const auto w = wait(next_id_++,
                        static_cast<std::uint32_t>(random_.below(5)),
                        static_cast<std::int64_t>(random_.below(2000)),
                        static_cast<int>(random_.below(3)) - 1,
                        1,
                        static_cast<int>(random_.below(2)));
    EXPECT_TRUE(queue_.push(w));
    list_.push_back(w);
  }

  void take() {
    if (list_.empty()) return;
    const auto taken = queue_.pop();
    const auto found =
        std::find_if(list_.begin(), list_.end(), [&](const auto& w) { return w.id == taken.id; });
    ASSERT_NE(found, list_.end());
    for (const auto& w : list_) {
      EXPECT_LE(w.priority, taken.priority) << "a higher priority waits";
      if (w.tenant == taken.tenant && w.priority == taken.priority) {
        EXPECT_LE(w.urgency, taken.urgency) << "a more urgent one of the same tenant waits";
        if (w.urgency == taken.urgency) {
          EXPECT_GE(w.id, taken.id) << "an older one of the same tenant waits";
        }
      }
    }
    list_.erase(found);
  }

  void leave() {
    if (list_.empty()) return;
    const auto at = static_cast<std::ptrdiff_t>(random_.below(list_.size()));
    EXPECT_TRUE(queue_.remove(list_[static_cast<std::size_t>(at)].id));
    list_.erase(list_.begin() + at);
  }

  random_source random_;
  fair_queue queue_;
  std::vector<waiting_request> list_;
  std::uint64_t next_id_ = 1;
};

TEST(fair_queue, RandomWalksKeepPriorityAndOrder) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    walk{seed}.run();
  }
}

TEST(fair_queue, TenantsThatAlwaysWaitGetTheirSharesWhateverOthersDo) {
  // Two greedy tenants always wait; others come and go. What the two have got, by share, never
  // differs by more than one largest request of each.
  constexpr std::int64_t cost_max = 1000;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_source random{seed};
    const std::uint32_t shares[] = {1 + static_cast<std::uint32_t>(random.below(4)),
                                    1 + static_cast<std::uint32_t>(random.below(4))};
    fair_queue q;
    std::uint64_t id = 0;
    double got[2] = {};
    const auto push_greedy = [&](std::uint32_t tenant) {
      const auto cost = static_cast<std::int64_t>(1 + random.below(cost_max));
      q.push(wait(++id, tenant, cost, 0, shares[tenant]));
    };
    for (int i = 0; i < 5; ++i) push_greedy(0), push_greedy(1);
    for (int turn = 0; turn < 3000; ++turn) {
      if (random.below(3) == 0)
        q.push(wait(++id, 2 + static_cast<std::uint32_t>(random.below(50)), 300));
      const auto taken = q.pop();
      if (taken.tenant > 1) continue;
      got[taken.tenant] += static_cast<double>(taken.cost) / shares[taken.tenant];
      push_greedy(taken.tenant);
      const double bound =
          static_cast<double>(cost_max) / shares[0] + static_cast<double>(cost_max) / shares[1] + 1;
      ASSERT_LE(std::abs(got[0] - got[1]), bound) << "turn " << turn;
    }
  }
}

TEST(fair_queue, NoneStarvesWithinAPriority) {
  // A newcomer of an idle tenant waits for at most one request of each of the others.
  random_source random{5};
  fair_queue q;
  std::uint64_t id = 0;
  for (int i = 0; i < 2000; ++i)
    q.push(wait(++id,
                static_cast<std::uint32_t>(random.below(20)),
                static_cast<std::int64_t>(1 + random.below(500))));
  for (int i = 0; i < 500; ++i) q.pop();
  const std::uint64_t newcomer = ++id;
  q.push(wait(newcomer, 77, 100'000));
  int waited = 0;
  while (q.pop().id.value != newcomer) ++waited;
  EXPECT_LE(waited, 20);
}

}  // namespace
}  // namespace atl::schedule
