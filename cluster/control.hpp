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

#include "cluster/control_view.hpp"
#include "cluster/membership.hpp"
#include "cluster/verdict.hpp"
#include "transport/plane.hpp"

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace atl::cluster {

struct placed_model {
  experts::expert_shape shape;
  std::size_t expert_bytes = 0;  // weights of one (layer, expert)
};

using ticket_function = std::function<std::vector<std::byte>(
    std::span<const std::byte> key, transport::node_identity from, transport::node_identity to)>;

struct control_settings {
  std::string cluster;        // id
  placed_model model;         // no layers: there is nothing to place
  std::string fingerprint;    // of the checkpoint; empty: that of the first to join with one
  std::string numeric_class;  // empty: that of the first to join that computes
  std::optional<tensor::dtype> activations;  // of rows; empty: those of the first that sends some
  std::uint32_t copies = 1;     // of each expert, on different nodes as far as there are enough
  std::size_t moves_max = 256;  // copies moved for balance and drains in one plan, 0: no bound
  std::uint32_t expert_nodes_min = 1;  // the first placement waits for so many
  duration_ns settle{0};  // after a restart, members of before have so long to say join
  duration_ns load_patience = std::chrono::minutes{2};
  duration_ns drain_deadline = std::chrono::minutes{5};
  duration_ns drain_quiet = std::chrono::seconds{1};  // reports count from then on
  std::uint32_t group_slot_first = 0;                 // where a node's first group takes frames
  std::optional<node_id> self;            // the coordinator's own node: it is never declared dead
  bool admits_unknown = false;            // nodes join without having been admitted: one process
  ticket_function ticket;                 // empty: no tickets
  std::function<std::int64_t()> unix_ms;  // the calendar, for expiry and what people read
};

struct send_effect {
  transport::node_identity to;  // of that life; a later one would not know what to do with it
  std::variant<transport::wire::welcome,
               transport::wire::members,
               transport::wire::place,
               transport::wire::load,
               transport::wire::release,
               transport::wire::dismissed>
      body;
};

struct record_effect {
  std::string bytes;
  /// Nothing after it may be sent before it is durable. Otherwise only the attempt counts: without
  /// it a restarted coordinator knows less, and harms nobody.
  bool is_needed = true;
};

using effect = std::variant<record_effect, send_effect, event>;

/// Members have so long to be heard again once the first of them is, after all were silent.
inline constexpr duration_ns cut_off_patience = std::chrono::seconds{3};

/// Who lost a path says so every two seconds.
inline constexpr duration_ns loss_patience = std::chrono::seconds{10};

class control {
public:
  control(control_settings settings, durable_state restored, time_point_ns now);
  control(const control&) = delete;
  control& operator=(const control&) = delete;

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
  std::vector<effect> take_effects() { return std::exchange(effects_, {}); }

  // What operators say. errc::not_found: no such node, operation or token; errc::invalid_argument
  // where the state does not allow it, naming what stands against it.
  /// A number for a new node.
  result<node_id> admit(const std::string& name, std::uint32_t roles);
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

  result<void> create_token(join_token token);
  result<void> revoke_token(const std::string& id);
  /// Takes one use for these roles. errc::unauthorised: unknown, wrong, revoked, expired, used up,
  /// or not for a role.
  result<void>
  consume_token(const std::string& id, const std::string& secret_hash, std::uint32_t roles);
  std::vector<join_token> tokens() const;

  void revoke_certificate(const std::string& serial, node_id node);
  const std::map<std::string, revoked_certificate>& revoked() const { return kept_.revoked; }

  cluster_view view(time_point_ns now) const;
  result<node_view> view(node_id node, time_point_ns now) const;
  result<operation> find_operation(std::uint64_t id) const;
  /// Events after that revision, as far as they are kept (the last 1,024).
  std::vector<event> events_since(std::uint64_t revision) const;
  bool is_ready() const noexcept { return is_ready_; }
  /// Why experts could not be loaded or placed of late; empty if all went well.
  const std::string& trouble() const noexcept { return trouble_; }
  /// All that is kept, as records: what a compacted journal holds.
  std::vector<std::string> snapshot() const { return cluster::snapshot(kept_); }

private:
  struct live_node {
    transport::wire::join said;
    incarnation life;
    bool is_suspect = false;
    std::optional<std::string> given_up;  // why, while nobody else is heard either
    time_point_ns since;
    transport::wire::load_report load;
    std::optional<time_point_ns> reported_at;
    std::string note;
    epoch used;
  };
  struct drain_state {
    std::uint64_t operation = 0;
    bool is_leave = false;
    bool is_forced = false;
    time_point_ns since = {};
    time_point_ns deadline = {};
  };

  // control_members.cpp
  std::optional<transport::wire::failure> check_join(transport::node_identity from,
                                                     const transport::wire::join& said);
  std::optional<transport::wire::failure> check_life(const node_record& n,
                                                     transport::node_identity from,
                                                     const transport::wire::join& said) const;
  std::optional<transport::wire::failure> check_epoch(transport::node_identity from,
                                                      const transport::wire::join& said) const;
  std::optional<transport::wire::failure> check_kind(transport::node_identity from,
                                                     const transport::wire::join& said) const;
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
  transport::wire::members members_for(node_id receiver) const;
  void tell_members();
  void note_memory(live_node& n, node_id node);

  // control.cpp
  void reconcile(time_point_ns now);
  void settle(time_point_ns now);
  bool is_settled(time_point_ns now) const;
  time_point_ns settled_at() const;
  void tell_placement(epoch before);
  epoch next_epoch();
  void reserve();
  void record(std::string bytes, bool is_needed);
  void tell(const std::string& kind, node_id node, const std::string& text);

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
  durable_state kept_;
  std::map<node_id, live_node> live_;
  std::map<node_id, drain_state> drains_;
  std::map<node_id, time_point_ns> dismissed_at_;
  std::vector<path_loss> losses_;
  placement_driver driver_;
  std::vector<effect> effects_;
  std::deque<event> events_;
  std::string trouble_;
  time_point_ns started_;
  time_point_ns now_;
  std::optional<time_point_ns> first_join_;
  std::optional<time_point_ns> judged_again_at_;
  std::uint64_t epoch_used_ = 0;
  std::uint64_t version_ = 0;
  std::uint64_t revision_ = 0;
  bool has_members_changed_ = false;
  bool is_resumed_ = false;  // members of before may still be there
  bool is_ready_ = false;
};

}  // namespace atl::cluster
