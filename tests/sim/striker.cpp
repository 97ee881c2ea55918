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
    : in_{in},
      watch_{watch},
      found_{found},
      random_{in.random().split()},
      operators_{in,
                 watch,
                 {[this](node_id node) { die(node, true); },
                  [this](node_id node, duration_ns wait) { start_later(node, wait); }}} {
  in_.disk().set_fault(
      [this](test::disk_operation what, const std::string&) { return does_disk_fail(what); });
}

void striker::strike(const fault& f) {
  if (is_healed_) return;
  if (is_restless_ && random_.below(2) == 0) {
    // It strikes while experts move.
    operators_.rebalance(random_.unit(), f.lasts);
    return in_.after(milliseconds{static_cast<std::int64_t>(random_.below(20))},
                     [this, &f] { hit(f); });
  }
  hit(f);
}

void striker::hit(const fault& f) {
  if (is_healed_) return;
  ++struck_;
  ++reached_[std::string{to_string(f.kind)}];
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
  case fault_kind::crash_in_placement: return crash_in_placement(f);
  case fault_kind::crash_in_compaction: return crash_in_compaction(f);
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
  case fault_kind::loss:
  case fault_kind::control_loss:
  case fault_kind::control_delay:
    spoil_wires(f, false);
    return in_.after(f.lasts, [this, &f] { spoil_wires(f, true); });
  case fault_kind::slow:
    in_.slow_down(f.node, f.amount);
    return in_.after(f.lasts, [this, &f] { in_.slow_down(f.node, 1); });
  case fault_kind::memory:
    clients_->expect_want_of_memory();
    in_.starve(f.node, f.amount);
    return in_.after(f.lasts, [this, node = f.node] { in_.starve(node, 0); });
  case fault_kind::clock_jump: return jump_calendar(f);
  case fault_kind::disk: return fail_disk(f);
  case fault_kind::hang_up: clients_->hang_up_one(); return;
  case fault_kind::drain:
    operators_.drain(f.node);
    return in_.after(f.lasts, [this] { operators_.undo(); });
  case fault_kind::cordon:
    operators_.cordon(f.node);
    return in_.after(f.lasts, [this] { operators_.undo(); });
  case fault_kind::leave: return operators_.leave(f.node, f.lasts);
  case fault_kind::upgrade: return operators_.upgrade(in_.now() + f.lasts);
  case fault_kind::rebalance: return operators_.rebalance(f.amount, f.lasts);
  }
}

