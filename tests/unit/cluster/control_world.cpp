#include "tests/unit/cluster/control_world.hpp"

#include <algorithm>

namespace atl::cluster {

namespace wire = transport::wire;

void control_world::carry_out(std::size_t effects_max) {
  for (effect& e : mind().take_effects()) {
    if (effects_max-- == 0) return;
    carry_out_one(std::move(e));
  }
}

void control_world::carry_out_one(effect e) {
  if (auto* r = std::get_if<record_effect>(&e)) {
    durable.push_back(r->bytes);
    EXPECT_TRUE(apply_record(written_, r->bytes).has_value());
  }
  if (auto* p = std::get_if<plan_effect>(&e)) {
    plans.push_back(std::move(*p));
    EXPECT_EQ(plans.size(), 1U) << "one is made at a time";
  }
  auto* sent = std::get_if<send_effect>(&e);
  if (sent == nullptr) return;
  check(*sent);
  const auto at = agents.find(sent->to.node);
  if (at == agents.end() || !at->second.is_up || at->second.life != sent->to.life) return;
  to_agent[sent->to.node].push_back(std::move(*sent));
}

/// Nothing is said of numbers, nodes and drains that is not on the disk.
void control_world::check_written(const send_effect& e) {
  const marks& m = written_.counters;
  const auto* place = std::get_if<wire::place>(&e.body);
  EXPECT_TRUE(place == nullptr || place->epoch.value <= m.epochs_reserved);
  const auto* load = std::get_if<wire::load>(&e.body);
  EXPECT_TRUE(load == nullptr || load->epoch.value <= m.epochs_reserved);
  if (const auto* a = std::get_if<wire::welcome>(&e.body); a != nullptr && !a->cause) {
    EXPECT_EQ(written_.nodes.count(e.to.node), 1U);
    EXPECT_LE(a->group_first, m.group_next);
  }
  const auto* all = std::get_if<wire::members>(&e.body);
  if (all == nullptr) return;
  for (const auto& serial : all->revoked)
    EXPECT_NE(written_.certificates.at(wire::to_text(serial)).revoked_unix_ms, 0);
  EXPECT_LE(all->version, m.versions_reserved);
  for (const wire::member_info& info : all->list) {
    if (info.state != wire::member_state::draining) continue;
    const bool is_known =
        written_.nodes.at(info.node).is_drained ||
        std::any_of(written_.operations.begin(), written_.operations.end(), [&](const auto& o) {
          return o.second.node == info.node && o.second.state == operation_state::running;
        });
    EXPECT_TRUE(is_known) << "a drain that is not written down";
  }
}

void control_world::check(const send_effect& e) {
  check_written(e);
  if (const auto* m = std::get_if<wire::members>(&e.body)) last_members[e.to.node] = *m;
  if (const auto* p = std::get_if<wire::place>(&e.body)) check_place(e, *p);
  if (const auto* r = std::get_if<wire::release>(&e.body)) check_release(e.to.node, *r);
  if (const auto* l = std::get_if<wire::load>(&e.body)) {
    loads_said += l->experts.size();
    for (const node_id source : l->sources) EXPECT_NE(source, e.to.node);
    EXPECT_TRUE(agents.at(e.to.node).has_weights || !l->sources.empty())
        << "node " << e.to.node.value << " is to fetch what nobody holds";
    const auto v = mind().view(e.to.node, now);
    // What is said again may meet a node that holds more than was known then.
    const bool is_new = orders_said_.insert({e.to, l->epoch, l->layer, l->experts}).second;
    if (is_new && v.has_value() && v->life == e.to.life && v->state != node_state::absent) {
      EXPECT_LE(v->copies.held + v->copies.leaving + v->copies.loading,
                agents.at(e.to.node).capacity)
          << "node " << e.to.node.value << " is given too much";
    }
  }
  if (std::get_if<wire::dismissed>(&e.body) != nullptr) ++dismissals;
}

void control_world::check_place(const send_effect& e, const wire::place& p) {
  wire_map map;
  std::map<std::uint32_t, node_id> nodes;
  for (const wire::group_place& g : p.groups) nodes[g.group.value] = g.node;
  for (const wire::placement_entry& entry : p.entries) {
    ASSERT_TRUE(nodes.count(entry.group.value) > 0) << "an entry of a group without a place";
    map.insert({{entry.layer.value, entry.expert}, entry.group.value});
  }
  last_coming = p.coming;
  for (const wire::expert_name& c : p.coming)
    for (const wire::placement_entry& entry : p.entries)
      EXPECT_FALSE(c == (wire::expert_name{entry.layer, entry.expert})) << "it has a copy";
  const auto known = said_maps.find(p.epoch);
  if (known != said_maps.end()) {
    EXPECT_EQ(known->second, map) << "two placements of epoch " << p.epoch.value;
    return;
  }
  EXPECT_GT(p.epoch, last_epoch) << "an epoch was used twice or went back";
  for (const auto& [expert, group] : map) {
    const fake_agent& a = agents.at(nodes.at(group));
    // A node may have died without being found dead.
    EXPECT_TRUE(!a.is_up || !a.is_welcome || a.held.count(expert) > 0)
        << "epoch " << p.epoch.value << ": layer " << expert.first << " expert " << expert.second
        << " is not at node " << a.node.value;
  }
  // Who had a living copy in use keeps one.
  for (const auto& [expert, group] : last_map) {
    const fake_agent& a = agents.at(node_of_group.at(group));
    const bool lives =
        a.is_up && a.held.count(expert) > 0 && a.known.count(expert) > 0 && mind_knows(a);
    if (!lives || may_go.count(expert) > 0) continue;
    const bool is_there = std::any_of(
        map.begin(), map.end(), [&, ex = expert](const auto& m) { return m.first == ex; });
    EXPECT_TRUE(is_there) << "epoch " << p.epoch.value << " forgets layer " << expert.first
                          << " expert " << expert.second;
  }
  for (const auto& [group, node] : nodes) node_of_group[group] = node;
  said_maps[p.epoch] = map;
  last_map = map;
  last_epoch = p.epoch;
  (void)e;
}

bool control_world::mind_knows(const fake_agent& a) {
  const auto v = mind().view(a.node, now);
  return v.has_value() && v->life == a.life && v->state != node_state::absent &&
         v->state != node_state::removed;
}

/// No router that is a member uses the copies, or will when it hears what was said to it.
void control_world::check_release(node_id to, const wire::release& r) {
  for (const std::uint32_t e : r.experts) {
    const wire_expert expert{r.layer.value, e};
    const auto use = std::make_pair(expert, r.group.value);
    for (auto& [node, a] : agents) {
      if ((a.roles & wire::role_attention) == 0 || !a.is_up || !mind_knows(a)) continue;
      EXPECT_EQ(last_map.count(use), 0U) << "a copy in the map is released";
      for (const auto& [version, map] : a.maps)
        EXPECT_EQ(map.count(use), 0U)
            << "node " << node.value << " still uses epoch " << version.value << " with layer "
            << expert.first << " expert " << e << " at node " << to.value;
      for (const send_effect& coming : to_agent[node]) {
        const auto* p = std::get_if<wire::place>(&coming.body);
        EXPECT_TRUE(p == nullptr || said_maps.at(p->epoch).count(use) == 0)
            << "a placement on its way has it";
      }
    }
  }
}

void control_world::load(fake_agent& a, const wire::load& order) {
  wire::placed answer;
  answer.epoch = order.epoch;
  answer.node = a.node;
  answer.group = order.group;
  answer.layer = order.layer;
  for (const std::uint32_t e : order.experts) {
    const wire_expert expert{order.layer.value, e};
    if (a.fails.count(expert) > 0) {
      answer.cause = wire::failure{errc::io, "bad disk"};
      continue;
    }
    // An order that the coordinator gave up may have been carried out late.
    if (a.held.count(expert) == 0 && a.held.size() >= a.capacity) {
      answer.cause = wire::failure{errc::out_of_memory, "full"};
      continue;
    }
    const std::uint64_t check = right_check + (a.differs.count(expert) > 0 ? 1 : 0);
    a.held[expert] = check;
    answer.held.push_back({check, order.layer, e});
  }
  say(a.node, answer);
}

void control_world::take(fake_agent& a, const send_effect& e) {
  if (const auto* m = std::get_if<wire::welcome>(&e.body)) {
    a.is_welcome = !m->cause;
    a.refusal = m->cause ? m->cause->text : "";
    a.group_first = m->group_first;
  }
  if (const auto* m = std::get_if<wire::load>(&e.body)) load(a, *m);
  if (const auto* m = std::get_if<wire::release>(&e.body)) {
    for (const std::uint32_t expert : m->experts) a.held.erase({m->layer.value, expert});
  }
  if (const auto* m = std::get_if<wire::place>(&e.body)) {
    // Calls of the epoch before may be under way for a while: finish_calls() ends them.
    if (a.maps.empty() || a.maps.rbegin()->first < m->epoch)
      a.maps[m->epoch] = said_maps.at(m->epoch);
    say(a.node, wire::adopted{a.maps.rbegin()->first, a.maps.begin()->first});
  }
  const auto* m = std::get_if<wire::dismissed>(&e.body);
  if (m == nullptr || m->life != a.life) return;
  if (!m->cause) {
    a.is_dismissed = true;
    return kill(a.node);
  }
  if (m->cause->code == errc::stale_epoch) begin_life(a.node);
}

bool control_world::finish_calls(node_id node) {
  fake_agent& a = agents.at(node);
  if (a.maps.size() < 2) return false;
  a.maps.erase(a.maps.begin());
  say(node, wire::adopted{a.maps.rbegin()->first, a.maps.begin()->first});
  return true;
}

bool control_world::deliver_to(node_id node) {
  fake_agent& a = agents.at(node);
  auto& queue = to_agent[node];
  if (!a.is_up || !a.hears || queue.empty()) return false;
  const send_effect e = std::move(queue.front());
  queue.pop_front();
  take(a, e);
  return true;
}

bool control_world::deliver_from(node_id node, std::size_t effects_max) {
  if (!let_say(node)) return false;
  carry_out(effects_max);
  return true;
}

bool control_world::finish_plan(std::size_t effects_max) {
  if (plans.empty()) return false;
  const plan_effect p = std::move(plans.front());
  plans.pop_front();
  mind().planned(p.job, plan_elastic(*p.input), now);
  carry_out(effects_max);
  return true;
}

bool control_world::let_say(node_id node) {
  fake_agent& a = agents.at(node);
  auto& queue = from_agent[node];
  if (!a.hears || queue.empty()) return false;
  const to_control m = std::move(queue.front());
  queue.pop_front();
  const transport::node_identity from{node, a.life};
  std::vector<wire::checked_expert> held;
  if (const auto* j = std::get_if<wire::join>(&m)) held = j->held;
  if (const auto* p = std::get_if<wire::placed>(&m)) held = p->held;
  for (const auto& e : held) a.known.insert({e.layer.value, e.expert});
  if (const auto* j = std::get_if<wire::join>(&m)) mind().joined(from, *j, now);
  if (const auto* p = std::get_if<wire::placed>(&m)) mind().placed(from, *p, now);
  if (const auto* p = std::get_if<wire::adopted>(&m)) mind().adopted(from, *p, now);
  if (const auto* r = std::get_if<wire::load_report>(&m)) mind().reported(from, *r, now);
  if (const auto* l = std::get_if<wire::leave>(&m)) mind().leaving(from, *l, now);
  return true;
}

/// The coordinator's process dies and comes again: what was not durable is forgotten, what was on
/// its way to it is lost, and of what was on its way from it the first `kept` messages arrive.
void control_world::crash(std::size_t kept) {
  for (auto& [node, queue] : to_agent) {
    while (queue.size() > kept) queue.pop_back();
    while (deliver_to(node)) {
    }
    from_agent[node].clear();
  }
  start();
  for (auto& [node, a] : agents) a.known.clear();
  mind().tick(now);
  carry_out();
  for (auto& [node, a] : agents) {
    to_agent[node].clear();
    from_agent[node].clear();
    if (a.is_up) say_join(node);
  }
}

/// Delivers everything and lets time pass until nothing happens any more.
void control_world::settle_all(int rounds) {
  for (int quiet = 0; rounds > 0 && quiet < 3; --rounds) {
    bool moved = false;
    for (auto& [node, a] : agents) {
      while (deliver_to(node)) moved = true;
      while (deliver_from(node)) moved = true;
      while (finish_calls(node)) moved = true;
    }
    if (finish_plan()) moved = true;
    if (moved) continue;
    const auto due = mind().next_due();
    now = now + std::chrono::milliseconds{500};
    find_all_dead();
    for (auto& [node, a] : agents) {
      if (a.is_up && a.is_welcome) report(node);
      if (a.is_up && !a.is_welcome) say_join(node);
    }
    mind().tick(now);
    carry_out();
    if (!due || *due > now + std::chrono::minutes{1}) ++quiet;
  }
  EXPECT_GT(rounds, 0) << "it does not come to rest";
}

std::size_t control_world::live_copies(const wire_expert& e) const {
  std::set<node_id> nodes;
  for (const auto& [expert, group] : last_map) {
    const fake_agent& a = agents.at(node_of_group.at(group));
    if (expert == e && a.is_up && a.held.count(e) > 0) nodes.insert(a.node);
  }
  return nodes.size();
}

}  // namespace atl::cluster
