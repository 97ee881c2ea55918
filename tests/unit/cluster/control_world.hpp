// A coordinator's mind among agents that the test plays: they hold experts, use placements, answer,
// fail, die and come back. Messages wait in queues until the test delivers them, one queue for each
// node and direction. Every placement and every release is checked when the coordinator says it.
#pragma once

#include "cluster/control.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace atl::cluster {

using wire_expert = std::pair<std::uint32_t, std::uint32_t>;  // layer, expert

/// What a node's routers may still use: the maps of epochs from the oldest call on.
using wire_map = std::set<std::pair<wire_expert, std::uint32_t>>;  // expert, group

struct fake_agent {
  node_id node;
  incarnation life;
  std::uint32_t roles = 0;
  std::size_t capacity = 0;  // experts
  bool has_weights = true;   // of its own: otherwise it is never told to load without a source
  bool is_up = true;
  bool hears = true;  // of a frozen node: nothing is delivered to it, it says nothing
  bool is_welcome = false;
  bool is_dismissed = false;  // was told to go, without a cause
  std::uint32_t group_first = 0;
  std::map<wire_expert, std::uint64_t> held;
  std::set<wire_expert> known;     // of those, the coordinator was told
  std::map<epoch, wire_map> maps;  // in use: the last is the current one
  std::set<wire_expert> fails;     // loads of these fail
  std::set<wire_expert> differs;   // their check differs from everybody's
  std::uint64_t sequences = 0;
  std::string refusal;
};

class control_world {
public:
  using to_control = std::variant<transport::wire::join,
                                  transport::wire::placed,
                                  transport::wire::adopted,
                                  transport::wire::load_report,
                                  transport::wire::leave>;

  static constexpr std::size_t expert_bytes = 10;
  static constexpr std::uint64_t right_check = 77;

  explicit control_world(std::uint32_t copies = 2, std::uint32_t nodes_min = 1) {
    settings_.cluster = "c1";
    settings_.model.shape = {.layers = {layer_index{1}, layer_index{2}}, .experts = 6};
    settings_.model.expert_bytes = expert_bytes;
    settings_.copies = copies;
    settings_.expert_nodes_min = nodes_min;
    settings_.settle = std::chrono::seconds{2};
    settings_.load_patience = std::chrono::seconds{20};
    settings_.unix_ms = [this] { return 1'000'000 + now.value / 1'000'000; };
    start();
  }

  control_settings& settings() { return settings_; }
  control& mind() { return *control_; }
  std::size_t experts() const { return 12; }

  /// A coordinator with what is durable.
  void start() {
    durable_state state;
    for (const std::string& r : durable) ASSERT_TRUE(apply_record(state, r).has_value());
    control_ = std::make_unique<control>(settings_, state, now);
    plans.clear();
  }

  node_id add(std::uint32_t roles, std::size_t capacity) {
    const auto node = mind().admit("n", roles);
    carry_out();
    fake_agent a;
    a.node = *node;
    a.roles = roles;
    a.capacity = capacity;
    agents[*node] = a;
    begin_life(*node);
    return *node;
  }

  void begin_life(node_id node) {
    fake_agent& a = agents.at(node);
    if (a.life != incarnation{}) ended.push_back({node, a.life});
    a.life = incarnation{++last_life_};
    a.is_up = a.hears = true;
    a.is_welcome = a.is_dismissed = false;
    a.held.clear();
    a.known.clear();
    a.maps.clear();
    a.sequences = 0;
    to_agent[node].clear();
    from_agent[node].clear();
    say_join(node);
  }

  transport::wire::join join_of(const fake_agent& a) const {
    transport::wire::join j;
    j.roles = a.roles;
    j.name = "n" + std::to_string(a.node.value);
    j.model = a.has_weights ? "m" : "";
    j.numeric_class = "x";
    j.expert_bytes = a.capacity * expert_bytes;
    j.groups = (a.roles & transport::wire::role_expert) != 0 ? 1 : 0;
    j.shards = (a.roles & transport::wire::role_attention) != 0 ? 1 : 0;
    j.tls = "host:" + std::to_string(a.node.value);
    if (!a.maps.empty()) j.epoch = a.maps.rbegin()->first;
    for (const auto& [e, check] : a.held) j.held.push_back({check, layer_index{e.first}, e.second});
    return j;
  }

  void say(node_id node, to_control m) {
    if (agents.at(node).is_up) from_agent[node].push_back(std::move(m));
  }

  void say_join(node_id node) { say(node, join_of(agents.at(node))); }

  void report(node_id node) {
    transport::wire::load_report r;
    r.node = node;
    r.sequences = agents.at(node).sequences;
    say(node, r);
  }

  /// The process ends. The coordinator does not know yet.
  void kill(node_id node) {
    agents.at(node).is_up = false;
    agents.at(node).held.clear();
    agents.at(node).maps.clear();
    to_agent[node].clear();
    from_agent[node].clear();
  }

  /// The detector finds that life dead.
  void find_dead(node_id node) { find_dead({node, agents.at(node).life}); }
  void find_dead(transport::node_identity who) {
    mind().peer_changed(who, transport::plane::control, member_state::dead, "silent", now);
    carry_out();
  }
  void find_all_dead() {
    for (const auto& who : std::exchange(ended, {})) find_dead(who);
  }

  bool deliver_to(node_id node);
  bool deliver_from(node_id node, std::size_t effects_max = ~std::size_t{0});
  /// Calls of the oldest epoch that the node's routers use have ended.
  bool finish_calls(node_id node);
  /// Hands the coordinator the node's next message, and leaves what it decides to the test.
  bool let_say(node_id node);
  /// Makes the plan that was asked for, of what it was asked with, and hands it over.
  bool finish_plan(std::size_t effects_max = ~std::size_t{0});
  void carry_out_one(effect e);
  void carry_out(std::size_t effects_max = ~std::size_t{0});
  void crash(std::size_t kept);
  void settle_all(int rounds = 4000);
  std::size_t live_copies(const wire_expert& e) const;
  wire_map current_map() const { return last_map; }

  time_point_ns now{1'000'000'000};
  std::map<node_id, fake_agent> agents;
  std::map<node_id, std::deque<send_effect>> to_agent;
  std::map<node_id, std::deque<to_control>> from_agent;
  std::deque<plan_effect> plans;  // being made
  std::vector<std::string> durable;
  std::vector<transport::node_identity> ended;  // lives that nobody has found dead
  std::map<epoch, wire_map> said_maps;          // ever
  std::map<std::uint32_t, node_id> node_of_group;
  wire_map last_map;
  std::vector<transport::wire::expert_name> last_coming;
  epoch last_epoch;
  std::set<wire_expert> may_go;                              // their last copy may leave the map
  std::map<node_id, transport::wire::members> last_members;  // said to each node
  std::size_t loads_said = 0;
  std::size_t dismissals = 0;

private:
  bool mind_knows(const fake_agent& a);
  void check(const send_effect& e);
  void check_written(const send_effect& e);
  void check_place(const send_effect& e, const transport::wire::place& p);
  void check_release(node_id to, const transport::wire::release& r);
  void take(fake_agent& a, const send_effect& e);
  void load(fake_agent& a, const transport::wire::load& order);

  std::set<std::tuple<transport::node_identity, epoch, layer_index, std::vector<std::uint32_t>>>
      orders_said_;
  durable_state written_;
  control_settings settings_;
  std::unique_ptr<control> control_;
  std::uint64_t last_life_ = 100;
};

}  // namespace atl::cluster
