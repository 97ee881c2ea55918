#include "tests/sim/striker.hpp"

#include <caf/send.hpp>

#include <array>
#include <utility>

namespace atl::sim {
namespace {

namespace wire = transport::wire;
using std::chrono::milliseconds;
using transport::plane;

constexpr std::array both{plane::data, plane::control};
// A node that begins a new life, as a supervisor would start it.
constexpr std::int64_t start_least_ms = 100, start_most_ms = 600;

}  // namespace

striker::striker(cluster_world& in, overseer& watch, verdicts& found)
    : in_{in}, watch_{watch}, found_{found}, random_{in.random().split()} {}

void striker::strike(const fault& f) {
  if (is_healed_) return;
  ++struck_;
  touch(f);
  switch (f.kind) {
  case fault_kind::kill:
  case fault_kind::kill_silently:
    if (!in_.is_up(f.node)) return;
    watch_.lost(f.node, f.kind == fault_kind::kill);
    die(f.node, f.kind == fault_kind::kill);
    return start_later(f.node, f.lasts);
  case fault_kind::coordinator_crash:
    crash_coordinator(f.amount < 0.5, random_.below(2) == 0);
    return start_later(coordinator(), f.lasts);
  case fault_kind::crash_in_placement: return arm_crash(f);
  case fault_kind::freeze: return freeze(f);
  case fault_kind::cut:
  case fault_kind::cut_one_way:
  case fault_kind::cut_data:
  case fault_kind::cut_control: return cut(f);
  case fault_kind::reset:
    for (const auto& n : in_.plan().nodes)
      for (const plane path : both)
        if (n.id != f.node) in_.wires().reset(f.node, n.id, path);
    return;
  case fault_kind::delay:
  case fault_kind::reorder:
  case fault_kind::duplicate:
  case fault_kind::corrupt:
    spoil_wires(f, false);
    return in_.after(f.lasts, [this, &f] { spoil_wires(f, true); });
  case fault_kind::slow:
    in_.slow_down(f.node, f.amount);
    return in_.after(f.lasts, [this, &f] { in_.slow_down(f.node, 1); });
  case fault_kind::disk: return fail_disk(f);
  case fault_kind::hang_up: clients_->hang_up_one(); return;
  }
}

/// What is thought of these nodes may be wrong from now until a while after the fault is over.
void striker::touch(const fault& f) {
  const bool is_harmless = f.kind == fault_kind::delay || f.kind == fault_kind::reorder ||
                           f.kind == fault_kind::duplicate || f.kind == fault_kind::slow ||
                           f.kind == fault_kind::hang_up || f.kind == fault_kind::corrupt;
  if (f.kind == fault_kind::delay || f.kind == fault_kind::corrupt) watch_.blur();
  if (is_harmless && f.kind != fault_kind::corrupt) return;
  watch_.touched(f.node);
  // Once more every second while it lasts.
  for (duration_ns t{0}; t <= f.lasts + milliseconds{1000}; t += milliseconds{1000})
    in_.after(std::min(t, f.lasts), [this, node = f.node] { watch_.touched(node); });
}

void striker::die(node_id node, bool is_told) {
  life& l = *in_.at(node);
  if (l.is_dead) return;
  in_.kill(node, is_told);
  if (clients_ != nullptr) clients_->gateway_died(l);
}

void striker::start_later(node_id node, duration_ns wait) {
  in_.after(wait, [this, node] { start(node); });
}

void striker::start(node_id node) {
  if (in_.is_up(node)) return;
  watch_.touched(node);
  const auto started = in_.start(node);
  if (!started.has_error()) {
    watch_.back(node);
    return;
  }
  if (started.error().code() != errc::io || is_healed_)
    return found_.fail(
        "I10", "a node does not start again: " + started.error().message(), in_.now());
  start_later(node, milliseconds{500});
}

void striker::ended(life& of, const std::optional<error>& why) {
  const node_id node = of.who.node;
  if (why && why->code() != errc::stale_epoch)
    return found_.fail("I10",
                       "node " + std::to_string(node.value) + " was turned away: " + why->message(),
                       in_.now());
  watch_.touched(node);
  const incarnation which = of.who.life;
  in_.after(milliseconds{1}, [this, node, which] {
    if (in_.at(node)->who.life == which) die(node, true);
  });
  const auto spread = static_cast<std::uint64_t>(start_most_ms - start_least_ms);
  start_later(node,
              milliseconds{start_least_ms + static_cast<std::int64_t>(random_.below(spread))});
}

// ---- the coordinator ----

void striker::crash_coordinator(bool is_told, bool loses_power) {
  if (!in_.is_up(coordinator())) return;
  die(coordinator(), is_told);
  if (loses_power) in_.lose_power();
}

/// Begins a change of the placement, by draining a node, and lets the coordinator die in it.
void striker::arm_crash(const fault& f) {
  using kind = transport::frame_kind;
  constexpr std::array kinds{kind::load, kind::place, kind::release, kind::members};
  trap_ = trap{kinds[random_.below(kinds.size())], random_.below(4), random_.below(2) == 0};
  std::vector<node_id> experts;
  for (const auto& n : in_.plan().nodes)
    if ((n.roles & wire::role_expert) != 0) experts.push_back(n.id);
  const node_id drained = experts[random_.below(experts.size())];
  if (!in_.is_up(coordinator())) return;
  drained_.insert(drained);
  caf::anon_send(in_.at(coordinator())->all->coordinator,
                 std::make_shared<actors::control_call>(actors::control_call{
                     [drained](cluster::control& c, time_point_ns now) {
                       (void)c.drain(drained, std::chrono::seconds{60}, false, now);
                     },
                     {}}));
  in_.after(f.lasts, [this] {
    trap_.reset();
    start(coordinator());
    undo_drains();
  });
}

bool striker::passes(transport::node_identity from, const transport::frame& f) {
  if (!trap_ || from.node != coordinator() || f.header.kind != trap_->kind) return true;
  if (trap_->passes > 0) {
    --trap_->passes;
    return true;
  }
  const bool is_sent = trap_->is_sent;
  trap_.reset();
  watch_.touched(coordinator());
  crash_coordinator(random_.below(2) == 0, random_.below(2) == 0);
  return is_sent;
}

void striker::undo_drains() {
  if (drained_.empty() || !in_.is_up(coordinator())) return;
  for (const node_id node : drained_)
    caf::anon_send(in_.at(coordinator())->all->coordinator,
                   std::make_shared<actors::control_call>(
                       actors::control_call{[node](cluster::control& c, time_point_ns now) {
                                              (void)c.cancel_drain(node, now);
                                              (void)c.uncordon(node, now);
                                            },
                                            {}}));
}

void striker::fail_disk(const fault& f) {
  const double chance = f.amount < 0.5 ? 1.0 : f.amount;
  in_.disk().set_fault([this, chance](test::disk_operation what, const std::string&) {
    return what != test::disk_operation::read && random_.unit() < chance;
  });
  in_.after(f.lasts, [this] { in_.disk().set_fault({}); });
}

// ---- nodes and wires ----

void striker::freeze(const fault& f) {
  if (!in_.is_up(f.node)) return;
  watch_.lost(f.node, false);
  in_.freeze(f.node);
  const incarnation which = in_.at(f.node)->who.life;
  in_.after(f.lasts, [this, node = f.node, which] {
    if (in_.at(node)->who.life != which) return;
    watch_.back(node);
    watch_.touched(node);
    in_.thaw(node);
  });
}

void striker::set_cut(node_id from, node_id to, plane path, bool is_cut, bool is_reset) {
  if (is_cut)
    in_.wires().cut(from, to, path);
  else
    in_.wires().join(from, to, path, is_reset);
}

void striker::cut(const fault& f) {
  const bool goes_out = f.kind != fault_kind::cut_one_way || f.amount < 0.5;
  const bool comes_in = f.kind != fault_kind::cut_one_way || f.amount >= 0.5;
  const bool is_reset = random_.below(2) == 0;
  watch_.blur();
  const auto change = [this, f, goes_out, comes_in, is_reset](bool is_cut) {
    for (const auto& n : in_.plan().nodes) {
      if (n.id == f.node) continue;
      if (f.kind == fault_kind::cut_data && n.id != f.other) continue;
      if (f.kind == fault_kind::cut_control && n.id != coordinator()) continue;
      for (const plane path : both) {
        if (f.kind == fault_kind::cut_data && path != plane::data) continue;
        if (f.kind == fault_kind::cut_control && path != plane::control) continue;
        if (goes_out) set_cut(f.node, n.id, path, is_cut, is_reset);
        if (comes_in) set_cut(n.id, f.node, path, is_cut, is_reset);
      }
    }
  };
  change(true);
  in_.after(f.lasts, [this, change] {
    watch_.blur();
    change(false);
  });
}

void striker::spoil_wires(const fault& f, bool is_over) {
  const double amount = is_over || is_healed_ ? 0 : f.amount;
  const duration_ns delay{static_cast<std::int64_t>(amount * 1e9)};
  switch (f.kind) {
  case fault_kind::delay: data_.delay_max = control_.delay_max = delay; break;
  case fault_kind::reorder: data_.reorder = amount; break;
  case fault_kind::duplicate: data_.duplicate = control_.duplicate = amount; break;
  case fault_kind::corrupt:
    data_.corrupt = amount;
    corrupted_.reset();
    if (amount > 0) corrupted_ = f.node;
    break;
  default: break;
  }
  watch_.blur();
  apply_wires();
}

void striker::apply_wires() {
  for (const auto& a : in_.plan().nodes) {
    for (const auto& b : in_.plan().nodes) {
      if (a.id == b.id) continue;
      in_.wires().set_faults(a.id, b.id, plane::data, data_);
      wire_faults control = control_;
      const bool is_spoilt = corrupted_ && (a.id == *corrupted_ || b.id == *corrupted_);
      if (is_spoilt) control.corrupt = data_.corrupt;
      in_.wires().set_faults(a.id, b.id, plane::control, control);
    }
  }
}

void striker::heal() {
  is_healed_ = true;
  trap_.reset();
  data_ = control_ = {};
  corrupted_.reset();
  apply_wires();
  in_.disk().set_fault({});
  for (const auto& a : in_.plan().nodes) {
    watch_.touched(a.id);
    if (in_.is_up(a.id)) {
      in_.thaw(a.id);
      in_.slow_down(a.id, 1);
    }
    for (const auto& b : in_.plan().nodes)
      for (const plane path : both)
        if (a.id != b.id) in_.wires().join(a.id, b.id, path, random_.below(2) == 0);
  }
  for (const auto& n : in_.plan().nodes) start(n.id);
  undo_drains();
}

}  // namespace atl::sim
