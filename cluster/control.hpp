// The coordinator's mind: who is a member, who holds which expert, what operators asked for. A
// pure, deterministic state machine: facts and commands come in with the time, effects come out in
// order.
//
//   node      absent -> member (alive <-> suspect) -> dead, left or removed: absent
//             A life that is over never comes back; a node that was declared dead begins a new one.
//   drain     running -> done (its work is elsewhere) | failed (deadline) | cancelled
//   start     settling (members of before say join again) -> placing -> ready
//
// Effects are carried out in the order of take_effects(). What is sent after a record depends on
// it: whoever carries effects out waits until the record is durable. A coordinator restored from
// the records that were durable, at any point of that order, goes on safely. Not thread-safe: one
// owner.
#pragma once

#include "cluster/chronicle.hpp"
#include "cluster/control_settings.hpp"
#include "cluster/control_state.hpp"
#include "cluster/control_view.hpp"
#include "cluster/membership.hpp"
#include "cluster/verdict.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace atl::cluster {

class control final : public chronicle {
public:
  control(control_settings settings, durable_state restored, time_point_ns now);

  // What nodes say. `from` is the life that said it.
  void joined(transport::node_identity from, const transport::wire::join& said, time_point_ns now);
  void placed(transport::node_identity from, const transport::wire::placed& p, time_point_ns now);
  void adopted(transport::node_identity from, const transport::wire::adopted& a, time_point_ns now);
  void
  reported(transport::node_identity from, const transport::wire::load_report& r, time_point_ns now);
  void path_reported(transport::node_identity from,
                     const transport::wire::path_report& r,
                     time_point_ns now);
  void leaving(transport::node_identity from, const transport::wire::leave& l, time_point_ns now);
  /// The own detector's opinion of a peer.
  void peer_changed(transport::node_identity peer,
                    transport::plane path,
                    member_state state,
                    const std::string& why,
                    time_point_ns now);
  void tick(time_point_ns now);
  std::optional<time_point_ns> next_due() const;

  // What operators say. errc::not_found: no such node, operation or token; errc::invalid_argument
  // where the state does not allow it, naming what stands against it.
  result<node_id> admit(const std::string& name, std::uint32_t roles);  // a number for a new node
  result<void> check_admission(std::uint32_t roles) const;
  /// Takes effect at once; the answer names an operation that has ended.
  result<std::uint64_t> cordon(node_id node, time_point_ns now);
  result<std::uint64_t> uncordon(node_id node, time_point_ns now);
  /// Refused without `force` where the node is the last of a role, or has the only copy of an
  /// expert that nobody else has room for. At the deadline what still runs there is left to the
  /// gateways.
  result<std::uint64_t>
  drain(node_id node, std::optional<duration_ns> deadline, bool force, time_point_ns now);
  result<void> cancel_drain(node_id node, time_point_ns now);
  /// For good. Refused without `force` while the node is a member that was not drained.
  result<std::uint64_t> remove(node_id node, bool force, time_point_ns now);

  // What operators ask for one expert (control_changes.cpp). Each answers with an operation that
  // runs until the placement is so; when that cannot be, or it is cancelled before, what was asked
  // for is as before. It wins over what evens loads out, and outlives the coordinator.
  // errc::not_found: no such expert or node.
  /// A copy goes to a node and stays there (it is pinned), in place of that on `from`, or of one
  /// that is not pinned.
  result<std::uint64_t>
  move(expert_key of, node_id to, std::optional<node_id> from, time_point_ns now);
  /// So many copies from now on.
  result<std::uint64_t> replicate(expert_key of, std::uint32_t copies, time_point_ns now);
  /// One copy less. Refused without `force` for the last one.
  result<std::uint64_t> drop(expert_key of, node_id node, bool force, time_point_ns now);
  result<std::uint64_t> pin(expert_key of, node_id node, time_point_ns now);
  /// Of one node, or all of its pins.
  result<std::uint64_t> unpin(expert_key of, std::optional<node_id> node, time_point_ns now);
  result<void> cancel(std::uint64_t id, time_point_ns now);  // a drain, or a change of an expert

