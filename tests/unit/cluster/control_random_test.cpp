#include "runtime/base/random.hpp"
#include "tests/unit/cluster/control_world.hpp"

#include <algorithm>
#include <iostream>

namespace atl::cluster {
namespace {

namespace wire = transport::wire;

/// A cluster to which the seed does things: most of what can go wrong, at any moment.
class trial {
public:
  explicit trial(std::uint64_t seed) : random_{seed} {
    world_.settings().moves_max = random_.below(2) == 0 ? 0 : 3;
    world_.settings().policy = static_cast<balance_policy>(random_.below(3));
    world_.settings().expert_nodes_min = 1 + static_cast<std::uint32_t>(random_.below(3));
    world_.start();
    for (int i = 0; i < 2; ++i) world_.add(wire::role_attention | wire::role_gateway, 0);
    for (int i = 0; i < 3; ++i) add_expert_node();
  }

  void run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFailure(); ++i) step();
  }

  /// No more faults: whoever is down comes back, and everything must come to rest.
  void heal() {
    for (auto& [node, a] : world_.agents) {
      a.fails.clear();
      a.sequences = 0;
      if (a.is_dismissed) continue;
      if (!a.hears) a.hears = true;
      if (!a.is_up) {
        world_.begin_life(node);
      } else {
        world_.say_join(node);
        world_.mind().peer_changed(
            {node, a.life}, transport::plane::control, member_state::alive, "", world_.now);
      }
    }
    const auto before = world_.mind().view(world_.now);
    for (const auto& o : before.operations)
      if (o.change) (void)world_.mind().cancel(o.id, world_.now);
    const auto plans = world_.mind().kept().plans;
    for (const auto& [id, p] : plans) (void)world_.mind().cancel_plan(id, world_.now);
    world_.carry_out();
    world_.add(wire::role_attention, 0);
    world_.settle_all();
    // Bars on failed loads end within a minute.
    world_.now = world_.now + std::chrono::minutes{2};
    world_.mind().tick(world_.now);
    world_.carry_out();
    world_.settle_all();
    const auto v = world_.mind().view(world_.now);
    for (const auto& n : v.nodes) {
      EXPECT_NE(n.state, node_state::draining) << "a drain of node " << n.node.value << " hangs";
    }
    check_copies(v);
    if (!::testing::Test::HasFailure()) return;
    for (const auto& n : v.nodes) {
      std::cerr << "node " << n.node.value << " roles " << n.roles << " " << to_string(n.state)
                << " held " << n.copies.held << " mapped " << n.copies.mapped << " leaving "
                << n.copies.leaving << " of " << n.expert_bytes_max / control_world::expert_bytes
                << " uses epoch " << n.used.value << "; " << world_.agents.at(n.node).refusal
                << "\n";
    }
    std::cerr << "epoch " << v.placement.epoch.value << " loads left " << v.placement.loads_left
              << " open " << v.placement.loads_open << " " << v.waiting_for << "\n";
    for (const auto& e : world_.mind().events_since(0))
      std::cerr << e.revision << " " << e.text << "\n";
  }

private:
  void add_expert_node() { world_.add(wire::role_expert, 8 + random_.below(8)); }

  node_id any() {
    auto at = world_.agents.begin();
    std::advance(at, static_cast<std::ptrdiff_t>(random_.below(world_.agents.size())));
    return at->first;
  }

