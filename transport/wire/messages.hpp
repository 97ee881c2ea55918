// What nodes say to each other, as plain values. wire/codec.hpp turns them into frames and back,
// and refuses any that breaks a rule written here (the limits and the checks of check()), on both
// sides. Who sends what to whom is said at each; PROTOCOL.md has the same list for other
// implementations.
#pragma once

#include "runtime/base/error.hpp"
#include "runtime/base/ids.hpp"
#include "transport/wire/control.hpp"
#include "transport/wire/generation.hpp"
#include "transport/wire/rows.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace atl::transport::wire {

// ---- router <-> expert group --------------------------------------------------------------------

/// Names one call of one router for good: a repeat of it carries the same id.
struct call_id {
  shard_id shard;
  std::uint64_t step = 0;
  std::uint32_t micro_batch = 0;
  layer_index layer;
  friend constexpr auto operator<=>(const call_id&, const call_id&) = default;
};

/// One (row, expert) of a dispatch: the expert, and its rank in the row's gate order.
struct assignment {
  std::uint32_t expert = 0;  // < experts_max
  std::uint32_t rank = 0;    // < ranks_max
  friend bool operator==(const assignment&, const assignment&) = default;
};

/// router -> group: apply experts to rows. Row i wants assignments [offsets[i], offsets[i + 1]).
struct dispatch {
  call_id call;
  atl::epoch epoch;
  rows input;                           // (rows, hidden), at least one row
  std::vector<std::uint32_t> offsets;   // rows + 1 entries from 0, each row at least one assignment
  std::vector<assignment> assignments;  // offsets.back() of them; experts of one row differ
};

struct expert_rows {
  std::uint32_t expert = 0;
  std::uint32_t rows = 0;
  friend bool operator==(const expert_rows&, const expert_rows&) = default;
};

/// group -> router: one output row per assignment of the dispatch, in its order. Not weighted: the
/// router multiplies by the gate's weights and adds in rank order.
struct results {
  call_id call;
  atl::epoch epoch;                 // of the dispatch
  rows output;                      // (assignments, hidden)
  std::vector<expert_rows> counts;  // rows per expert; they sum to output.count
  std::uint64_t service_ns = 0;     // from the first kernel to the last, for the balancer
};

/// group -> router: nothing was computed for this call (stale epoch, an expert not held, full).
struct refused {
  call_id call;
  atl::epoch epoch;  // the group's own
  failure cause;
  friend bool operator==(const refused&, const refused&) = default;
};

// ---- coordinator <-> node agent, router
// ----------------------------------------------------------

/// A copy of one expert. Its rows are split over its copies in the ratio of their weights.
struct placement_entry {
  layer_index layer;
  std::uint32_t expert = 0;
  group_id group;
  float weight = 1.0F;  // finite, > 0
  friend bool operator==(const placement_entry&, const placement_entry&) = default;
};

/// Where a group is: the node, and its slot there.
struct group_place {
  group_id group;
  node_id node;
  std::uint32_t slot = 0;
  friend bool operator==(const group_place&, const group_place&) = default;
};

struct expert_name {
  layer_index layer;
  std::uint32_t expert = 0;
  friend auto operator<=>(const expert_name&, const expert_name&) = default;
};

/// coordinator -> agent, for the routers of its node: the whole table of an epoch. Sent when its
/// weights are loaded. An expert without an entry has no live copy now; rows for it wait, for long
/// if it is `coming`: a copy is being loaded, or about to be.
struct place {
  atl::epoch epoch;
  std::vector<placement_entry> entries;
  std::vector<group_place> groups;  // at least those the entries name, by ascending group, or none
  std::vector<expert_name> coming = {};  // without an entry, ascending
  friend bool operator==(const place&, const place&) = default;
};

/// coordinator -> node agent: make these experts of a layer resident in a group, ahead of `epoch`.
struct load {
  atl::epoch epoch;
  group_id group;
  layer_index layer;
  std::vector<std::uint32_t> experts;
  std::vector<node_id> sources;  // nodes that hold all of them, nearest first; at most sources_max
  friend bool operator==(const load&, const load&) = default;
};

/// node agent -> coordinator: a load order is done, or has failed.
struct placed {
  atl::epoch epoch;
  node_id node;
  group_id group;
  std::uint64_t bytes = 0;  // resident now
  std::optional<failure> cause;
  layer_index layer;                 // of the order
  std::vector<checked_expert> held;  // what was ordered and is held now
  friend bool operator==(const placed&, const placed&) = default;
};

struct expert_load {
  layer_index layer;
  std::uint32_t expert = 0;
  std::uint64_t rows = 0;
  friend bool operator==(const expert_load&, const expert_load&) = default;
};

/// node agent -> coordinator: rows computed per (layer, expert) during window number `window`.
struct load_report {
  node_id node;
  std::uint64_t window = 0;
  std::vector<expert_load> counts;
  // What the node holds at this moment.
  std::uint64_t requests = 0;        // at its gateway
  std::uint64_t sequences = 0;       // at its shards
  std::uint64_t pages_used = 0;      // by those
  std::uint64_t rows_in_flight = 0;  // between its routers and groups
  std::uint64_t expert_bytes = 0;    // held by its groups
  float speed_now = 0;               // join's speed as calls of late showed it; 0: not known
  std::uint64_t busy_ns = 0;         // in which its groups computed, since the life began
  friend bool operator==(const load_report&, const load_report&) = default;
};

/// Between any two nodes, on each path they share: alive. `progress` moves with every kernel chunk;
/// `busy` says that a device has work, so that a standing counter means something.
struct heartbeat {
  std::uint64_t progress = 0;
  bool busy = false;
  std::uint64_t number = 0;  // of this heartbeat to this peer on this path, from 1; 0: not counted
  std::uint64_t seen = 0;    // the highest number of the receiver's that the sender has
  friend bool operator==(const heartbeat&, const heartbeat&) = default;
};

using message = std::variant<submit,
                             cancel,
                             tokens,
                             observed,
                             dispatch,
                             results,
                             refused,
                             place,
                             load,
                             placed,
                             load_report,
                             heartbeat,
                             join,
                             welcome,
                             members,
                             adopted,
                             release,
                             path_report,
                             leave,
                             dismissed,
                             fetch,
                             chunk>;

}  // namespace atl::transport::wire
