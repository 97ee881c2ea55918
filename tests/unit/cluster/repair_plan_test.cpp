#include "runtime/base/random.hpp"
#include "tests/unit/cluster/repair_inputs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

namespace atl::cluster {
namespace {

/// What an independent look at input and plan finds wrong; empty if nothing.
class verdict_on {
public:
  verdict_on(const repair_input& input, const repair_plan& plan) : input_{input}, plan_{plan} {
    for (const holder& h : input.holders) holders_[h.group.value] = h;
    for (std::size_t i = 0; i < input.present.size(); ++i) {
      for (const replica& r : input.present[i]) {
        const auto at = holders_.find(r.group.value);
        if (at != holders_.end() && at->second.serves) before_[i].insert(r.group.value);
      }
      for (const replica& r : plan.target[i]) {
        if (!after_[i].insert(r.group.value).second) say("a group twice in a list");
        if (r.share == 0) say("share 0");
      }
    }
    check_lists();
    check_capacity();
    for (std::size_t i = 0; i < input.present.size(); ++i) check_expert(i);
  }

  const std::string& text() const { return text_; }

private:
  void say(const std::string& what) { text_ += what + "\n"; }

  std::size_t index(const expert_copy& c) const {
    const auto& layers = input_.shape.layers;
    const auto row = std::find(layers.begin(), layers.end(), c.layer) - layers.begin();
    return static_cast<std::size_t>(row) * input_.shape.experts + c.expert.value;
  }

  /// before - evictions + loads - releases = after, each step allowed.
  void check_lists() {
    auto held = before_;
    for (const auto* list : {&plan_.evictions, &plan_.loads, &plan_.releases})
      if (!std::is_sorted(list->begin(), list->end())) say("a list is not sorted");
    for (const expert_copy& c : plan_.evictions)
      if (held[index(c)].erase(c.group.value) == 0) say("evicts what is not there");
    for (const expert_copy& c : plan_.loads) {
      const auto& h = holders_.at(c.group.value);
      if (!h.serves || !h.accepts_new || h.drains) say("loads where nothing is accepted");
      if (!held[index(c)].insert(c.group.value).second) say("loads what is there");
    }
    for (const expert_copy& c : plan_.releases)
      if (held[index(c)].erase(c.group.value) == 0) say("releases what is not there");
    for (std::size_t i = 0; i < input_.present.size(); ++i)
      if (held[i] != after_[i]) say("the lists do not lead to the target");
  }

  void check_capacity() {
    std::map<std::uint32_t, std::size_t> held;
    std::set<std::uint32_t> loading;
    for (const auto& [i, groups] : before_)
      for (const auto g : groups) ++held[g];
    for (const expert_copy& c : plan_.evictions) --held[c.group.value];
    for (const expert_copy& c : plan_.loads) {
      ++held[c.group.value];
      loading.insert(c.group.value);
    }
    for (const auto g : loading)
      if (held[g] > holders_.at(g).capacity) say("more than its capacity in a group");
  }

  std::size_t nodes_with(const std::set<std::uint32_t>& groups, bool drains_too) const {
    std::set<std::uint32_t> found;
    for (const auto g : groups)
      if (drains_too || !holders_.at(g).drains) found.insert(holders_.at(g).node.value);
    return found.size();
  }

  bool has_room_for(std::size_t i) const {
    return std::any_of(holders_.begin(), holders_.end(), [&](const auto& entry) {
      const holder& h = entry.second;
      if (!h.serves || !h.accepts_new || h.drains) return false;
      std::size_t held = 0;
      for (const auto& [j, groups] : after_) held += groups.count(h.group.value);
      for (const expert_copy& c : plan_.releases) held += c.group == h.group ? 1 : 0;
      auto with = after_.at(i);
      with.insert(h.group.value);
      return held < h.capacity && nodes_with(with, false) > nodes_with(after_.at(i), false);
    });
  }