  /// Where memory allows, every expert has as many copies as wanted and nobody holds more.
  void check_copies(const cluster_view& v) {
    std::size_t nodes = 0, room = 0;
    for (const auto& n : v.nodes) {
      const bool holds = n.state == node_state::alive && (n.roles & wire::role_expert) != 0;
      if (!holds) continue;
      ++nodes;
      room +=
          std::min<std::size_t>(n.expert_bytes_max / control_world::expert_bytes, world_.experts());
    }
    if (nodes == 0) return;
    const auto wanted_of = [&](std::uint32_t layer, std::uint32_t e) {
      const auto asked = world_.mind().expert(layer_index{layer}, expert_index{e});
      return std::min<std::size_t>(asked->copies_wanted, nodes);
    };
    std::size_t all_wanted = 0;
    bool has_pins = false;
    const auto experts = *world_.mind().experts(std::nullopt);
    for (const auto& e : experts) {
      all_wanted += wanted_of(e.layer.value, e.expert.value);
      has_pins = has_pins || !e.pins.empty();
    }
    // Memory that just suffices need not be reachable without moving something twice, or with pins.
    const bool is_ample = room >= all_wanted + 6 + (has_pins ? world_.experts() : 0);
    for (std::uint32_t layer = 1; layer <= 2; ++layer) {
      for (std::uint32_t e = 0; e < 6; ++e) {
        const std::size_t copies = world_.live_copies({layer, e});
        const bool is_enough = room >= world_.experts() && !has_pins;
        const std::size_t least = is_ample ? wanted_of(layer, e) : is_enough ? 1 : 0;
        EXPECT_GE(copies, least) << "layer " << layer << " expert " << e;
      }
    }
    EXPECT_EQ(v.placement.loads_left, 0U);
    for (const auto& [node, a] : world_.agents) {
      std::size_t mapped = 0;
      for (const auto& [expert, group] : world_.current_map())
        mapped += world_.node_of_group.at(group) == node ? 1U : 0U;
      if (!a.is_up || !a.is_welcome || (a.roles & wire::role_expert) == 0) continue;
      EXPECT_EQ(a.held.size(), mapped) << "node " << node.value << " holds what nobody uses";
    }
  }

  void step() {
    const node_id node = any();
    fake_agent& a = world_.agents.at(node);
    switch (random_.below(47)) {
    default: deliver(node); break;
    case 20: pass_time(); break;
    case 21:
      if (random_.below(4) == 0 && a.is_up) world_.kill(node);
      break;
    case 22:
      if (!a.is_up && !a.is_dismissed) world_.find_dead(node);
      if (random_.below(2) == 0) world_.find_all_dead();
      break;
    case 23:
      if (!a.is_up && !a.is_dismissed) world_.begin_life(node);
      break;
    case 24:
      if (a.is_up) world_.say_join(node);
      break;
    case 25:
      if (random_.below(3) == 0) a.hears = !a.hears;
      break;
    case 26:
      if (a.is_up && !a.hears) world_.find_dead(node);
      break;
    case 27: a.fails.insert({1 + random_.below(2), random_.below(6)}); break;
    case 28: a.fails.clear(); break;
    case 29:
      if (random_.below(4) == 0) crash_after(random_.below(6));
      break;
    case 30:
      if (random_.below(3) == 0) drain(node);
      break;
    case 31: (void)world_.mind().cancel_drain(node, world_.now); break;
    case 32: (void)world_.mind().uncordon(node, world_.now); break;
    case 33:
      if (random_.below(3) == 0) (void)world_.mind().cordon(node, world_.now);
      break;
    case 34:
      if (world_.agents.size() < 8) add_expert_node();
      break;
    case 35:
      if (a.is_up && random_.below(6) == 0) world_.say(node, wire::leave{30'000});
      break;
    case 36: world_.finish_calls(node); break;
    case 37:
      if (a.is_up) world_.report(node);
      break;
    case 38: suspect(a); break;
    case 39: ask(node); break;
    case 40: (void)world_.mind().cancel(1 + random_.below(40), world_.now); break;
    case 41:
    case 42: report_rows(node); break;
    case 43: (void)world_.mind().rebalance(random_.below(2) == 0, world_.now); break;
    case 44: plan_by_hand(); break;
    case 45: world_.finish_plan(); break;
    case 46:
      // With what else was on its way before it.
      if (random_.below(4) == 0 && !world_.plans.empty()) {
        world_.finish_plan(random_.below(4));
        world_.crash(random_.below(3));
      }
      break;
    }
    world_.carry_out();
  }

  void deliver(node_id node) {
    if (random_.below(2) == 0)
      world_.deliver_to(node);
    else
      world_.deliver_from(node);
  }

  void pass_time() {
    world_.now = world_.now + std::chrono::milliseconds{random_.below(4000)};
    world_.mind().tick(world_.now);
  }

  void drain(node_id node) {
    (void)world_.mind().drain(
        node, std::chrono::seconds{random_.below(60)}, random_.below(2) == 0, world_.now);
  }

  /// Something by hand for one expert. What the state does not allow is refused.
  void ask(node_id node) {
    control& mind = world_.mind();
    const auto layer = layer_index{1 + static_cast<std::uint32_t>(random_.below(2))};
    const expert_key of{layer, expert_index{static_cast<std::uint32_t>(random_.below(6))}};
    const auto copies = 1 + static_cast<std::uint32_t>(random_.below(3));
    switch (random_.below(5)) {
    case 0: (void)mind.move(of, node, std::nullopt, world_.now); break;
    case 1: (void)mind.replicate(of, copies, world_.now); break;
    case 2: (void)mind.drop(of, node, false, world_.now); break;
    case 3: (void)mind.pin(of, node, world_.now); break;
    default: (void)mind.unpin(of, std::nullopt, world_.now); break;
    }
  }

  /// Rows for some experts of a node, many of them for one.
  void report_rows(node_id node) {
    const fake_agent& a = world_.agents.at(node);
    if (!a.is_up) return;
    wire::load_report r;
    r.node = node;
    for (const auto& [expert, check] : a.held)
      r.counts.push_back({layer_index{expert.first},
                          expert.second,
                          expert.second == 1 ? 2000 + random_.below(2000) : random_.below(300)});
    world_.say(node, r);
  }

  void plan_by_hand() {
    const std::uint64_t id = 1 + random_.below(20);
    if (random_.below(2) == 0)
      (void)world_.mind().apply_plan(id, world_.now);
    else
      (void)world_.mind().cancel_plan(id, world_.now);
    if (random_.below(8) == 0)
      world_.mind().set_policy(static_cast<balance_policy>(random_.below(3)), world_.now);
  }

  void suspect(const fake_agent& a) {
    world_.mind().peer_changed({a.node, a.life},
                               transport::plane::control,
                               random_.below(2) == 0 ? member_state::suspect : member_state::alive,
                               "late",
                               world_.now);
  }

  /// Somebody says something, the coordinator dies when it has carried out so many effects of it.
  void crash_after(std::size_t effects) {
    for (auto& [node, a] : world_.agents) {
      if (world_.deliver_from(node, effects)) break;
    }
    world_.crash(random_.below(3));
  }

  control_world world_;
  random_source random_;
};

TEST(control_random, holds_its_promises_and_comes_to_rest_whatever_happens) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    trial t{seed};
    t.run(600);
    if (!::testing::Test::HasFailure()) t.heal();
    if (::testing::Test::HasFailure()) return;
  }
}