  // Plans of the loads and members of the moment (control_planning.cpp, control_balance.cpp),
  // refused with the reason where none can be made or applied now; one is applied at a time,
  // cancelled all is as before.
  /// Has one made, by a plan_effect; the answer is a request, of which the desk knows what came.
  result<std::uint64_t> rebalance(bool is_dry_run, time_point_ns now);
  result<std::uint64_t> place(const std::vector<wanted_place>& wanted, time_point_ns now);
  plan_desk& plan_requests() noexcept { return desk_; }
  /// What came of a plan_effect. Dropped, and made anew, where it is of facts of before.
  void planned(std::uint64_t job, const result<elastic_plan>& made, time_point_ns now);
  result<void> apply_plan(std::uint64_t id, time_point_ns now);
  result<void> cancel_plan(std::uint64_t id, time_point_ns now);
  std::uint32_t percent_of(const plan_record& p) const;
  balance_policy policy() const { return kept_.policy.value_or(settings_.policy); }
  void set_policy(balance_policy policy, time_point_ns now);
  void tune(const tuned_settings& changed, time_point_ns now);
  void journal_works(bool does);  // a goal that could not be written is written when it does again
  /// The operation that a request with this key made, and notes that it did, or of a plan.
  std::optional<operation> made_by(const std::string& idempotency_key) const;
  void note_key(std::uint64_t id, const std::string& idempotency_key, const std::string& digest);
  void note_plan_key(std::uint64_t id, request_key by);

  result<void> create_token(join_token token);
  result<void> revoke_token(const std::string& id);
  /// Takes one use for these roles. errc::unauthorised: unknown, wrong, revoked, expired, used up,
  /// or not for a role.
  result<void>
  consume_token(const std::string& id, const std::string& secret_hash, std::uint32_t roles);
  std::vector<join_token> tokens() const;
  /// One that is issued. errc::overloaded: the node has had too many of late.
  result<void> note_certificate(certificate_record issued);
  /// Of a node, and valid: all nodes hear of it. A removed node's are worth nothing without that.
  result<void> revoke_certificate(const std::string& serial, time_point_ns now);

  cluster_view view(time_point_ns now) const;
  result<node_view> view(node_id node, time_point_ns now) const;
  /// Of a member: rows/s as last observed or measured, the others' mean where that is not known.
  double speed_of(node_id node) const;
  const std::string& domain_of(node_id node) const;  // what fails with it; empty: no member
  /// By ascending layer and number, or those of one layer; errc::not_found: there is none such.
  result<std::vector<expert_view>> experts(std::optional<layer_index> only) const;
  result<expert_view> expert(layer_index layer, expert_index expert) const;
  const placed_model& model() const noexcept { return settings_.model; }
  const control_settings& settings() const noexcept { return settings_; }
  epoch placement_epoch() const noexcept { return driver_.published(); }
  result<operation> find_operation(std::uint64_t id) const;
  bool is_ready() const noexcept { return is_ready_; }
  /// Why experts could not be loaded or placed of late; empty if all went well.
  const std::string& trouble() const noexcept { return trouble_; }

private:
  // control_members.cpp
  using objection = std::optional<transport::wire::failure>;
  objection check_join(transport::node_identity from, const transport::wire::join& said);
  objection check_life(const node_record& n,
                       transport::node_identity from,
                       const transport::wire::join& said) const;
  objection check_epoch(transport::node_identity from, const transport::wire::join& said) const;
  objection check_kind(transport::node_identity from, const transport::wire::join& said) const;
  void welcome(transport::node_identity to);
  void keep_membership(node_record& n, incarnation life, const transport::wire::join& said);
  void bury(node_id node, const std::string& kind, const std::string& why);
  void dismiss(transport::node_identity who, std::optional<transport::wire::failure> cause);
  /// Ends the membership of a node that the reports of lost paths put at fault.
  bool fence(time_point_ns now);
  bool is_cut_off(node_id but_for) const;
  void judge_later(time_point_ns now);
  void judge_again(time_point_ns now);
  bool speaks(transport::node_identity from, time_point_ns now);
  std::size_t experts_max(const live_node& n) const;
  std::vector<seat> seats() const;
  transport::wire::members all_members() const;
  std::optional<time_point_ns> list_due() const;
  void tell_members(time_point_ns now);
  void note_memory(live_node& n, node_id node);

