// The count of what is inside a cluster, so that a request is refused before it is a message, or
// even text that has to be tokenized. Any thread; every answer takes well under a microsecond.
#pragma once

#include "runtime/base/clock.hpp"
#include "runtime/schedule/admission.hpp"
#include "runtime/schedule/retry.hpp"

#include <cstdint>
#include <mutex>
#include <string>

namespace atl::actors {

class front_desk {
public:
  /// Limits without a place (sequences_max 0) are those of a gateway that knows of no shard yet: it
  /// is closed until open(). The clock outlives it.
  front_desk(schedule::admission_limits limits, const clock& time);

  /// Reserves for a request, or says why not.
  result<void> enter(std::int64_t prompt_tokens, std::int64_t new_tokens_max);
  /// One of those inside goes to a shard.
  void start();
  /// One of those is at no shard any more: it waits again, or leaves.
  void wait_again();
  /// One of those who wait.
  void leave(std::int64_t prompt_tokens, std::int64_t new_tokens_max);

  /// Whether even the smallest request would be refused now.
  result<void> ask() const;
  /// When a refused client may try again: whole seconds in [1, 60].
  duration_ns retry_after() const;
  /// There are shards, for so many sequences and tokens; those inside stay.
  void open(std::int64_t sequences_max, std::int64_t tokens_max);
  /// There is no shard: every request is refused with errc::unavailable and this sentence.
  void close(std::string why);
  /// An operator gives this gateway nothing new: requests are refused with this sentence; those
  /// inside stay. Empty: it takes requests again.
  void set_out_of_use(std::string why);
  /// For requests to come; those inside stay.
  void set_queue_limit(std::int64_t queued_max);

  struct figures {
    std::int64_t running = 0;  // at shards
    std::int64_t waiting = 0;  // at the gateway
    std::int64_t queue_limit = 0;
    std::int64_t tokens_reserved = 0;
    std::int64_t tokens_limit = 0;
    std::string out_of_use;  // why; empty: it takes requests
  };
  figures now() const;

private:
  result<void> check_open() const;

  const clock& time_;
  mutable std::mutex mutex_;
  schedule::admission_limits limits_;
  schedule::admission_load load_;
  std::int64_t running_ = 0;
  std::string closed_;  // why; empty: it is open
  std::string out_of_use_;
  schedule::retry_estimate endings_;
};

}  // namespace atl::actors