/// One scripted story, crashed at each effect in turn.
TEST(control_random, a_crash_at_any_effect_of_a_placement_change_is_survived) {
  for (std::size_t effects = 0; effects < 60; ++effects) {
    SCOPED_TRACE("crash after " + std::to_string(effects) + " effects");
    control_world w;
    w.add(wire::role_attention, 0);
    std::vector<node_id> nodes;
    for (int i = 0; i < 3; ++i) nodes.push_back(w.add(wire::role_expert, 12));
    w.settle_all();
    ASSERT_TRUE(w.mind().is_ready());
    // One dies; its copies are made anew elsewhere while another joins.
    w.kill(nodes[0]);
    std::size_t left = effects;
    w.mind().peer_changed({nodes[0], w.agents.at(nodes[0]).life},
                          transport::plane::control,
                          member_state::dead,
                          "silent",
                          w.now);
    bool has_crashed = false;
    const auto spend = [&](std::vector<effect> all) {
      for (effect& e : all) {
        if (has_crashed || left-- == 0) has_crashed = true;
        if (has_crashed) return;
        w.carry_out_one(std::move(e));
      }
    };
    spend(w.mind().take_effects());
    w.begin_life(nodes[0]);
    for (int i = 0; i < 200 && !has_crashed; ++i) {
      for (const auto& [node, a] : w.agents) {
        w.deliver_to(node);
        if (has_crashed) break;
        w.let_say(node);
        spend(w.mind().take_effects());
        w.finish_calls(node);
      }
    }
    w.crash(1);
    w.settle_all();
    for (std::uint32_t layer = 1; layer <= 2; ++layer) {
      for (std::uint32_t e = 0; e < 6; ++e) EXPECT_EQ(w.live_copies({layer, e}), 2U);
    }
  }
}

}  // namespace
}  // namespace atl::cluster
