// One process of a cluster: the actors of its roles on one device, with what they stand on. With
// all roles and no paths to others it is a whole cluster (local_cluster.hpp), the same actors that
// exchange the same checked frames.
//
// Threads: all members may be called from any thread. Events of a request arrive one after the
// other on worker threads; a listener returns within microseconds (it moves the event to where it
// is wanted) and may call submit() and cancel(), but must not destroy the node. The destructor
// cancels what is running and waits for it.
#pragma once

#include "actors/cluster_options.hpp"
#include "actors/control_call.hpp"
#include "actors/generation.hpp"
#include "actors/node_setup.hpp"
#include "runtime/base/result.hpp"

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace atl::actors {

/// Counts since the start; a snapshot.
struct cluster_counters {
  std::uint64_t frames_sent = 0;
  std::uint64_t frame_bytes_sent = 0;    // metadata and payload
  std::uint64_t frames_refused = 0;      // failed a check on arrival
  std::uint64_t row_bytes_sent = 0;      // rows from this node's routers to experts, anywhere
  std::uint64_t row_bytes_received = 0;  // and their answers
  std::uint64_t steps = 0;               // micro-batches computed
  std::uint64_t rows = 0;                // token rows computed
  // [i] counts micro-batches of up to 2^i rows and more than 2^(i-1), the last all larger ones.
  std::array<std::uint64_t, 14> steps_by_rows{};
  // [layer][expert], all groups; a layer without experts has none.
  std::vector<std::vector<std::uint64_t>> expert_rows;
  std::uint64_t prefix_queries = 0;  // tokens known of requests that started
  std::uint64_t prefix_hits = 0;     // of them, tokens found in the prefix cache
  std::uint64_t page_evictions = 0;  // cached pages given up for others
};

/// Held resources; all zero when nothing runs, but for limits, weights, pages_total, pages_cached
/// and page_bytes.
struct cluster_usage {
  std::uint64_t requests = 0;    // known to the gateway
  std::uint64_t sequences = 0;   // known to shards
  std::uint64_t pages_used = 0;  // by running requests
  std::uint64_t pages_total = 0;
  std::uint64_t pages_cached = 0;    // held by no request, kept for later ones
  std::uint64_t page_bytes = 0;      // of one page
  std::uint64_t rows_in_flight = 0;  // between routers and groups
  std::uint64_t group_rows = 0;      // of them, from one shard to one group: the most
  std::uint64_t expert_bytes = 0;    // of expert weights in memory
  // What bounds them, as set.
  std::uint64_t group_rows_limit = 0;
  std::uint64_t expert_bytes_limit = 0;
  double capacity_factor = 0;
};

/// What a board shows of the door; a snapshot.
struct cluster_gauges {
  std::int64_t running = 0;      // requests at shards
  std::int64_t waiting = 0;      // requests at the gateway
  std::int64_t queue_limit = 0;  // of the latter
  std::int64_t tokens_reserved = 0;
  std::int64_t tokens_limit = 0;
  std::string out_of_use;  // why no new requests are taken, by an operator's wish; may be empty
};

class node {
public:
  class impl;
  struct impl_deleter {
    void operator()(impl* of) const noexcept;
  };
  using impl_ptr = std::unique_ptr<impl, impl_deleter>;

  /// Starts the actors of its roles and returns; node_setup's callbacks tell what becomes of them.
  static result<std::unique_ptr<node>> start(node_setup setup);
  explicit node(impl_ptr made) noexcept;  // by start
  virtual ~node();
  node(const node&) = delete;
  node& operator=(const node&) = delete;

  // ---- gateway ----
  /// Takes a request, or refuses it at once: overloaded, invalid_argument (naming field and value).
  result<request_id> submit(generation_request request, generation_listener listener);

  /// Whether submit() would refuse every request now, and why: overloaded. Takes no time.
  result<void> admits() const;
  /// When a client that was refused may try again, from how fast requests end: whole seconds in
  /// [1, 60].
  duration_ns retry_after() const;
  /// Requests that may wait (cluster_options::queued_max), from now on; those that wait stay.
  /// invalid_argument outside [0, queue_size_max].
  result<void> set_queue_limit(int queued_max);
  /// Takes no time and asks nobody.
  cluster_gauges gauges() const;

  /// The request ends with finish_reason::cancelled, and all it held is free within a step. No
  /// effect when it ended.
  void cancel(request_id id);

  const cluster_options& options() const noexcept;
  cluster_counters counters() const;
  /// Asks every actor; waits for their answers.
  cluster_usage usage() const;
  /// For people: actors by kind, device, instruction set.
  std::string description() const;

  // ---- coordinator ----
  /// Runs on the coordinator's state. errc::unsupported where this node has no coordinator.
  result<void> control(control_call what);

  // ---- any ----
  /// Tells the coordinator that this node wants to go; `ended` follows when it may.
  void leave(duration_ns deadline);

protected:
  static result<impl_ptr> make(node_setup setup);

private:
  impl_ptr impl_;
};

}  // namespace atl::actors