  // control.cpp
  void reconcile(time_point_ns now);
  void settle(time_point_ns now);
  bool is_settled(time_point_ns now) const;
  time_point_ns settled_at() const;
  void tell_placement(epoch before);

  // control_changes.cpp
  result<void> check_expert(expert_key of) const;
  result<void> check_target(expert_key of, node_id node, bool needs_room = true) const;
  result<void> check_place(const wanted_place& w) const;
  std::uint32_t copies_wanted(expert_key of) const;
  expert_rule rule_of(expert_key of) const;
  void set_rule(expert_key of, expert_rule rule);
  void wish(expert_key of);
  result<std::uint64_t> begin_change(operation_kind kind,
                                     expert_key of,
                                     node_id node,
                                     std::optional<node_id> from,
                                     const expert_rule& next,
                                     bool force,
                                     time_point_ns now);
  bool advance_changes(time_point_ns now);
  bool is_changed_now(const operation& o) const;
  std::string what_stops(const operation& o) const;
  void roll_back(operation& o, operation_state state, const std::string& why);
  std::uint32_t percent_of(const operation& o) const;

  // control_planning.cpp
  elastic_input facts(time_point_ns now) const;
  std::string what_stops_planning() const;
  plan_premise premise() const;
  void plan_next(time_point_ns now);
  void begin_planning(plan_wish why, elastic_input in);
  std::string what_stops(const plan_wish& why) const;
  void take_policys(const plan_job& p, const result<elastic_plan>& made, time_point_ns now);
  void take_operators(plan_job p, const result<elastic_plan>& made, time_point_ns now);
  plan_record record_of(const plan_wish& why, const elastic_plan& made) const;
  std::uint64_t take_plan(const plan_job& p, const elastic_plan& made, time_point_ns now);
  // control_balance.cpp
  bool advance_balance(time_point_ns now);
  bool follow_plan(time_point_ns now);
  void look(time_point_ns now);
  void measure(time_point_ns now);
  plan_record& keep_plan(plan_record p);
  void begin_plan(plan_record& p, placement_goal goal, time_point_ns now);
  void end_plan(plan_record& p, plan_state state, const std::string& detail);
  void take_back(plan_record& p, plan_state state, const std::string& why);
  void set_goal(std::optional<placement_goal> goal, bool is_before);
  void restore_balance();
  // control_operations.cpp
  result<node_record*> find_node(node_id node);
  std::string what_stands_against_drain(node_id node) const;
  std::string last_role_of(node_id node) const;
  operation& begin(operation_kind kind, node_id node, bool force);
  void end(operation& o, operation_state state, const std::string& detail);
  void begin_drain(node_id node, duration_ns within, bool force, bool is_leave, time_point_ns now);
  void resume_drains(node_id node, time_point_ns now);
  void end_operations(node_id node, const std::string& why);
  bool advance_drains(time_point_ns now);
  bool is_drained_now(node_id node, const drain_state& d) const;
  void end_drain(node_id node, bool is_late);
  bool has_other(node_id node, std::uint32_t role) const;

  control_settings settings_;
  std::map<node_id, live_node> live_;
  std::map<node_id, drain_state> drains_;
  std::map<std::uint64_t, time_point_ns> changes_;  // of experts, under way: by when
  std::map<node_id, time_point_ns> dismissed_at_;
  std::vector<path_loss> losses_;
  expert_loads loads_;
  placement_driver driver_;
  balance_state balance_;
  plan_desk desk_;
  std::string trouble_;
  std::string latest_news_;  // of the driver's last step
  time_point_ns started_;
  time_point_ns now_;
  std::optional<time_point_ns> first_join_;
  std::optional<time_point_ns> judged_again_at_, stranger_told_;
  member_news news_;
  bool is_resumed_ = false;  // members of before may still be there
  bool is_ready_ = false;
};

}  // namespace atl::cluster
