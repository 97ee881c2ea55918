// The driver on its way to a goal, with groups and one reader that the test plays.
#include "cluster/placement_driver.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace atl::cluster {
namespace {

namespace wire = transport::wire;
using namespace std::chrono_literals;
using experts::replica;

/// Three nodes with one group each, one layer of six experts, one copy of each.
struct by_goal {
  by_goal() : driver{settings(), [this] { return epoch{++epochs}; }} {
    driver.set_seats(seats(3));
    driver.add_reader(node_id{9}, epoch{});
  }
  static driver_settings settings() {
    driver_settings s;
    s.shape = {.layers = {layer_index{1}}, .experts = 6};
    s.order_experts = 1;  // an answer for each
    s.orders_open = 8;
    return s;
  }
  static std::vector<seat> seats(std::uint32_t count) {
    std::vector<seat> all(count);
    for (std::uint32_t g = 0; g < count; ++g)
      all[g].who = {.group = group_id{g}, .node = node_id{g + 1}, .capacity = 12};
    return all;
  }
  void step() {
    for (placement_message& m : driver.step(now)) {
      if (auto* p = std::get_if<wire::place>(&m.body)) {
        map = *p;
        ++maps;
      }
      if (auto* l = std::get_if<wire::load>(&m.body)) loads.push_back(*l);
      if (auto* r = std::get_if<wire::release>(&m.body)) releases.push_back(*r);
    }
  }
  /// The first order that is open is answered.
  void answer() {
    ASSERT_FALSE(loads.empty());
    const wire::load l = loads.front();
    loads.erase(loads.begin());
    wire::placed p;
    p.epoch = l.epoch;
    p.group = l.group;
    p.node = node_id{l.group.value + 1};
    p.layer = l.layer;
    for (const std::uint32_t e : l.experts) p.held.push_back({77, l.layer, e});
    driver.answered(p, now);
    step();
  }
  void adopt() {
    driver.adopted(node_id{9}, map.epoch, map.epoch);
    step();
  }
  void settle() {
    for (int i = 0; i < 200; ++i) {
      step();
      while (!loads.empty()) answer();
      adopt();
      now = now + 100ms;
    }
  }
  std::map<std::uint32_t, float> where(std::uint32_t expert) const {
    std::map<std::uint32_t, float> groups;
    for (const auto& e : map.entries)
      if (e.expert == expert) groups[e.group.value] = e.weight;
    return groups;
  }
  /// All that is in the map, as lists.
  experts::replica_lists placed() const {
    experts::replica_lists all(6);
    for (const auto& e : map.entries)
      all[e.expert].push_back({e.group, static_cast<std::uint32_t>(e.weight)});
    return all;
  }
  placement_goal goal() const {
    return {.copies = placed(), .known = {group_id{0}, group_id{1}, group_id{2}}};
  }