  void check_expert(std::size_t i) {
    const std::size_t was = nodes_with(before_[i], true);
    const std::size_t now = nodes_with(after_[i], true);
    const std::size_t kept = nodes_with(after_[i], false);
    const bool is_evicted = std::any_of(plan_.evictions.begin(),
                                        plan_.evictions.end(),
                                        [&](const expert_copy& c) { return index(c) == i; });
    const bool had_drain = nodes_with(before_[i], false) < was;
    if (was > 0 && now == 0) say("an expert loses its last copy");
    if (now < std::min<std::size_t>(was, input_.copies) && !is_evicted && !had_drain)
      say("an expert has fewer copies than before");
    if (kept < input_.copies && input_.moves_max == 0 && has_room_for(i))
      say("an expert is short although there is room");
    const layer_index layer = input_.shape.layers[i / input_.shape.experts];
    const expert_index expert{static_cast<std::uint32_t>(i % input_.shape.experts)};
    const auto short_at =
        std::find_if(plan_.short_of.begin(), plan_.short_of.end(), [&](const auto& s) {
          return s.layer == layer && s.expert == expert;
        });
    const std::size_t short_by = short_at == plan_.short_of.end() ? 0 : short_at->short_by;
    if (kept + short_by != std::max<std::size_t>(kept, input_.copies)) say("short_by is wrong");
    const bool is_unplaceable =
        std::count(plan_.unplaceable.begin(),
                   plan_.unplaceable.end(),
                   experts::expert_map::held_expert{.layer = layer, .expert = expert}) == 1;
    if (is_unplaceable != after_[i].empty()) say("unplaceable is wrong");
  }

