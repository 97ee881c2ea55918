#include "tests/sim/operations.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <utility>

namespace atl::sim {
namespace {

namespace wire = transport::wire;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr duration_ns drain_within = seconds{60};
// A node that leaves waits so long for its requests, and then for the coordinator.
constexpr duration_ns requests_within = seconds{20};
constexpr duration_ns leave_within = seconds{8};
constexpr duration_ns leave_slack = seconds{5};
constexpr duration_ns look_every = milliseconds{200};
constexpr duration_ns plan_look_every = milliseconds{1};
constexpr duration_ns away_least = milliseconds{300};

}  // namespace

operations::operations(cluster_world& in, overseer& watch, supervisor by)
    : in_{in}, watch_{watch}, by_{std::move(by)} {}

void operations::tell(std::function<void(cluster::control&, time_point_ns)> what) {
  if (!in_.is_up(coordinator())) return;
  caf::anon_send(in_.at(coordinator())->all->coordinator,
                 std::make_shared<actors::control_call>(actors::control_call{std::move(what), {}}));
}

void operations::drain(node_id node) {
  out_of_use_.insert(node);
  tell([node](cluster::control& c, time_point_ns now) {
    (void)c.drain(node, drain_within, false, now);
  });
}

void operations::cordon(node_id node) {
  out_of_use_.insert(node);
  tell([node](cluster::control& c, time_point_ns now) { (void)c.cordon(node, now); });
}

void operations::undo() {
  for (const node_id node : out_of_use_)
    tell([node](cluster::control& c, time_point_ns now) {
      (void)c.cancel_drain(node, now);
      (void)c.uncordon(node, now);
    });
}

void operations::rebalance(double way, duration_ns lasts) {
  const bool looks_first = way < 0.3;
  const bool takes_back = way > 0.6;
  tell([this, looks_first, takes_back, lasts](cluster::control& c, time_point_ns now) {
    const auto request = c.rebalance(looks_first, now);
    if (request.has_error() || (!looks_first && !takes_back)) return;
    // Half way: a copy is there a few milliseconds after it was ordered.
    go_on_with_plan(*request, takes_back, takes_back ? lasts / 500 : lasts);
  });
}

/// Once it is there: takes it back, or applies it, after a while. A coordinator that was started
/// anew meanwhile knows nothing of it.
void operations::go_on_with_plan(std::uint64_t request, bool takes_back, duration_ns wait) {
  in_.after(plan_look_every, [this, request, takes_back, wait] {
    tell([this, request, takes_back, wait](cluster::control& c, time_point_ns) {
      const auto plan = c.plan_requests().plan_of(request);
      if (plan.has_error()) return;
      if (!plan->has_value()) return go_on_with_plan(request, takes_back, wait);
      in_.after(wait, [this, takes_back, id = **plan] {
        tell([takes_back, id](cluster::control& at, time_point_ns then) {
          (void)(takes_back ? at.cancel_plan(id, then) : at.apply_plan(id, then));
        });
      });
    });
  });
}

void operations::leave(node_id node, duration_ns away) {
  if (!in_.is_up(node)) return;
  life& l = *in_.at(node);
  if (l.is_frozen || std::exchange(l.is_leaving, true)) return;
  if (node == coordinator()) {
    watch_.touched(node);
    by_.end(node);
    return by_.start_later(node, away);
  }
  wait_for_requests(l, in_.now() + requests_within, away);
}

void operations::wait_for_requests(life& of, time_point_ns until, duration_ns away) {
  if (of.is_dead) return;
  const bool has_requests =
      of.all->desk != nullptr && of.all->desk->now().running + of.all->desk->now().waiting > 0;
  if (!has_requests || in_.now() >= until) return ask_to_go(of, away);
  in_.after(milliseconds{50}, [this, &of, until, away] { wait_for_requests(of, until, away); });
}

/// As node::leave() does; what it sent may be lost, then it goes all the same.
void operations::ask_to_go(life& of, duration_ns away) {
  const node_id node = of.who.node;
  // It may be let go at any moment from now on.
  watch_.touched(node);
  for (duration_ns t{seconds{1}}; t <= leave_within + leave_slack; t += seconds{1})
    in_.after(t, [this, &of, node] {
      if (!of.is_dead) watch_.touched(node);
    });
  const auto ms = std::chrono::duration_cast<milliseconds>(leave_within).count();
  (void)of.all->mail->send(actors::agent_slot,
                           {coordinator(), actors::coordinator_slot},
                           wire::leave{static_cast<std::uint64_t>(ms)});
  in_.after(leave_within + leave_slack, [this, &of, node, away] {
    if (of.is_dead || of.is_frozen) return;
    watch_.touched(node);
    by_.end(node);
    by_.start_later(node, away);
  });
}

void operations::upgrade(time_point_ns until) {
  rolling r;
  r.until = until;
  r.id = ++upgrades_;
  const auto add = [&](bool is_coordinator) {
    for (const auto& n : in_.plan().nodes) {
      if ((n.id == coordinator()) != is_coordinator) continue;
      r.nodes.push_back(n.id);
      in_.set_version(n.id, "2");
    }
  };
  add(false);
  add(true);
  upgrade_ = std::move(r);
  go_on(upgrades_);
}

/// Looks, and looks again: whoever is next goes once nothing is missing any more.
void operations::go_on(std::uint64_t id) {
  if (!upgrade_ || upgrade_->id != id || upgrade_->next == upgrade_->nodes.size()) return;
  if (in_.now() >= upgrade_->until) return upgrade_.reset();
  in_.after(look_every, [this, id] { go_on(id); });
  tell([this, id](cluster::control& c, time_point_ns now) {
    if (!upgrade_ || upgrade_->id != id || !is_at_rest(c.view(now))) return;
    rolling& r = *upgrade_;
    const node_id node = r.nodes[r.next];
    if (r.is_away && in_.at(node)->who.life > r.before) {
      r.is_away = false;
      ++upgraded_;
      ++r.next;
      return;
    }
    if (std::exchange(r.is_away, true)) return;
    r.before = in_.at(node)->who.life;
    // Not from within an actor's turn: the coordinator's node may be the one that ends.
    in_.after(milliseconds{1}, [this, node] { leave(node, away_least); });
  });
}

/// Every node is here and used, and every expert has its copies.
bool operations::is_at_rest(const cluster::cluster_view& view) const {
  const auto& p = view.placement;
  if (p.copies_least < in_.plan().copies || p.loads_left > 0 || p.loads_open > 0) return false;
  return std::all_of(in_.plan().nodes.begin(), in_.plan().nodes.end(), [&](const node_plan& n) {
    return std::any_of(view.nodes.begin(), view.nodes.end(), [&](const cluster::node_view& v) {
      return v.node == n.id && v.state == cluster::node_state::alive && in_.is_up(n.id) &&
             v.life == in_.at(n.id)->who.life && (v.shards == 0 || v.used == p.epoch);
    });
  });
}

}  // namespace atl::sim
