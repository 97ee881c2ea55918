#include "tests/sim/overseer.hpp"

#include "actors/local_cluster.hpp"

#include <algorithm>

namespace atl::sim {
namespace {

namespace wire = transport::wire;
using std::chrono::milliseconds;

// Suspected 0.9 s and dead 1.9 s after the last heartbeat, which was sent up to 0.2 s before the
// loss; a told loss at once. What the coordinator decides waits for an attempt at its journal.
constexpr duration_ns suspected_within = milliseconds{1200};
constexpr duration_ns dead_within = milliseconds{2300};
constexpr duration_ns told_within = milliseconds{300};
// What was done to a node shows in what is thought of it no later.
constexpr duration_ns aftermath = std::chrono::seconds{5};

std::string named(node_id node) { return "node " + std::to_string(node.value); }

}  // namespace

overseer::overseer(cluster_world& in, verdicts& found) : in_{in}, found_{found} {}

void overseer::see(transport::plane, transport::node_identity from, const transport::frame& f) {
  using kind = transport::frame_kind;
  const auto k = f.header.kind;
  if (k != kind::members && k != kind::place && k != kind::adopted && k != kind::load_report &&
      k != kind::dismissed)
    return;
  const auto body = wire::decode(f);
  if (body.has_error()) return found_.fail("I12", "a frame that does not decode", in_.now());
  if (const auto* d = std::get_if<wire::dismissed>(&*body); d != nullptr && d->cause) {
    // Who is told that its life is over, while it lives it, has something behind it.
    const node_id node = f.header.destination.node;
    const life* l = in_.at(node);
    if (!l->is_dead && l->who.life == d->life && !may_be_given_up(node, from.node))
      found_.fail("I5", named(node) + " was given up, and nothing had happened to it", in_.now());
  }
  if (const auto* m = std::get_if<wire::members>(&*body)) take(*m, from);
  if (const auto* p = std::get_if<wire::place>(&*body)) take(*p, from);
  if (const auto* a = std::get_if<wire::adopted>(&*body)) take(*a, from);
  if (const auto* r = std::get_if<wire::load_report>(&*body)) take(*r);
}

void overseer::take(const wire::members& m, transport::node_identity from) {
  if (from.life > coordinator_) {
    coordinator_ = from.life;
    version_floor_ = members_.version;
    epoch_floor_ = epoch_max_;
    if (members_.version > 0) members_.list.clear();  // it begins with who joins again
  }
  if (m.version <= version_floor_ || m.version < members_.version)
    found_.fail("I9",
                "members of version " + std::to_string(m.version) + " were told after " +
                    std::to_string(std::max(version_floor_, members_.version)),
                in_.now());
  for (const auto& before : members_.list) {
    const bool is_there = std::any_of(
        m.list.begin(), m.list.end(), [&](const auto& now) { return now.node == before.node; });
    const life* l = in_.at(before.node);
    if (is_there || l->is_dead || l->who.life != before.life ||
        may_be_given_up(before.node, from.node))
      continue;
    found_.fail(
        "I5", named(before.node) + " was given up, and nothing had happened to it", in_.now());
  }
  members_ = m;
}

void overseer::take(const wire::place& p, transport::node_identity from) {
  if (from.life > coordinator_) {
    coordinator_ = from.life;
    version_floor_ = members_.version;
    epoch_floor_ = epoch_max_;
  }
  if (p.epoch.value <= epoch_floor_)
    found_.fail("I9",
                "the coordinator's life " + std::to_string(from.life.value) + " places epoch " +
                    std::to_string(p.epoch.value) + ", an earlier one had used " +
                    std::to_string(epoch_floor_),
                in_.now());
  epoch_max_ = std::max(epoch_max_, p.epoch.value);
}

void overseer::take(const wire::adopted& a, transport::node_identity from) {
  epoch& last = adopted_[from];
  if (a.epoch < last)
    found_.fail("I9",
                named(from.node) + " went back from epoch " + std::to_string(last.value) + " to " +
                    std::to_string(a.epoch.value),
                in_.now());
  last = std::max(last, a.epoch);
}

void overseer::take(const wire::load_report& r) {
  if (r.pages_used > in_.pages_total())
    found_.fail("I6",
                named(r.node) + " uses " + std::to_string(r.pages_used) + " pages of " +
                    std::to_string(in_.pages_total()),
                in_.now());
  const std::size_t most =
      in_.plan().experts_max * actors::placed_model_of(in_.weights()).expert_bytes;
  if (r.expert_bytes > most)
    found_.fail("I6",
                named(r.node) + " holds " + std::to_string(r.expert_bytes) +
                    " bytes of experts, and may hold " + std::to_string(most),
                in_.now());
}

void overseer::touched(node_id node) { touched_[node] = in_.now(); }

bool overseer::was_touched(node_id node) const {
  const auto at = touched_.find(node);
  return at != touched_.end() && at->second + aftermath >= in_.now();
}

/// By a coordinator that was struck, or that refuses to speak to it, or it to the coordinator: a
/// calendar that is off does no harm until a connection has to be made anew.
bool overseer::may_be_given_up(node_id node, node_id coordinator) const {
  const auto refused = in_.refused_at(node, coordinator);
  return was_touched(node) || was_touched(coordinator) ||
         (refused && *refused + aftermath >= in_.now());
}

void overseer::set_delay(duration_ns most) {
  if (most < delay_) {
    delay_before_ = lateness();
    delayed_until_ = in_.now() + delay_before_;
  }
  delay_ = most;
}

/// By how much what is under way may come late.
duration_ns overseer::lateness() const {
  return in_.now() <= delayed_until_ ? std::max(delay_, delay_before_) : delay_;
}

bool overseer::is_listed(node_id node, incarnation life, bool as_alive) const {
  return std::any_of(members_.list.begin(), members_.list.end(), [&](const auto& m) {
    return m.node == node && m.life == life &&
           (!as_alive || m.state != wire::member_state::suspect);
  });
}

void overseer::lost(node_id node, bool is_told) {
  const node_id coordinator = in_.plan().nodes.front().id;
  const incarnation which = in_.at(node)->who.life;
  if (node == coordinator || !is_listed(node, which, false) || was_touched(coordinator)) return;
  const std::uint64_t loss = ++losses_[node];
  if (is_told) {
    in_.after(told_within, [=, this] { check_noticed(node, which, loss, true, false); });
    return;
  }
  in_.after(suspected_within, [=, this] { check_noticed(node, which, loss, false, false); });
  in_.after(dead_within, [=, this] { check_noticed(node, which, loss, true, false); });
}

void overseer::check_noticed(
    node_id node, incarnation which, std::uint64_t loss, bool as_dead, bool is_again) {
  const node_id coordinator = in_.plan().nodes.front().id;
  const bool may_be_late = was_touched(coordinator) || blurred_ + aftermath > in_.now();
  if (losses_[node] != loss || may_be_late || !is_listed(node, which, !as_dead)) return;
  if (const duration_ns late = lateness(); late.count() > 0 && !is_again)
    return in_.after(late, [=, this] { check_noticed(node, which, loss, as_dead, true); });
  found_.fail("I5",
              named(node) + " is lost and not " + (as_dead ? "given up" : "suspected") + " in time",
              in_.now());
}

}  // namespace atl::sim
