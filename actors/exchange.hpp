// Rows on their way between one router and the expert groups: who gets which, what has been sent
// and not answered, and what is done about answers that stay out. Part of the router's actor, which
// alone may call it; it knows no CAF and is told the time by its clock.
//
// A call is the rows of one lane at one layer. Each (row, gate rank) of it is a pair that needs one
// answer, from any group that holds the expert. Pairs are assigned to groups under the newest
// placement; a frame carries some rows of one assignment and has a number for good. First sends,
// second copies and moves to another node are the same step (assign), at another moment:
//
//   a pair      assigned -> (waits for credit) -> in a frame -> answered
//     any of these, its node is lost      -> assigned again, unless another frame may answer it
//     in a frame, its node is suspected   -> assigned elsewhere too, if there is another copy
//     in a frame, late                    -> likewise, within the hedging budget; else the frame is
//                                            repeated to the same group under the same number
//     in a frame, refused (not held)      -> assigned again on the newest placement
//     no live copy                        -> parked until a placement or a node brings one
// The first answer to a pair counts. A frame that nothing waits for any more keeps its credits
// until it is answered, at most for two seconds since it was sent.
#pragma once

#include "actors/mailroom.hpp"
#include "cluster/group_directory.hpp"
#include "cluster/group_loads.hpp"
#include "cluster/hedging.hpp"
#include "cluster/placement_table.hpp"
#include "experts/dispatch/combine.hpp"
#include "experts/dispatch/credits.hpp"
#include "runtime/base/buffer_pool.hpp"
#include "runtime/kernels/row_codec.hpp"
#include "runtime/tensor/device.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace atl::actors {

struct exchange_parts {
  shard_id shard;
  std::uint32_t slot = 0;  // the router's, in addresses
  mailroom* mail = nullptr;
  tensor::device* device = nullptr;
  const clock* time = nullptr;
  buffer_pool* buffers = nullptr;
  std::uint32_t lanes = 0;
  std::uint32_t width = 0;   // of a row
  kernels::row_codec codec;  // of rows in both directions
  std::uint32_t group_rows_max = 0;
  double capacity_factor = cluster::capacity_factor_default;
  duration_ns give_up_after{};      // without any progress of a call
  duration_ns unavailable_after{};  // without a live copy of an expert
  /// What the job that copies the rows of a frame calls at its end, on the device: leads to
  /// copied().
  std::function<std::function<void()>(std::uint64_t number)> when_copied;
};

class exchange {
public:
  explicit exchange(exchange_parts parts);

  /// The rows of a lane: normed (rows, width) and experts (rows, k) stay as they are until the call
  /// is closed; `keep` owns the rows.
  struct rows_of_call {
    layer_index layer;
    std::int64_t rows = 0;
    std::int64_t k = 0;
    const float* normed = nullptr;
    const std::uint32_t* experts = nullptr;
    std::shared_ptr<const void> keep;
  };
  void open(std::uint32_t lane, rows_of_call ask);
  void copied(std::uint64_t number);
  void take_results(const incoming_ptr& message, const transport::wire::results& r);
  void take_refusal(const incoming& message, const transport::wire::refused& r);

  /// errc::stale_epoch unless it is later than the one in use.
  /// `coming`: experts without a live copy for which one is being loaded. Rows for them wait.
  result<void> use_placement(cluster::map_ptr map,
                             std::span<const cluster::group_directory::seated_group> groups,
                             std::vector<transport::wire::expert_name> coming);
  void note(transport::node_identity peer, cluster::node_health health);
  void list(std::span<const cluster::listed_node> members);

  /// Does what is due. Wanted again at look_at(), when anything is.
  void look();
  std::optional<time_point_ns> look_at() const noexcept { return look_at_; }

  /// Calls whose answers are all there, or that failed. The lane is free again after close().
  struct ended_call {
    std::uint32_t lane = 0;
    std::optional<error> failure;
  };
  std::vector<ended_call> take_ended() { return std::exchange(ended_, {}); }
  /// Of an ended call without failure: what to sum.
  const std::byte* const* answers(std::uint32_t lane) const;
  void close(std::uint32_t lane);

