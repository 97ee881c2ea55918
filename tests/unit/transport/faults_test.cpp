// Virtual time and seeded faults: what they do to frames, and that a seed repeats exactly.
#include "runtime/base/random.hpp"
#include "tests/unit/transport/inbox.hpp"
#include "transport/faulty/faulty.hpp"
#include "transport/loopback/loopback.hpp"
#include "transport/sim/sim.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace atl::transport {
namespace {

using std::chrono::microseconds;

struct world {
  explicit world(sim_options options = {}, fault_plan plan = {}, std::uint64_t fault_seed = 3)
      : time{std::make_shared<virtual_clock>()},
        sim{options, time},
        faults{fault_seed, plan, sim.events()} {}

  void settle() {
    while (sim.step()) {
    }
  }

  std::shared_ptr<virtual_clock> time;
  sim_network sim;
  faulty_network faults;
};

TEST(sim, nothing_arrives_before_the_latency_and_time_moves_only_when_told) {
  world w{{.latency = microseconds{20}, .jitter = microseconds{0}}};
  test_node a{w.sim.join(), 1};
  test_node b{w.sim.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(to_b->send(numbered_frame(1)).has_value());
  EXPECT_EQ(w.time->now().value, 0);
  w.sim.deliver_until({19'999});
  EXPECT_TRUE(b.in->frames().empty());
  EXPECT_EQ(w.time->now().value, 19'999);
  w.sim.deliver_until({20'000});
  EXPECT_EQ(b.in->frames().size(), 1U);
  EXPECT_FALSE(w.sim.step());
}

TEST(sim, a_full_link_is_overloaded_until_it_drains) {
  world w{{.in_flight_max = 2}};
  test_node a{w.sim.join(), 1};
  test_node b{w.sim.join(), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  ASSERT_TRUE(to_b->send(numbered_frame(0)).has_value());
  ASSERT_TRUE(to_b->send(numbered_frame(1)).has_value());
  EXPECT_EQ(to_b->send(numbered_frame(9)).error().code(), errc::overloaded);
  ASSERT_TRUE(w.sim.step());
  EXPECT_TRUE(to_b->send(numbered_frame(2)).has_value());
  w.settle();
  const auto frames = b.in->frames();
  EXPECT_EQ(numbers_of(frames), (std::vector<std::uint64_t>{0, 1, 2}));
  EXPECT_EQ(frames[2].header.sequence, 3U) << "a refused frame takes no number";
}

TEST(sim, jitter_never_reorders_a_link_but_does_interleave_links) {
  world w{{.seed = 1, .latency = microseconds{1}, .jitter = microseconds{50}}};
  test_node a{w.sim.join(), 1};
  test_node b{w.sim.join(), 2};
  test_node c{w.sim.join(), 3};
  const auto from_a = a.net->connect(node_id{3}).value();
  const auto from_b = b.net->connect(node_id{3}).value();
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(from_a->send(numbered_frame(i)).has_value());
    ASSERT_TRUE(from_b->send(numbered_frame(1000 + i)).has_value());
    w.sim.deliver_until(w.time->now() + microseconds{5});
  }
  w.settle();
  std::vector<std::uint64_t> low;
  std::vector<std::uint64_t> high;
  bool is_alternating = true;
  std::uint64_t previous = 1000;
  for (const std::uint64_t n : numbers_of(c.in->frames())) {
    (n < 1000 ? low : high).push_back(n);
    is_alternating = is_alternating && (n < 1000) != (previous < 1000);
    previous = n;
  }
  EXPECT_EQ(low.size() + high.size(), 200U);
  EXPECT_TRUE(std::is_sorted(low.begin(), low.end()));
  EXPECT_TRUE(std::is_sorted(high.begin(), high.end()));
  EXPECT_FALSE(is_alternating);
}

TEST(sim, a_frame_under_way_outlives_its_sender_and_not_its_target) {
  world w;
  test_node a{w.sim.join(), 1};
  test_node b{w.sim.join(), 2};
  ASSERT_TRUE(a.net->connect(node_id{2}).value()->send(numbered_frame(1)).has_value());
  ASSERT_TRUE(b.net->connect(node_id{1}).value()->send(numbered_frame(2)).has_value());
  a.net->close();
  w.settle();
  EXPECT_EQ(numbers_of(b.in->frames()), (std::vector<std::uint64_t>{1}));
  EXPECT_EQ(b.in->gone().size(), 1U);
  EXPECT_TRUE(a.in->frames().empty());
}

/// A conversation of three nodes under faults; what everyone saw, and both traces.
struct outcome {
  std::vector<std::vector<std::uint64_t>> seen;
  std::uint64_t trace = 0;
  std::int64_t end_ns = 0;
  fault_counts counts;
};

outcome converse(std::uint64_t seed, std::uint64_t fault_seed) {
  const fault_plan plan{
      .drop = 0.1, .duplicate = 0.1, .corrupt = 0.1, .delay = 0.2, .delay_max = microseconds{200}};
  world w{{.seed = seed}, plan, fault_seed};
  std::vector<std::unique_ptr<test_node>> nodes;
  for (std::uint32_t i = 0; i < 3; ++i) {
    nodes.push_back(std::make_unique<test_node>(w.faults.wrap(w.sim.join()), i));
  }
  random_source workload{77};
  for (std::uint64_t i = 0; i < 600; ++i) {
    const auto from = workload.below(3);
    const node_id to{static_cast<std::uint32_t>(workload.below(3))};
    EXPECT_TRUE(nodes[from]->net->connect(to).value()->send(numbered_frame(i)).has_value());
    w.sim.deliver_until(w.time->now() + microseconds{7});
  }
  w.settle();
  outcome out{{}, w.sim.trace_hash(), w.time->now().value, w.faults.counts()};
  for (const auto& node : nodes) out.seen.push_back(numbers_of(node->in->frames()));
  return out;
}

TEST(faulty, the_same_seeds_give_the_same_run) {
  const outcome first = converse(1, 2);
  const outcome second = converse(1, 2);
  EXPECT_EQ(first.seen, second.seen);
  EXPECT_EQ(first.trace, second.trace);
  EXPECT_EQ(first.end_ns, second.end_ns);
  EXPECT_NE(first.trace, converse(9, 2).trace);
  EXPECT_EQ(first.trace, converse(1, 9).trace) << "faults strike behind the network";
  EXPECT_NE(first.seen, converse(1, 9).seen);
}

TEST(faulty, chances_come_out_and_the_books_balance) {
  const fault_counts c = converse(1, 2).counts;
  // 600 frames at 0.1 (0.2): four standard deviations are 30 (40).
  EXPECT_NEAR(static_cast<double>(c.dropped), 60, 30);
  EXPECT_NEAR(static_cast<double>(c.corrupted), 54, 30);
  EXPECT_NEAR(static_cast<double>(c.duplicated), 49, 30);
  EXPECT_NEAR(static_cast<double>(c.delayed), 97, 40);
  EXPECT_EQ(c.refused, c.corrupted);
  EXPECT_EQ(c.delivered, 600 - c.dropped - c.refused + c.duplicated);
  EXPECT_EQ(c.cut_off, 0U);
}

/// Frames 0..99 from node 1 to node 2 under a plan.
std::vector<frame> under(const fault_plan& plan, fault_counts& counts) {
  world w{{}, plan};
  test_node a{w.faults.wrap(w.sim.join()), 1};
  test_node b{w.faults.wrap(w.sim.join()), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(to_b->send(numbered_frame(i)).has_value());
  w.settle();
  counts = w.faults.counts();
  return b.in->frames();
}

TEST(faulty, everything_can_be_dropped) {
  fault_counts counts;
  EXPECT_TRUE(under({.drop = 1}, counts).empty());
  EXPECT_EQ(counts.dropped, 100U);
}

TEST(faulty, a_duplicate_has_the_same_sequence_number) {
  fault_counts counts;
  const auto frames = under({.duplicate = 1}, counts);
  ASSERT_EQ(frames.size(), 200U);
  for (std::size_t i = 0; i < 200; ++i) {
    EXPECT_EQ(number_of(frames[i]), i / 2);
    EXPECT_EQ(frames[i].header.sequence, i / 2 + 1);
  }
}

TEST(faulty, damaged_frames_are_all_refused) {
  fault_counts counts;
  EXPECT_TRUE(under({.corrupt = 1}, counts).empty());
  EXPECT_EQ(counts.refused, 100U);
}

TEST(faulty, delay_holds_a_link_in_order) {
  fault_counts counts;
  const auto frames = under({.delay = 0.3, .delay_max = microseconds{500}}, counts);
  ASSERT_EQ(frames.size(), 100U);
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(number_of(frames[i]), i);
  EXPECT_GT(counts.delayed, 10U);
}

TEST(faulty, a_delayed_frame_comes_later_in_virtual_time) {
  const fault_plan plan{.delay = 1, .delay_max = microseconds{1000}};
  world w{{.latency = microseconds{1}, .jitter = microseconds{0}}, plan};
  test_node a{w.faults.wrap(w.sim.join()), 1};
  test_node b{w.faults.wrap(w.sim.join()), 2};
  ASSERT_TRUE(a.net->connect(node_id{2}).value()->send(numbered_frame(1)).has_value());
  w.sim.deliver_until({1'000});
  EXPECT_TRUE(b.in->frames().empty());
  w.sim.deliver_until({1'001'000});
  EXPECT_EQ(b.in->frames().size(), 1U);
}

TEST(faulty, a_cut_node_neither_hears_nor_is_heard_until_healed) {
  loopback_network network;
  faulty_network faults{1, {}, nullptr};
  test_node a{faults.wrap(network.join()), 1};
  test_node b{faults.wrap(network.join()), 2};
  const auto to_b = a.net->connect(node_id{2}).value();
  const auto to_a = b.net->connect(node_id{1}).value();
  faults.cut(node_id{2});
  EXPECT_TRUE(to_b->send(numbered_frame(1)).has_value()) << "a sender learns nothing";
  EXPECT_TRUE(to_a->send(numbered_frame(2)).has_value());
  EXPECT_TRUE(a.in->frames().empty());
  EXPECT_TRUE(b.in->frames().empty());
  EXPECT_EQ(faults.counts().cut_off, 2U);
  faults.heal(node_id{2});
  EXPECT_TRUE(to_b->send(numbered_frame(3)).has_value());
  EXPECT_EQ(numbers_of(b.in->frames()), (std::vector<std::uint64_t>{3}));
  faults.cut(node_id{2});
  b.net->close();
  EXPECT_TRUE(a.in->gone().empty()) << "no news leaves a cut node";
}

TEST(faulty, frames_held_back_are_lost_with_a_cut) {
  const fault_plan plan{.delay = 1, .delay_max = microseconds{1000}};
  world w{{.latency = microseconds{1}, .jitter = microseconds{0}}, plan};
  test_node a{w.faults.wrap(w.sim.join()), 1};
  test_node b{w.faults.wrap(w.sim.join()), 2};
  ASSERT_TRUE(a.net->connect(node_id{2}).value()->send(numbered_frame(1)).has_value());
  w.sim.deliver_until({1'000});
  w.faults.cut(node_id{1});
  w.settle();
  EXPECT_TRUE(b.in->frames().empty());
  EXPECT_EQ(w.faults.counts().cut_off, 1U);
}

}  // namespace
}  // namespace atl::transport