  std::uint64_t epochs = 0;
  placement_driver driver;
  time_point_ns now{1'000'000'000};
  wire::place map;
  std::size_t maps = 0;
  std::vector<wire::load> loads;
  std::vector<wire::release> releases;
};

TEST(placement_goal, each_copy_serves_as_soon_as_its_expert_has_all_it_wants) {
  by_goal t;
  t.driver.open(false);
  t.step();
  t.answer();
  EXPECT_EQ(t.maps, 0U) << "the first map waits for all";
  t.settle();
  const std::size_t before = t.maps;
  ASSERT_EQ(t.map.entries.size(), 6U);
  placement_goal goal = t.goal();
  std::set<std::uint32_t> more;
  for (std::uint32_t e = 0; e < 4; ++e) {
    const std::uint32_t to = (goal.copies[e][0].group.value + 1) % 3;
    goal.copies[e].push_back({group_id{to}, 1});
    more.insert(e);
  }
  t.driver.set_goal(goal);
  EXPECT_EQ(t.driver.distance().missing, 4U);
  t.step();
  ASSERT_EQ(t.loads.size(), 2U) << "one order a group and layer is open";
  t.answer();
  EXPECT_EQ(t.maps, before + 1) << "at once, while others load";
  EXPECT_EQ(t.driver.distance().missing, 3U);
  t.now = t.now + 10ms;
  t.answer();
  EXPECT_EQ(t.maps, before + 1) << "not sooner than the gap";
  ASSERT_TRUE(t.driver.next_due().has_value());
  EXPECT_EQ(*t.driver.next_due(), t.now + 40ms);
  t.now = t.now + 40ms;
  t.step();
  EXPECT_EQ(t.maps, before + 2);
  t.now = t.now + 1ms;
  t.answer();
  EXPECT_EQ(t.maps, before + 2);
  t.answer();
  EXPECT_EQ(t.maps, before + 3) << "nothing is open: no gap";
  for (const std::uint32_t e : more) EXPECT_EQ(t.where(e).size(), 2U);
  EXPECT_EQ(t.driver.distance().missing, 0U);
  EXPECT_EQ(t.driver.distance().extra, 0U);
}

TEST(placement_goal, a_copy_moves_in_one_map_and_shares_follow) {
  by_goal t;
  t.driver.open(false);
  t.settle();
  placement_goal goal = t.goal();
  const group_id from = goal.copies[0][0].group;
  const group_id to{(from.value + 1) % 3};
  goal.copies[0] = {{to, 9}};
  t.driver.set_goal(goal);
  t.step();
  EXPECT_EQ(t.where(0), (std::map<std::uint32_t, float>{{from.value, 1.F}}));
  t.answer();
  EXPECT_EQ(t.where(0), (std::map<std::uint32_t, float>{{to.value, 9.F}}));
  EXPECT_TRUE(t.releases.empty()) << "the reader may still use the map before";
  EXPECT_EQ(t.driver.distance().extra, 1U);
  t.adopt();
  ASSERT_EQ(t.releases.size(), 1U);
  EXPECT_EQ(t.releases[0].group, from);
  EXPECT_EQ(t.driver.distance().extra, 0U);
  // Shares alone move nothing; without a goal copies are equal again.
  goal.copies[1] = {{goal.copies[1][0].group, 5}};
  t.driver.set_goal(goal);
  t.step();
  EXPECT_TRUE(t.loads.empty());
  EXPECT_EQ(t.where(1).begin()->second, 5.F);
  t.driver.set_goal(std::nullopt);
  t.settle();
  for (const auto& e : t.map.entries) EXPECT_EQ(e.weight, 1.F);
}

TEST(placement_goal, who_knows_it_after_a_restart_moves_nothing) {
  by_goal t;
  t.driver.open(false);
  t.settle();
  placement_goal goal = t.goal();
  goal.copies[0] = {{group_id{0}, 3}, {group_id{2}, 1}};
  for (std::uint32_t e = 1; e < 6; ++e) goal.copies[e] = {{group_id{1}, 1}};
  t.driver.set_goal(goal);
  t.settle();
  by_goal next;
  next.epochs = 1000;
  next.driver.set_goal(goal);
  for (std::uint32_t g = 0; g < 3; ++g) {
    std::vector<wire::checked_expert> held;
    for (std::uint32_t e = 0; e < 6; ++e)
      for (const replica& r : goal.copies[e])
        if (r.group.value == g) held.push_back({77, layer_index{1}, e});
    next.driver.claimed(group_id{g}, held);
  }
  next.driver.open(true);
  next.settle();
  EXPECT_TRUE(next.releases.empty());
  EXPECT_EQ(next.placed(), goal.copies);
  EXPECT_EQ(next.driver.copies_on(node_id{2}).held, 5U);
}

TEST(placement_goal, what_was_asked_for_one_by_one_wins_over_it) {
  by_goal t;
  t.driver.open(false);
  t.settle();
  placement_goal goal = t.goal();
  goal.copies[0] = {{group_id{0}, 1}, {group_id{1}, 1}};
  t.driver.set_goal(goal);
  t.settle();
  EXPECT_EQ(t.where(0).size(), 2U);
  const auto wish = [&](expert_wish w) {
    t.driver.set_wish(layer_index{1}, expert_index{0}, std::move(w));
    t.settle();
    std::set<std::uint32_t> groups;
    for (const auto& [g, share] : t.where(0)) groups.insert(g);
    return groups;
  };
  using set = std::set<std::uint32_t>;
  EXPECT_EQ(wish({.copies = 1}).size(), 1U);
  EXPECT_EQ(wish({.copies = 3}), (set{0, 1, 2}));
  EXPECT_EQ(wish({.pins = {node_id{3}}}), (set{2})) << "one copy, and it is pinned";
  EXPECT_EQ(wish({.pins = {node_id{2}}}), (set{0, 1})) << "the goal says the same";
  EXPECT_EQ(wish({.unwanted = {node_id{1}}}), (set{1}));
  EXPECT_EQ(wish({}), (set{0, 1})) << "the goal counts again";
}

TEST(placement_goal, a_joiner_is_not_known_to_it) {
  by_goal t;
  t.driver.open(false);
  t.settle();
  t.driver.set_goal(t.goal());
  EXPECT_TRUE(t.driver.goal_knows_all());
  auto more = by_goal::seats(4);
  more[3].who.accepts_new = false;
  t.driver.set_seats(more);
  EXPECT_TRUE(t.driver.goal_knows_all()) << "it takes nothing yet";
  more[3].who.accepts_new = true;
  t.driver.set_seats(more);
  EXPECT_FALSE(t.driver.goal_knows_all());
  t.settle();
  EXPECT_EQ(t.driver.copies_on(node_id{4}).held, 0U);
  t.driver.set_goal(std::nullopt);
  t.settle();
  EXPECT_GT(t.driver.copies_on(node_id{4}).held, 0U) << "by count";
}

/// A plan under way, a node lost: its copies are elsewhere, and the rest of the goal is reached.
TEST(placement_goal, a_loss_on_the_way_is_made_good) {
  by_goal t;
  t.driver.open(false);
  t.settle();
  placement_goal goal = t.goal();
  for (std::uint32_t e = 0; e < 6; ++e) goal.copies[e] = {{group_id{e % 2}, 1}};
  t.driver.set_goal(goal);
  t.step();
  t.driver.set_seats(by_goal::seats(2));
  std::erase_if(t.loads, [](const wire::load& l) { return l.group == group_id{2}; });
  t.settle();
  EXPECT_EQ(t.placed(), goal.copies);
  EXPECT_EQ(t.driver.distance().missing, 0U);
  // A group that has a part in the goal.
  std::vector<seat> one = by_goal::seats(3);
  one.erase(one.begin());
  t.driver.set_seats(one);
  t.settle();
  for (std::uint32_t e = 0; e < 6; ++e) EXPECT_EQ(t.where(e).size(), 1U);
  EXPECT_EQ(t.driver.distance().missing, 0U);
  EXPECT_EQ(t.driver.distance().extra, 0U) << "what stands in for it";
}

}  // namespace
}  // namespace atl::cluster