  struct epochs_in_use {
    epoch current, oldest;
    friend bool operator==(const epochs_in_use&, const epochs_in_use&) = default;
  };
  /// Nothing before the first placement.
  std::optional<epochs_in_use> epochs() const;
  held counts() const;

private:
  enum class call_state { idle, gathering, ending };

  struct parcel {
    experts::group_plan plan;
    std::uint32_t sent = 0;  // rows
  };

  struct call {
    call_state state = call_state::idle;
    rows_of_call ask;
    cluster::map_ptr map;  // of the epoch that it keeps in use
    std::vector<parcel> parcels;
    std::vector<std::uint32_t> parked;  // pairs that no live copy could compute
    std::optional<time_point_ns> parked_since;
    time_point_ns progressed;
    std::optional<experts::answer_table> answers;
    std::vector<std::shared_ptr<const void>> payloads;  // what the table points into
    std::optional<error> failure;
    int copying = 0;  // jobs that still read ask.normed
  };

  /// One frame: a range of rows of one parcel of a call.
  struct errand {
    std::uint32_t lane = 0;
    std::uint32_t parcel = 0;
    experts::send_range range;
    group_id group;
    std::uint32_t pairs = 0, ahead = 0;  // that it asks for; that the group had before them
    transport::address to;
    transport::wire::dispatch message;
    time_point_ns sent_at, deadline;
    int tries = 0;
    bool is_copying = false;
    bool has_left = false;         // the transport took it at least once
    bool is_stuck = false;         // the transport, or the group, had no room the last time
    bool is_orphan = false;        // nothing waits for it
    bool is_dropped = false;       // gone but for the copy job
    std::optional<error> refusal;  // it cannot be sent, now or later
  };
  using errand_map = std::map<std::uint64_t, errand>;
  using pairs_by_lane = std::vector<std::vector<std::uint32_t>>;

  const experts::group_plan& plan_of(const errand& e) const;
  std::size_t row_bytes() const;
  bool is_answer_to(const errand& e, const incoming& message) const;
  /// Rows that were given to groups. `pairs` ascending.
  std::uint32_t assign(std::uint32_t lane,
                       const std::vector<std::uint32_t>& pairs,
                       const cluster::avoided_groups& avoid);
  /// targets_ of the pairs.
  void choose(const call& c,
              const std::vector<std::uint32_t>& pairs,
              const cluster::avoided_groups& avoid);
  std::uint32_t add_parcels(call& c, std::vector<experts::group_plan> plans);
  std::uint32_t assign_again(pairs_by_lane& open, const cluster::avoided_groups& avoid);
  void unpark();
  void send_ready(std::uint32_t lane);
  void send_waiting();
  void prepare(std::uint32_t lane, std::uint32_t parcel, const experts::send_range& range);
  void copy_rows(std::uint64_t number, errand& e, std::shared_ptr<aligned_buffer> to);
  void dispatch(errand& e);
  bool hedge(const errand& e, bool is_free);
  /// What the errand awaits is asked elsewhere, and no more of it.
  void move(errand_map::iterator which, const cluster::avoided_groups& avoid);
  void lose(node_id node);
  void suspect(node_id node);
  void take_tails(node_id node, pairs_by_lane& open);
  void look_after(std::uint64_t number, time_point_ns now);
  errand_map::iterator drop(errand_map::iterator which);
  errand_map::iterator orphan(errand_map::iterator which);
  void end(std::uint32_t lane, std::optional<error> why);
  void check_calls(time_point_ns now);
  std::optional<std::uint32_t> gone_for_good(const call& c) const;
  void find_next_look();
  void wake(time_point_ns when);

  exchange_parts parts_;
  std::optional<cluster::placement_table> table_;
  std::vector<transport::wire::expert_name> coming_;  // ascending
  cluster::group_directory directory_;
  experts::credit_ledger credits_;
  cluster::hedge_budget budget_;
  cluster::group_loads loads_;
  std::map<group_id, cluster::answer_times> times_;
  std::vector<std::shared_ptr<call>> calls_;
  errand_map errands_;  // by the number of the frame
  std::uint64_t next_number_ = 1;
  std::vector<group_id> targets_;  // of the pairs being assigned
  std::vector<ended_call> ended_;
  std::optional<time_point_ns> look_at_;
  held counts_;
};

}  // namespace atl::actors
