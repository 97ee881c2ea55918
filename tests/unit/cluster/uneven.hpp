// A cluster whose load is uneven: the first expert of each layer gets as many rows as a test says.
#pragma once

#include "tests/unit/cluster/control_world.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace atl::cluster {

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline constexpr duration_ns report_every = std::chrono::milliseconds{250};

/// Three expert nodes with one copy of each of twelve experts, and room for as many again.
struct uneven {
  explicit uneven(balance_policy policy = balance_policy::off, std::size_t capacity = 12)
      : w{1, 3} {
    w.settings().policy = policy;
    w.start();
    w.add(transport::wire::role_attention, 0);
    for (int i = 0; i < 3; ++i) nodes.push_back(w.add(transport::wire::role_expert, capacity));
    w.settle_all();
  }
  control& mind() { return w.mind(); }
  const plan_record& plan(std::uint64_t id) { return mind().kept().plans.at(id); }
  std::size_t plans() { return mind().kept().plans.size(); }
  wire_map map() { return w.current_map(); }

  /// Each node reports what it would have computed in so long: of each layer `rows` rows a second
  /// to expert 0, and 30 to each other, by equal parts among copies.
  void load(double rows, duration_ns time = std::chrono::seconds{20}) {
    for (duration_ns spent{0}; spent < time; spent += report_every) {
      w.now = w.now + report_every;
      for (const node_id node : nodes) report(node, rows);
      mind().tick(w.now);
      w.carry_out();
      pump();
    }
  }
  void report(node_id node, double rows) {
    fake_agent& a = w.agents.at(node);
    if (!a.is_up) return;
    transport::wire::load_report r;
    r.node = node;
    for (const auto& [expert, group] : map()) {
      if (w.node_of_group.at(group) != node) continue;
      const double mine = expert.second == 0 ? rows : 30;
      const auto n = static_cast<std::uint64_t>(mine / 4 / copies_in_map(expert));
      r.counts.push_back({layer_index{expert.first}, expert.second, n});
    }
    mind().reported({node, a.life}, r, w.now);
    w.carry_out();
  }
  double copies_in_map(const wire_expert& e) {
    const wire_map all = map();
    return static_cast<double>(
        std::count_if(all.begin(), all.end(), [&](const auto& m) { return m.first == e; }));
  }
  /// Everything on its way arrives.
  void pump() {
    for (bool has_moved = true; has_moved;) {
      has_moved = false;
      for (auto& [node, a] : w.agents) {
        while (w.deliver_to(node)) has_moved = true;
        while (w.deliver_from(node)) has_moved = true;
        while (w.finish_calls(node)) has_moved = true;
      }
      if (w.finish_plan()) has_moved = true;
    }
  }
  void settle() {
    w.carry_out();
    w.settle_all();
  }
  std::uint64_t rebalance(bool is_dry_run = false) {
    const auto request = mind().rebalance(is_dry_run, w.now);
    EXPECT_TRUE(request.has_value()) << (request.has_error() ? request.error().message() : "");
    if (request.has_error()) return 0;
    w.carry_out();
    while (!w.plans.empty()) {
      const auto waits = mind().plan_requests().plan_of(*request);
      EXPECT_TRUE(waits.has_value() && !waits->has_value());
      // What it decides is left to the test.
      const plan_effect p = std::exchange(w.plans, {}).front();
      mind().planned(p.job, plan_elastic(*p.input), w.now);
    }
    const auto id = mind().plan_requests().plan_of(*request);
    EXPECT_TRUE(id.has_value() && id->has_value());
    return id.has_value() ? id->value_or(0) : 0;
  }
  std::string refusal(const result<void>& r) {
    EXPECT_TRUE(r.has_error());
    return r.has_error() ? r.error().message() : "";
  }
  control_world w;
  std::vector<node_id> nodes;
};

inline constexpr wire_expert hot{1, 0};
/// Rows a second of a hot expert; the others have 30.
inline constexpr double much = 900;

}  // namespace atl::cluster