/// What is thought of these nodes may be wrong from now until a while after the fault is over.
void striker::touch(const fault& f) {
  switch (f.kind) {
  case fault_kind::delay:
  case fault_kind::reorder:
  case fault_kind::duplicate:
  case fault_kind::slow:
  case fault_kind::hang_up:
  case fault_kind::drain:
  case fault_kind::cordon:
  case fault_kind::leave:  // in its own time, and the next likewise
  case fault_kind::upgrade:
  case fault_kind::rebalance:
  case fault_kind::clock_jump: return;  // the overseer sees which connections it prevents
  case fault_kind::corrupt:
  case fault_kind::loss: watch_.blur(); break;
  default: break;
  }
  const bool is_of_all = f.kind == fault_kind::loss || f.kind == fault_kind::control_loss;
  const bool is_late = is_of_all || f.kind == fault_kind::control_delay;
  const auto touched = [this,
                        is_of_all,
                        is_late,
                        node = f.node,
                        other = f.kind == fault_kind::cut_data ? f.other : f.node] {
    if (is_late) watch_.blur();
    watch_.touched(other);
    if (!is_of_all) return watch_.touched(node);
    for (const auto& n : in_.plan().nodes) watch_.touched(n.id);
  };
  touched();
  // Once more every second while it lasts.
  for (duration_ns t{0}; t <= f.lasts + milliseconds{1000}; t += milliseconds{1000})
    in_.after(std::min(t, f.lasts), touched);
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
    // It joins while experts move.
    if (is_restless_ && !is_healed_) operators_.rebalance(0.5, duration_ns{0});
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

void striker::crashed(life& of, const std::string& what) {
  const node_id node = of.who.node;
  if (!what.empty())
    return found_.fail("I12", "node " + std::to_string(node.value) + ": " + what, in_.now());
  ++reached_["crashes for want of memory"];
  watch_.touched(node);
  die(node, true);
  start_later(node, milliseconds{start_most_ms});
}

// ---- the coordinator ----

void striker::crash_coordinator(bool is_told, bool loses_power) {
  if (!in_.is_up(coordinator())) return;
  die(coordinator(), is_told);
  if (loses_power) in_.lose_power();
}

/// Begins a change of the placement, by draining a node, and lets the coordinator die in it.
void striker::crash_in_placement(const fault& f) {
  if (!in_.is_up(coordinator())) return;
  trap_ = trap{placement_step_at(f.step), 0, random_.below(2) == 0, random_.below(2) == 0};
  std::vector<node_id> experts;
  for (const auto& n : in_.plan().nodes)
    if ((n.roles & wire::role_expert) != 0) experts.push_back(n.id);
  operators_.drain(experts[random_.below(experts.size())]);
  in_.after(f.lasts, [this] {
    trap_.reset();
    start(coordinator());
    operators_.undo();
  });
}

void striker::spring_trap() {
  const trap sprung = *std::exchange(trap_, std::nullopt);
  ++reached_["placement: " + to_string(sprung.step)];
  watch_.touched(coordinator());
  crash_coordinator(sprung.is_told, sprung.loses_power);
}

bool striker::passes(transport::node_identity from, const transport::frame& f) {
  using moment = placement_step::moment;
  if (!trap_ || trap_->is_due || trap_->step.when == moment::records ||
      f.header.kind != trap_->step.kind)
    return true;
  const bool is_sent = trap_->step.when == moment::sends;
  if ((from.node == coordinator()) != is_sent || trap_->passes++ < trap_->step.before) return true;
  const bool is_after = trap_->step.is_after;
  if (is_sent || !is_after) {
    spring_trap();
    return is_after;
  }
  // By then it has arrived and was taken.
  trap_->is_due = true;
  in_.after(milliseconds{5}, [this] {
    if (trap_ && trap_->is_due) spring_trap();
  });
  return true;
}

void striker::at_record(bool is_durable) {
  if (!trap_ || trap_->step.when != placement_step::moment::records ||
      trap_->step.is_after != is_durable || trap_->passes++ < trap_->step.before)
    return;
  spring_trap();
}

void striker::crash_in_compaction(const fault& f) {
  if (!in_.is_up(coordinator())) return;
  compaction_.emplace(compaction_step_at(f.step));
  compaction_is_there_ = false;
  in_.compact_journal();
  in_.after(f.lasts, [this] {
    compaction_.reset();
    start(coordinator());
  });
}

void striker::compacted() {
  using way = compaction_step::way;
  ++reached_["compactions"];
  if (!compaction_) return;
  const compaction_step step = compaction_->step();
  const bool is_there = compaction_is_there_ || step.where == compaction_step::place::done;
  compaction_.reset();
  if (!is_there) return;
  ++reached_["compaction: " + to_string(step)];
  if (step.how == way::refuses) return;
  watch_.touched(coordinator());
  crash_coordinator(random_.below(2) == 0, step.how == way::loses_power);
}

/// A few minutes, or hours and days; one way or the other.
void striker::jump_calendar(const fault& f) {
  using std::chrono::hours;
  constexpr std::array far{duration_ns{hours{1}},
                           duration_ns{hours{30}},
                           duration_ns{-hours{1}},
                           duration_ns{-hours{30}}};
  const bool is_near = f.amount < 0.5;
  const auto near = static_cast<std::int64_t>((f.amount * 4 - 1) * 295);
  in_.set_calendar(f.node,
                   is_near ? duration_ns{std::chrono::seconds{near}}
                           : far[static_cast<std::size_t>((f.amount - 0.5) * 8)]);
  in_.after(f.lasts, [this, node = f.node] { in_.set_calendar(node, duration_ns{0}); });
}

void striker::fail_disk(const fault& f) {
  disk_bad_ = f.amount < 0.5 ? 1.0 : f.amount;
  disk_bad_until_ = std::max(disk_bad_until_, in_.now() + f.lasts);
}

bool striker::does_disk_fail(test::disk_operation what) {
  // A process that dies here gets no further, and what it has of the file is gone with it.
  if (in_.is_compacting() && compaction_ && !compaction_is_there_ && compaction_->is_there(what)) {
    compaction_is_there_ = true;
    return true;
  }
  if (what == test::disk_operation::read || in_.now() >= disk_bad_until_) return false;
  return random_.unit() < disk_bad_;
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
  case fault_kind::delay:
    data_.delay_max = control_.delay_max = delay;
    watch_.set_delay(delay);
    return apply_wires();
  case fault_kind::reorder: data_.reorder = amount; break;
  case fault_kind::duplicate: data_.duplicate = control_.duplicate = amount; break;
  case fault_kind::loss: data_.loss = amount; break;
  case fault_kind::control_loss: control_.loss = amount; break;
  case fault_kind::control_delay: control_delays_[f.node] = delay; break;
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
      for (const auto& [node, delay] : control_delays_)
        if (node == a.id || node == b.id) control.delay_max = std::max(control.delay_max, delay);
      in_.wires().set_faults(a.id, b.id, plane::control, control);
    }
  }
}

void striker::heal() {
  is_healed_ = true;
  trap_.reset();
  compaction_.reset();
  operators_.stop_upgrade();
  data_ = control_ = {};
  watch_.set_delay(duration_ns{0});
  corrupted_.reset();
  control_delays_.clear();
  apply_wires();
  disk_bad_until_ = {};
  for (const auto& a : in_.plan().nodes) {
    watch_.touched(a.id);
    in_.set_calendar(a.id, duration_ns{0});
    in_.starve(a.id, 0);
    if (in_.is_up(a.id)) {
      in_.thaw(a.id);
      in_.slow_down(a.id, 1);
    }
    for (const auto& b : in_.plan().nodes)
      for (const plane path : both)
        if (a.id != b.id) in_.wires().join(a.id, b.id, path, random_.below(2) == 0);
  }
  for (const auto& n : in_.plan().nodes) start(n.id);
  operators_.undo();
}

}  // namespace atl::sim
