#include "cluster/certificates.hpp"
#include "cluster/control.hpp"
#include "runtime/base/assert.hpp"

#include <algorithm>

namespace atl::cluster {

namespace wire = transport::wire;

namespace {

constexpr std::size_t operations_kept = 256;
constexpr std::size_t tokens_max = 1024;
constexpr std::uint32_t nodes_max = 4096;  // of one members message

std::string named(node_id node) { return "node " + std::to_string(node.value); }

error refused(const std::string& why) { return {errc::invalid_argument, why}; }

std::string count_text(std::size_t n, const char* what) {
  return std::to_string(n) + " " + what + (n == 1 ? "" : "s");
}

std::string first_of(const std::vector<experts::expert_map::held_expert>& all) {
  return count_text(all.size(), "expert") + " (the first: layer " +
         std::to_string(all.front().layer.value) + ", expert " +
         std::to_string(all.front().expert.value) + ")";
}

}  // namespace

result<void> control::check_admission(std::uint32_t roles) const {
  if (roles == 0 || (roles & ~wire::roles_known) != 0)
    return refused("roles " + std::to_string(roles) + " are none or hold an unknown one");
  const auto known = static_cast<std::size_t>(std::count_if(
      kept_.nodes.begin(), kept_.nodes.end(), [](const auto& n) { return !n.second.is_removed; }));
  if (known >= nodes_max)
    return error{errc::overloaded,
                 "the cluster knows " + count_text(known, "node") +
                     " already; remove those that are gone for good (atoll node remove)"};
  return {};
}

result<node_id> control::admit(const std::string& name, std::uint32_t roles) {
  ATOLL_TRY(check_admission(roles));
  const node_id node{kept_.counters.node_next++};
  node_record n{.node = node, .name = name, .roles = roles};
  record(to_record(kept_.counters), true);
  record(to_record(n), true);
  kept_.nodes.emplace(node, std::move(n));
  tell("admitted", node, named(node) + " \"" + name + "\" was admitted");
  return node;
}

result<node_record*> control::find_node(node_id node) {
  const auto at = kept_.nodes.find(node);
  if (at == kept_.nodes.end() || at->second.is_removed)
    return error{errc::not_found, "there is no " + named(node)};
  return &at->second;
}

operation& control::begin(operation_kind kind, node_id node, bool force) {
  operation made;
  made.id = kept_.counters.operation_next++;
  made.kind = kind;
  made.node = node;
  made.is_forced = force;
  made.created_unix_ms = settings_.unix_ms ? settings_.unix_ms() : 0;
  record(to_record(kept_.counters), true);
  for (auto at = kept_.operations.begin();
       kept_.operations.size() >= operations_kept && at != kept_.operations.end();) {
    if (at->second.state == operation_state::running) {
      ++at;
      continue;
    }
    record(forget_operation(at->first), false);
    at = kept_.operations.erase(at);
  }
  return kept_.operations[made.id] = made;
}

void control::end(operation& o, operation_state state, const std::string& detail) {
  o.state = state;
  o.detail = detail;
  o.ended_unix_ms = settings_.unix_ms ? settings_.unix_ms() : 0;
  record(to_record(o), false);
  tell("operation",
       o.node,
       subject_of(o) + " " + std::string{to_string(state)} + (detail.empty() ? "" : ": " + detail));
}

result<std::uint64_t> control::cordon(node_id node, time_point_ns now) {
  ATOLL_ASSIGN(node_record * n, find_node(node));
  n->is_cordoned = true;
  record(to_record(*n), true);
  operation& o = begin(operation_kind::cordon, node, false);
  end(o, operation_state::done, "");
  news_.change();
  reconcile(now);
  return o.id;
}

result<std::uint64_t> control::uncordon(node_id node, time_point_ns now) {
  ATOLL_ASSIGN(node_record * n, find_node(node));
  if (drains_.count(node) > 0)
    return refused(named(node) + " is being drained; cancel the drain first");
  n->is_cordoned = false;
  n->is_drained = false;
  record(to_record(*n), true);
  operation& o = begin(operation_kind::uncordon, node, false);
  end(o, operation_state::done, "");
  news_.change();
  reconcile(now);
  return o.id;
}

bool control::has_other(node_id node, std::uint32_t role) const {
  return std::any_of(live_.begin(), live_.end(), [&](const auto& n) {
    const node_record& kept = kept_.nodes.at(n.first);
    return n.first != node && (n.second.said.roles & role) != 0 && !kept.is_cordoned &&
           !kept.is_drained && drains_.count(n.first) == 0;
  });
}

std::string control::last_role_of(node_id node) const {
  const std::uint32_t roles = live_.at(node).said.roles;
  const std::pair<std::uint32_t, const char*> all[] = {{wire::role_coordinator, "coordinator"},
                                                       {wire::role_gateway, "gateway"},
                                                       {wire::role_attention, "attention"},
                                                       {wire::role_expert, "expert"}};
  for (const auto& [role, name] : all) {
    if ((roles & role) != 0 && !has_other(node, role)) return name;
  }
  return {};
}

std::string control::what_stands_against_drain(node_id node) const {
  if (const std::string role = last_role_of(node); !role.empty())
    return named(node) + " is the last usable node with the role " + role;
  const auto stuck = driver_.stuck_on(node);
  if (stuck.empty()) return {};
  return named(node) + " has the only copy of " + first_of(stuck) +
         ", and no other node has room for it";
}

result<std::uint64_t>
control::drain(node_id node, std::optional<duration_ns> deadline, bool force, time_point_ns now) {
  ATOLL_TRY(find_node(node));
  if (live_.count(node) == 0)
    return refused(named(node) + " is not here; there is nothing to drain");
  if (drains_.count(node) > 0) return refused(named(node) + " is being drained already");
  if (!force) {
    const std::string against = what_stands_against_drain(node);
    if (!against.empty()) return refused(against + "; drain it with force to do it all the same");
  }
  begin_drain(node, deadline.value_or(settings_.drain_deadline), force, false, now);
  const std::uint64_t id = drains_.at(node).operation;
  reconcile(now);
  return id;
}

void control::begin_drain(
    node_id node, duration_ns within, bool force, bool is_leave, time_point_ns now) {
  operation& o = begin(is_leave ? operation_kind::leave : operation_kind::drain, node, force);
  o.deadline_unix_ms =
      o.created_unix_ms + std::chrono::duration_cast<std::chrono::milliseconds>(within).count();
  // Nobody else's work depends on a node's own wish being remembered.
  record(to_record(o), !is_leave);
  drains_[node] = {.operation = o.id,
                   .is_leave = is_leave,
                   .is_forced = force,
                   .since = now,
                   .deadline = now + within,
                   .copies = driver_.copies_on(node).held};
  news_.change();
  tell("operation", node, subject_of(o) + " began");
}

/// A drain outlives the coordinator: it goes on when the node is here again, for what is left of
/// its time by the calendar (which may have been set meanwhile: never more than it was given).
void control::resume_drains(node_id node, time_point_ns now) {
  for (auto& [id, o] : kept_.operations) {
    const bool is_its_drain = o.node == node && !o.change && drains_.count(node) == 0;
    if (!is_its_drain || o.state != operation_state::running) continue;
    const std::int64_t unix_now = settings_.unix_ms ? settings_.unix_ms() : 0;
    const std::int64_t given = o.deadline_unix_ms - o.created_unix_ms;
    const std::int64_t left = std::clamp<std::int64_t>(
        o.deadline_unix_ms - unix_now, 0, std::max<std::int64_t>(given, 0));
    drains_[node] = {.operation = id,
                     .is_leave = o.kind == operation_kind::leave,
                     .is_forced = o.is_forced,
                     .since = now,
                     .deadline = now + std::chrono::milliseconds{left},
                     .copies = 0};
  }
}

/// What was asked of a life that is over has come true, one way or another. Changes of experts end
/// when the placement is so, or cannot be.
void control::end_operations(node_id node, const std::string& why) {
  drains_.erase(node);
  for (auto& [id, o] : kept_.operations)
    if (o.node == node && !o.change && o.state == operation_state::running)
      end(o, operation_state::done, why);
}

/// Whether nothing of the cluster needs the node any more.
bool control::is_drained_now(node_id node, const drain_state& d) const {
  const live_node& n = live_.at(node);
  if ((n.said.roles & wire::role_expert) != 0) {
    const node_copies copies = driver_.copies_on(node);
    // Who goes in any case does not wait for somebody who does not exist.
    const bool is_hopeless = d.is_leave && !has_other(node, wire::role_expert);
    if (!is_hopeless && copies.held + copies.leaving > 0) return false;
  }
  if ((n.said.roles & (wire::role_attention | wire::role_gateway)) == 0) return true;
  // What was sent before the others knew of the drain shows in reports that come a little later.
  return n.reported_at && *n.reported_at >= d.since + settings_.drain_quiet &&
         n.load.sequences == 0 && n.load.requests == 0;
}

bool control::advance_drains(time_point_ns now) {
  std::vector<node_id> done, late;
  for (const auto& [node, d] : drains_) {
    if (is_drained_now(node, d))
      done.push_back(node);
    else if (now >= d.deadline)
      late.push_back(node);
  }
  for (const node_id node : done) end_drain(node, false);
  for (const node_id node : late) end_drain(node, true);
  return !done.empty() || !late.empty();
}

void control::end_drain(node_id node, bool is_late) {
  const drain_state d = drains_.at(node);
  const live_node& n = live_.at(node);
  operation& o = kept_.operations.at(d.operation);
  drains_.erase(node);
  news_.change();
  std::string detail = d.is_leave ? "it may go" : "nothing of the cluster needs it";
  if (is_late) {
    const auto alone = driver_.only_on(node);
    node_record& kept = kept_.nodes.at(node);
    if (!d.is_forced && !alone.empty()) {
      kept.is_cordoned = true;
      record(to_record(kept), false);
      return end(o,
                 operation_state::failed,
                 "at its deadline the node still has the only copy of " + first_of(alone) +
                     "; it is cordoned now");
    }
    const bool has_clients = (n.said.roles & wire::role_gateway) != 0 && n.load.requests > 0;
    if (!d.is_leave && !d.is_forced && has_clients) {
      kept.is_cordoned = true;
      record(to_record(kept), false);
      return end(o,
                 operation_state::failed,
                 "at its deadline the node still has " + count_text(n.load.requests, "request") +
                     " of its clients; it is cordoned now");
    }
    detail = "ended by its deadline, with " + count_text(n.load.sequences, "sequence") + " and " +
             count_text(n.load.requests, "request") + " still there and the only copy of " +
             count_text(alone.size(), "expert");
  }
  end(o, operation_state::done, detail);
  if (d.is_leave) {
    dismiss({node, n.life}, std::nullopt);
    return bury(node, "left", "left");
  }
  node_record& kept = kept_.nodes.at(node);
  kept.is_drained = true;
  record(to_record(kept), false);
}

result<void> control::cancel_drain(node_id node, time_point_ns now) {
  ATOLL_TRY(find_node(node));
  const auto at = drains_.find(node);
  if (at == drains_.end()) return refused(named(node) + " is not being drained");
  if (at->second.is_leave) return refused(named(node) + " leaves by its own wish");
  operation& o = kept_.operations.at(at->second.operation);
  drains_.erase(at);
  news_.change();
  end(o, operation_state::cancelled, "");
  reconcile(now);
  return {};
}

result<std::uint64_t> control::remove(node_id node, bool force, time_point_ns now) {
  ATOLL_ASSIGN(node_record * n, find_node(node));
  const bool is_here = live_.count(node) > 0;
  if (is_here && node == settings_.self)
    return refused(named(node) + " runs the coordinator and cannot be removed by it");
  if (is_here && !force) {
    const auto alone = driver_.only_on(node);
    if (!alone.empty())
      return refused(named(node) + " has the only copy of " + first_of(alone) +
                     "; drain it first, or use force");
    if (!n->is_drained)
      return refused(named(node) +
                     " is a member and was not drained; drain it first, or use force");
  }
  n->is_removed = true;
  if (!is_here) n->life_over = n->life;
  news_.change();  // nodes do not believe it any more
  record(to_record(*n), true);
  if (!is_here) end_operations(node, "the node was removed");
  operation& o = begin(operation_kind::remove, node, force);
  end(o, operation_state::done, "");
  if (is_here) {
    dismiss({node, live_.at(node).life},
            wire::failure{errc::unauthorised, named(node) + " was removed from the cluster"});
    bury(node, "removed", "was removed");
  }
  reconcile(now);
  return o.id;
}

result<void> control::create_token(join_token token) {
  if (token.id.empty() || token.roles == 0 || (token.roles & ~wire::roles_known) != 0 ||
      token.uses_left == 0)
    return refused("a join token needs an id, known roles and at least one use");
  if (kept_.tokens.count(token.id) > 0)
    return refused("there is a join token " + token.id + " already");
  const std::int64_t now = settings_.unix_ms ? settings_.unix_ms() : 0;
  for (auto at = kept_.tokens.begin(); at != kept_.tokens.end();) {
    const bool is_over = at->second.expires_unix_ms <= now || at->second.is_revoked;
    if (!is_over || kept_.tokens.size() < tokens_max) {
      ++at;
      continue;
    }
    record(forget_token(at->first), false);
    at = kept_.tokens.erase(at);
  }
  if (kept_.tokens.size() >= tokens_max)
    return error{errc::overloaded,
                 "there are " + count_text(kept_.tokens.size(), "usable join token") +
                     "; revoke some first"};
  token.created_unix_ms = now;
  record(to_record(token), true);
  const std::string id = token.id;
  kept_.tokens.emplace(id, std::move(token));
  tell("token", {}, "join token " + id + " was created");
  return {};
}

result<void> control::revoke_token(const std::string& id) {
  const auto at = kept_.tokens.find(id);
  if (at == kept_.tokens.end()) return error{errc::not_found, "there is no join token " + id};
  at->second.is_revoked = true;
  record(to_record(at->second), true);
  tell("token", {}, "join token " + id + " was revoked");
  return {};
}

result<void>
control::consume_token(const std::string& id, const std::string& secret_hash, std::uint32_t roles) {
  const auto no = [&](const std::string& why) {
    tell("refused", {}, "a machine came with join token " + id + ": " + why);
    return error{errc::unauthorised, why};
  };
  const auto at = kept_.tokens.find(id);
  // Who does not know the secret learns nothing about the token, and cannot fill the events.
  if (at == kept_.tokens.end() || at->second.secret_hash != secret_hash) {
    const std::string why = "the join token is not one of this cluster";
    if (stranger_told_ && now_ - *stranger_told_ < stranger_pause)
      return error{errc::unauthorised, why};
    stranger_told_ = now_;
    return no(why);
  }
  join_token& t = at->second;
  if (t.is_revoked) return no("the join token was revoked");
  if (settings_.unix_ms && settings_.unix_ms() >= t.expires_unix_ms)
    return no("the join token has expired");
  if (t.uses_left == 0) return no("the join token has been used up");
  if (roles == 0 || (roles & ~t.roles) != 0) return no("the join token is not for these roles");
  --t.uses_left;
  record(to_record(t), true);
  tell("token", {}, "join token " + id + " was used");
  return {};
}

std::vector<join_token> control::tokens() const {
  std::vector<join_token> all;
  for (const auto& [id, t] : kept_.tokens) all.push_back(t);
  return all;
}

result<void> control::note_certificate(certificate_record issued) {
  const std::int64_t now_ms = settings_.unix_ms ? settings_.unix_ms() : 0;
  forget_expired(kept_, now_ms);
  ATOLL_TRY(check_issue(kept_, issued.node, now_ms));
  record(to_record(issued), false);
  kept_.certificates[issued.serial] = std::move(issued);
  return {};
}

result<void> control::revoke_certificate(const std::string& serial, time_point_ns now) {
  const std::int64_t now_ms = settings_.unix_ms ? settings_.unix_ms() : 0;
  forget_expired(kept_, now_ms);
  const auto at = kept_.certificates.find(serial);
  if (at == kept_.certificates.end())
    return error{errc::not_found,
                 "there is no certificate " + serial + " of a node that is valid now"};
  if (at->second.revoked_unix_ms != 0) return {};
  at->second.revoked_unix_ms = std::max<std::int64_t>(now_ms, 1);
  record(to_record(at->second), true);
  tell("certificate",
       at->second.node,
       "certificate " + serial + " of " + named(at->second.node) + " was revoked");
  news_.change();
  reconcile(now);
  return {};
}

}  // namespace atl::cluster