  const repair_input& input_;
  const repair_plan& plan_;
  std::map<std::uint32_t, holder> holders_;
  std::map<std::size_t, std::set<std::uint32_t>> before_;
  std::map<std::size_t, std::set<std::uint32_t>> after_;
  std::string text_;
};

std::string wrong_with(const repair_input& input, const repair_plan& plan) {
  return verdict_on{input, plan}.text();
}

/// Experts of one layer in each group that accepts.
std::vector<std::size_t>
loads_of(const repair_input& input, const experts::replica_lists& lists, std::size_t layer) {
  std::vector<std::size_t> loads;
  for (const holder& h : input.holders) {
    if (!h.accepts_new || h.drains || !h.serves) continue;
    std::size_t held = 0;
    for (std::size_t e = 0; e < input.shape.experts; ++e)
      for (const replica& r : lists[layer * input.shape.experts + e]) held += r.group == h.group;
    loads.push_back(held);
  }
  return loads;
}

/// Largest difference between groups within a layer.
std::size_t unevenness(const repair_input& input, const experts::replica_lists& lists) {
  std::size_t worst = 0;
  for (std::size_t l = 0; l < input.shape.layers.size(); ++l) {
    const auto loads = loads_of(input, lists, l);
    const auto [low, high] = std::minmax_element(loads.begin(), loads.end());
    if (!loads.empty()) worst = std::max(worst, *high - *low);
  }
  return worst;
}

/// Plans and applies until nothing is left, checking each plan; the number of plans with work.
int settle(repair_input& input) {
  for (int round = 0; round < 2000; ++round) {
    const repair_plan plan = planned(input);
    const std::string wrong = wrong_with(input, plan);
    EXPECT_EQ(wrong, "");
    if (!wrong.empty() || !plan.has_work()) return round;
    input.present = plan.target;
  }
  ADD_FAILURE() << "does not come to rest";
  return -1;
}

TEST(repair_plan, a_fresh_cluster_is_spread_evenly) {
  for (std::uint32_t groups = 1; groups <= 12; ++groups) {
    for (const std::uint32_t per_node : {1U, 2U, 4U, 12U}) {
      for (std::uint32_t copies = 1; copies <= std::min(groups, 3U); ++copies) {
        const std::uint32_t nodes_there = groups / per_node;
        if (groups % per_node != 0 || (nodes_there > 1 && nodes_there < copies)) continue;
        SCOPED_TRACE(testing::Message() << groups << " " << per_node << " " << copies);
        repair_input input = nodes(0, 0, shape_of(5, 37));
        input.copies = copies;
        std::vector<experts::group_place> places;
        for (std::uint32_t g = 0; g < groups; ++g) {
          input.holders.push_back(on(g, g / per_node, 5 * 37));
          places.push_back({.group = group_id{g}, .node = node_id{g / per_node}});
        }
        const auto expected = experts::spread_evenly(epoch{1}, input.shape, places, copies);
        const repair_plan plan = planned(input);
        const auto map = experts::expert_map::make(epoch{1}, input.shape, groups, plan.target);
        ASSERT_TRUE(map.has_value());
        for (std::uint32_t g = 0; g < groups; ++g)
          ASSERT_EQ(map->held_by(group_id{g}), expected->held_by(group_id{g}));
        EXPECT_EQ(plan.loads.size(), 5U * 37 * copies);
        input.present = plan.target;
        EXPECT_FALSE(planned(input).has_work());
      }
    }
  }
}

TEST(repair_plan, capacities_bend_the_first_placement) {
  repair_input input = nodes(3, 100, shape_of(2, 8));
  input.holders[0].capacity = 2;
  const repair_plan plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  EXPECT_TRUE(plan.short_of.empty());
  for (std::size_t l = 0; l < 2; ++l) {
    auto loads = loads_of(input, plan.target, l);
    std::sort(loads.begin(), loads.end());
    EXPECT_LE(loads[2] - loads[1], 1U);
  }
}

TEST(repair_plan, replaces_what_a_death_took_and_moves_nothing_else) {
  repair_input input = nodes(3, 100, shape_of(3, 16));
  input.copies = 2;
  settle(input);
  const auto before = input.present;
  input.holders.erase(input.holders.begin() + 1);
  const repair_plan plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  EXPECT_TRUE(plan.releases.empty());
  EXPECT_TRUE(plan.evictions.empty());
  EXPECT_EQ(plan.loads.size(), 3U * 16 * 2 / 3);
  EXPECT_TRUE(plan.short_of.empty());
  EXPECT_LE(unevenness(input, plan.target), 2U);
  for (std::size_t i = 0; i < before.size(); ++i) {
    const auto after = groups_of(plan.target[i]);
    for (const auto g : groups_of(before[i])) {
      EXPECT_EQ(std::count(after.begin(), after.end(), g), g == 1 ? 0 : 1);
    }
  }
}

TEST(repair_plan, new_copies_go_to_who_holds_least_of_the_layer_then_to_who_has_most_free) {
  repair_input input = nodes(4, 100, shape_of(2, 3));
  input.copies = 2;
  input.holders[2].capacity = 1000;
  input.holders[3].accepts_new = false;
  const std::vector<replica> first = {{group_id{0}}};
  input.present = {first,
                   first,
                   first,
                   {{group_id{1}}, {group_id{3}}},
                   {{group_id{1}}, {group_id{3}}},
                   {{group_id{2}}, {group_id{3}}}};
  const auto target = planned(input).target;
  EXPECT_EQ(groups_of(target[0]), (std::vector<std::uint32_t>{0, 2}));
  EXPECT_EQ(groups_of(target[1]), (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ(groups_of(target[2]), (std::vector<std::uint32_t>{0, 2}));
}

TEST(repair_plan, a_hole_comes_before_a_second_copy) {
  repair_input input = nodes(2, 3, shape_of(1, 4));  // 6 places for 8 wanted copies
  input.copies = 2;
  input.present = {{{group_id{0}}}, {{group_id{0}}}, {{group_id{1}}}, {}};
  const repair_plan plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  EXPECT_TRUE(plan.evictions.empty());
  EXPECT_EQ(groups_of(plan.target[3]), (std::vector<std::uint32_t>{1}));
  EXPECT_EQ(plan.loads.size(), 3U);
  ASSERT_EQ(plan.short_of.size(), 2U);
  for (const auto& s : plan.short_of) EXPECT_EQ(s.short_by, 1U);
  EXPECT_TRUE(plan.unplaceable.empty());
}

TEST(repair_plan, a_hole_takes_the_place_of_a_doubled_copy_where_memory_is_full) {
  repair_input input = nodes(2, 2, shape_of(1, 3));
  input.copies = 2;
  input.present = {{{group_id{0}}}, {{group_id{0}}, {group_id{1}}}, {}};
  input.holders[1].capacity = 1;
  const repair_plan plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  ASSERT_EQ(plan.evictions.size(), 1U);
  EXPECT_EQ(plan.evictions[0].expert, expert_index{1});
  EXPECT_EQ(plan.loads.size(), 1U);
  for (const auto& list : plan.target) EXPECT_EQ(list.size(), 1U);
  EXPECT_EQ(plan.short_of.size(), 3U);
}

TEST(repair_plan, says_what_has_no_place_at_all) {
  repair_input input = nodes(2, 2, shape_of(1, 5));
  const repair_plan plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  ASSERT_EQ(plan.unplaceable.size(), 1U);
  EXPECT_EQ(plan.unplaceable[0].expert, expert_index{4});
  ASSERT_EQ(plan.short_of.size(), 1U);
  EXPECT_EQ(plan.short_of[0].short_by, 1U);

  const repair_plan nobody = planned(nodes(0, 0, shape_of(2, 3)));
  EXPECT_EQ(nobody.unplaceable.size(), 6U);
  EXPECT_FALSE(nobody.has_work());
}

TEST(repair_plan, copies_of_an_expert_are_on_different_nodes) {
  repair_input input = nodes(0, 0, shape_of(1, 6));
  for (std::uint32_t g = 0; g < 4; ++g) input.holders.push_back(on(g, g / 2, 100));
  input.copies = 3;
  for (auto& list : input.present) list = {{group_id{0}}};
  const repair_plan plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  for (const auto& list : plan.target) {
    ASSERT_EQ(list.size(), 2U);
    EXPECT_LT(list[0].group.value, 2U);
    EXPECT_GE(list[1].group.value, 2U);
  }
  ASSERT_EQ(plan.short_of.size(), 6U);
  EXPECT_EQ(plan.short_of[0].short_by, 1U);
}

TEST(repair_plan, a_joiner_takes_its_even_share_from_the_fullest) {
  repair_input input = nodes(3, 1000, shape_of(4, 24));
  settle(input);
  input.holders.push_back(on(9, 9, 1000));
  const repair_plan plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  EXPECT_EQ(plan.loads.size(), plan.releases.size());
  EXPECT_LE(unevenness(input, plan.target), 1U);
  EXPECT_GE(plan.loads.size(), 4U * 24 / 4 - 4);
  EXPECT_LE(plan.loads.size(), 4U * 24 / 4);
  for (const expert_copy& c : plan.loads) EXPECT_EQ(c.group, group_id{9});
}

TEST(repair_plan, a_joiner_gets_a_share_even_where_layers_are_small) {
  repair_input input = nodes(4, 1000, shape_of(12, 4));  // one expert of each layer in each group
  settle(input);
  input.holders.push_back(on(4, 4, 1000));
  const repair_plan plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  EXPECT_GE(plan.loads.size(), 8U);  // an even share is 9.6
}

TEST(repair_plan, moves_are_bounded_and_what_is_lost_is_not) {
  repair_input input = nodes(3, 1000, shape_of(2, 24));
  settle(input);
  input.holders.push_back(on(3, 3, 1000));
  input.moves_max = 5;
  repair_plan plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  EXPECT_EQ(plan.loads.size(), 5U);
  EXPECT_EQ(plan.releases.size(), 5U);
  EXPECT_EQ(settle(input), 3);  // 12 moves in all

  input.holders.erase(input.holders.begin());
  plan = planned(input);
  EXPECT_GE(plan.loads.size(), 11U);
  EXPECT_TRUE(plan.unplaceable.empty());
}

TEST(repair_plan, a_drained_group_gives_all_up_and_a_cordoned_one_keeps_it) {
  repair_input input = nodes(3, 1000, shape_of(3, 16));
  input.copies = 2;
  settle(input);
  input.holders[2].accepts_new = false;
  EXPECT_FALSE(planned(input).has_work());
  input.holders[2].drains = true;
  const repair_plan plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  for (const auto& list : plan.target) {
    const auto groups = groups_of(list);
    EXPECT_EQ(groups.size(), 2U);
    EXPECT_EQ(std::count(groups.begin(), groups.end(), 2U), 0);
  }
  EXPECT_EQ(plan.releases.size(), 3U * 16 * 2 / 3);
  EXPECT_EQ(plan.loads.size(), plan.releases.size());
}

TEST(repair_plan, a_drain_in_steps_never_leaves_fewer_copies) {
  repair_input input = nodes(3, 1000, shape_of(3, 16));
  input.copies = 2;
  settle(input);
  input.holders[2].drains = true;
  input.moves_max = 7;
  for (int round = 0; round < 5; ++round) {
    const repair_plan plan = planned(input);
    EXPECT_LE(plan.loads.size(), 7U);
    for (const auto& list : plan.target) EXPECT_GE(list.size(), 2U);
    input.present = plan.target;
  }
  EXPECT_FALSE(planned(input).has_work());
}

TEST(repair_plan, a_drain_ends_short_of_copies_but_not_without_one) {
  repair_input input = nodes(2, 4, shape_of(1, 6));
  input.holders[0].capacity = 6;
  input.copies = 2;
  settle(input);  // all six on node 0, four of them on node 1
  input.holders[1].drains = true;
  repair_plan plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  EXPECT_EQ(plan.releases.size(), 4U);
  EXPECT_EQ(plan.short_of.size(), 6U);

  input.holders[1].drains = false;
  input.holders[0].drains = true;
  plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  EXPECT_EQ(plan.releases.size(), 4U);  // two have nowhere else to be
  EXPECT_TRUE(plan.unplaceable.empty());
}

TEST(repair_plan, copies_that_cannot_be_used_do_not_count) {
  repair_input input = nodes(3, 100, shape_of(1, 4));
  input.present = {{{group_id{0}}}, {{group_id{1}}}, {{group_id{2}}}, {{group_id{77}}}};
  input.holders[1].serves = false;
  const repair_plan plan = planned(input);
  EXPECT_EQ(wrong_with(input, plan), "");
  EXPECT_EQ(plan.loads.size(), 2U);
  EXPECT_TRUE(plan.releases.empty());
  for (const auto& list : plan.target) {
    ASSERT_EQ(list.size(), 1U);
    EXPECT_NE(list[0].group.value, 1U);
  }
}

TEST(repair_plan, keeps_shares_and_gives_new_copies_the_mean) {
  repair_input input = nodes(3, 100, shape_of(1, 1));
  input.copies = 3;
  input.present = {{{group_id{0}, 10}, {group_id{2}, 40}}};
  const repair_plan plan = planned(input);
  EXPECT_EQ(plan.target[0],
            (std::vector<replica>{{group_id{0}, 10}, {group_id{1}, 25}, {group_id{2}, 40}}));
}

TEST(repair_plan, refuses_input_that_is_none) {
  const auto refusal = [](auto change) {
    repair_input input = nodes(2, 10, shape_of(2, 2));
    change(input);
    const auto plan = plan_repair(input);
    return plan.has_error() ? plan.error().message() : "";
  };
  EXPECT_EQ(refusal([](repair_input& i) { i.copies = 0; }),
            "repair plan: at least one copy of each expert has to be wanted");
  EXPECT_EQ(refusal([](repair_input& i) { i.shape.experts = 0; }),
            "repair plan: there is no expert to place");
  EXPECT_EQ(refusal([](repair_input& i) { i.shape.layers[1] = i.shape.layers[0]; }),
            "repair plan: layers are not ascending");
  EXPECT_EQ(refusal([](repair_input& i) { i.present.pop_back(); }),
            "repair plan: 3 replica lists for 4 experts");
  EXPECT_EQ(refusal([](repair_input& i) { i.holders[1].group = group_id{0}; }),
            "repair plan: group 0 is named twice");
}

/// A cluster of 1..12 nodes with 1..3 groups each, ample or scarce memory.
repair_input random_cluster(random_source& random) {
  const auto below = [&](std::uint64_t n) { return static_cast<std::uint32_t>(random.below(n)); };
  repair_input input{.shape = shape_of(1 + below(8), 4 + below(61)), .holders = {}, .present = {}};
  const std::size_t experts = input.shape.layers.size() * input.shape.experts;
  input.present.resize(experts);
  input.copies = 1 + below(3);
  const std::uint32_t count = 1 + below(12);
  const bool is_scarce = below(2) == 0;
  for (std::uint32_t n = 0; n < count; ++n) {
    for (std::uint32_t g = 0; g <= below(3); ++g) {
      const std::size_t scarce = random.below(1 + 3 * experts / count);
      input.holders.push_back(on(8 * n + g, n, is_scarce ? scarce : 4 * experts));
    }
  }
  return input;
}

TEST(repair_plan, random_clusters_keep_the_rules_and_come_to_rest) {
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(seed);
    random_source random{seed};
    repair_input input = random_cluster(random);
    const std::size_t experts = input.present.size();
    const bool is_ample = input.holders[0].capacity == 4 * experts;
    for (int event = 0; event < 5; ++event) {
      const int rounds = settle(input);
      ASSERT_LE(rounds, is_ample ? 1 : 2000);
      if (HasFailure()) return;
      const std::uint64_t node = random.below(12);
      switch (random.below(5)) {
      case 0:  // death
        std::erase_if(input.holders, [&](const holder& h) { return h.node.value == node; });
        break;
      case 1:  // drain
        for (holder& h : input.holders) h.drains = h.drains || h.node.value == node;
        break;
      case 2:  // join
        input.holders.push_back(on(200 + static_cast<std::uint32_t>(event),
                                   50 + static_cast<std::uint32_t>(event),
                                   is_ample ? 4 * experts : random.below(experts)));
        break;
      case 3:  // cordon
        for (holder& h : input.holders) h.accepts_new = h.accepts_new && h.node.value != node;
        break;
      default: input.moves_max = random.below(30) == 0 ? 0 : 20 + random.below(experts);
      }
      if (is_ample && input.moves_max > 0) input.moves_max = 0;
    }
  }
}

TEST(repair_plan, random_clusters_with_ample_memory_are_even_after_deaths_and_joins) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    random_source random{seed};
    const auto below = [&](std::uint64_t n) { return static_cast<std::uint32_t>(random.below(n)); };
    repair_input input = nodes(3 + below(9), 10'000, shape_of(1 + below(8), 4 + below(61)));
    input.copies = 1 + below(2);
    for (std::uint32_t event = 0; event < 6; ++event) {
      settle(input);
      ASSERT_LE(unevenness(input, input.present), input.copies);
      if (input.holders.size() > 3 && below(2) == 0)
        input.holders.erase(input.holders.begin() + below(input.holders.size()));
      else
        input.holders.push_back(on(100 + event, 100 + event, 10'000));
    }
  }
}

TEST(repair_plan, does_not_depend_on_the_order_of_holders) {
  random_source random{5};
  repair_input input = nodes(6, 60, shape_of(4, 20));
  input.copies = 2;
  const repair_plan first = planned(input);
  for (int i = 0; i < 5; ++i) {
    for (std::size_t n = input.holders.size() - 1; n > 0; --n)
      std::swap(input.holders[n], input.holders[random.below(n + 1)]);
    const repair_plan again = planned(input);
    EXPECT_EQ(again.loads, first.loads);
    EXPECT_EQ(again.target, first.target);
  }
}

}  // namespace
}  // namespace atl::cluster
