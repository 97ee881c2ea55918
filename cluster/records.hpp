// What the coordinator keeps over its own death: nodes, join tokens, operations, certificates of
// nodes, what operators asked for experts, plans and the goal of the placement (plan_records.hpp),
// and the numbers that are never given twice. Each
// record replaces one thing as a whole, so applying a journal again, or a snapshot and then the
// journal after it, ends in the same state. Records are JSON objects with a "kind"; a field that is
// missing has its default, kinds and fields that are not known are passed over, so that versions N
// and N+1 read each other's journals.
#pragma once

#include "cluster/plan_records.hpp"
#include "cluster/tuned_settings.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace atl::cluster {

/// A node that was admitted. Its number and those of its groups and shards stay its own.
struct node_record {
  node_id node = {};
  std::string name = {};
  std::uint32_t roles = 0;  // that it may take (transport/wire/control.hpp)
  std::uint32_t groups = 0;
  std::uint32_t group_first = 0;
  std::uint32_t shards = 0;
  std::uint32_t shard_first = 0;
  incarnation life = {};       // the last that was a member
  incarnation life_over = {};  // this life and earlier ones never come back
  bool is_cordoned = false;
  bool is_drained = false;  // stays out of use until uncordoned
  bool is_removed = false;
  friend bool operator==(const node_record&, const node_record&) = default;
};

struct join_token {
  std::string id;
  std::string secret_hash;  // opaque here
  std::uint32_t roles = 0;  // a machine may take with it
  std::uint32_t uses_left = 0;
  std::int64_t created_unix_ms = 0;
  std::int64_t expires_unix_ms = 0;
  bool is_revoked = false;
  friend bool operator==(const join_token&, const join_token&) = default;
};

using expert_key = std::pair<layer_index, expert_index>;

/// What operators asked for one (layer, expert); it wins over all policies.
struct expert_rule {
  std::optional<std::uint32_t> copies = {};  // wanted; absent: the cluster's number
  std::vector<node_id> pins = {};            // it has a copy there, ascending
  bool is_empty() const noexcept { return !copies && pins.empty(); }
  friend bool operator==(const expert_rule&, const expert_rule&) = default;
};

enum class operation_kind : std::uint8_t {
  cordon,
  uncordon,
  drain,
  leave,
  remove,
  move,
  replicate,
  drop,
  pin,
  unpin,
};
enum class operation_state : std::uint8_t { running, done, failed, cancelled };
std::string_view to_string(operation_kind kind) noexcept;
std::string_view to_string(operation_state state) noexcept;

/// What is to become of one (layer, expert), and what was asked for it before.
struct expert_change {
  layer_index layer = {};
  expert_index expert = {};
  std::optional<node_id> from = {};  // gives its copy up
  std::uint32_t copies = 0;          // of replicate
  expert_rule before = {};
  friend bool operator==(const expert_change&, const expert_change&) = default;
};

/// Something long that was asked for, and how it went.
struct operation {
  std::uint64_t id = 0;
  operation_kind kind = operation_kind::drain;
  operation_state state = operation_state::running;
  node_id node = {};
  bool is_forced = false;
  std::int64_t created_unix_ms = 0;
  std::int64_t ended_unix_ms = 0;     // 0: it runs
  std::int64_t deadline_unix_ms = 0;  // 0: it has none
  std::string detail = {};            // for people: what it waits for, or why it ended as it did
  std::optional<expert_change> change = {};  // of an expert; `node` is where it gets a copy
  std::string idempotency_key = {};          // of the request that made it, as the client gave it
  std::string request_digest = {};           // likewise: tells another request with the same key
  std::uint32_t percent = 0;                 // how far it is, in answers; not kept
  friend bool operator==(const operation&, const operation&) = default;
};

/// For people: "drain of node 3", "move of layer 3 expert 17 from node 2 to node 4".
std::string subject_of(const operation& o);

/// One that the authority issued to a node; kept until it has run out (cluster/certificates.hpp).
struct certificate_record {
  std::string serial;  // lower-case hex
  node_id node = {};
  std::int64_t issued_unix_ms = 0;
  std::int64_t not_after_unix_ms = 0;
  std::int64_t revoked_unix_ms = 0;  // 0: it is not
  friend bool operator==(const certificate_record&, const certificate_record&) = default;
};

/// Counters. Those of epochs, members' versions and events are reserved ahead in blocks: a
/// coordinator that starts again begins above what its predecessor may have used.
struct marks {
  std::uint32_t node_next = 1;
  std::uint32_t group_next = 0;
  std::uint32_t shard_next = 0;
  std::uint64_t operation_next = 1;
  std::uint64_t epochs_reserved = 0;     // may have been used up to here
  std::uint64_t versions_reserved = 0;   // likewise
  std::uint64_t revisions_reserved = 0;  // likewise
  std::uint64_t plan_next = 1;
  bool has_placed = false;  // a first placement was in force
  friend bool operator==(const marks&, const marks&) = default;
};

struct durable_state {
  marks counters;
  std::map<node_id, node_record> nodes;
  std::map<std::string, join_token> tokens;
  std::map<std::uint64_t, operation> operations;
  std::map<std::string, certificate_record> certificates;  // by serial
  std::map<expert_key, expert_rule> rules;                 // none is empty
  std::optional<balance_policy> policy;                    // absent: nobody chose one
  tuned_settings tuned;
  std::map<std::uint64_t, plan_record> plans;
  std::optional<placement_goal> goal;
  std::optional<placement_goal> goal_before;  // of the plan that is applied
  friend bool operator==(const durable_state&, const durable_state&) = default;
};

std::string to_record(const marks& m);
std::string to_record(const node_record& n);
std::string to_record(const join_token& t);
std::string to_record(const operation& o);
std::string to_record(const certificate_record& c);
std::string to_record(const expert_key& of, const expert_rule& r);
/// Says that an operation or a token is forgotten.
std::string forget_operation(std::uint64_t id);
std::string forget_token(const std::string& id);

/// errc::io: the bytes are no record.
result<void> apply_record(durable_state& to, std::string_view record);

/// The whole state as records.
std::vector<std::string> snapshot(const durable_state& of);

}  // namespace atl::cluster
