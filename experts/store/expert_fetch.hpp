// Fetching one expert from the nodes that hold it, as a pure state machine: what to ask whom next,
// and where the bytes of an answer go. One question is open at a time.
//
//   poll -> question -> (sent) -> take: bytes to copy -> poll -> ... -> is_complete
//
// A source that stays silent for a second is passed over for the next, in turn; one that is gone,
// that does not hold the expert, or whose answers break a rule is not asked again; one that is full
// is asked again later. What comes late still counts. The fetch fails when no source is left, or
// when nothing came for five seconds.
//
// Threads: one at a time; the spans of arrivals may be filled by others, each by one.
#pragma once

#include "experts/store/expert_store.hpp"
#include "runtime/base/clock.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace atl::experts {

inline constexpr duration_ns fetch_answer_within = std::chrono::seconds{1};
inline constexpr duration_ns fetch_progress_within = std::chrono::seconds{5};
inline constexpr duration_ns fetch_pause = std::chrono::milliseconds{100};

class expert_fetch {
public:
  /// `id` is unique among the fetches of this life of the node and below 2^32. The budget pays for
  /// the memory.
  expert_fetch(std::uint64_t id,
               const expert_key& what,
               std::vector<node_id> sources,
               std::shared_ptr<memory_budget> budget,
               time_point_ns now);

  struct question {
    node_id to;
    transport::wire::fetch ask;
  };
  /// The question to send now, if any; or why the fetch has failed for good.
  result<std::optional<question>> poll(time_point_ns now);
  /// The question that poll() gave could not be sent.
  void unsent(const error& why, time_point_ns now);
  /// One more node holds it.
  void add_source(node_id source);
  /// A source is gone.
  void lost(node_id source, const std::string& why);

  struct arrival {
    std::span<const std::byte> from;  // the chunk's payload
    std::span<std::byte> to;          // as long; in memory()
  };
  /// An answer; nothing where it does not belong here or cannot be used. Fails for good where the
  /// budget has no room for the expert.
  result<std::optional<arrival>> take(node_id from,
                                      const transport::wire::chunk& c,
                                      const model::model_config& config,
                                      time_point_ns now);

  /// All bytes have arrived (and are in place when the copies are done).
  bool is_complete() const noexcept { return memory_ != nullptr && at_ == memory_->layout().total; }
  const std::shared_ptr<owned_expert>& memory() const noexcept { return memory_; }
  const expert_key& what() const noexcept { return what_; }

private:
  std::uint64_t number() const noexcept;
  result<void> check(const transport::wire::chunk& c, const model::model_config& config) const;
  void note_refusal(node_id from, const transport::wire::failure& cause, time_point_ns now);
  void strike(node_id source, const std::string& why);
  void turn(const std::string& why);

  std::uint64_t id_;
  expert_key what_;
  std::vector<node_id> sources_;
  std::shared_ptr<memory_budget> budget_;
  std::size_t turn_ = 0;                // of sources_: whom to ask
  std::optional<time_point_ns> asked_;  // the open question, to sources_[turn_]
  time_point_ns not_before_;
  time_point_ns progress_;
  std::string trouble_;   // the last
  std::uint64_t at_ = 0;  // bytes that have arrived
  std::uint64_t chunks_ = 0;
  std::shared_ptr<owned_expert> memory_;
};

}  // namespace atl::experts
