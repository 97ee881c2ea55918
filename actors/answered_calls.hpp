// Which calls an expert group has, so that a call that its router repeats is not computed twice: of
// those that wait or are computed a mark, of those answered lately the answer. A repeat that comes
// later than that is a call like any other: the same rows give the same answer. Not thread-safe.
#pragma once

#include "transport/transport.hpp"
#include "transport/wire/messages.hpp"

#include <cstddef>
#include <deque>
#include <map>

namespace atl::actors {

class answered_calls {
public:
  /// Answers kept: at most so many, and so many bytes of rows.
  static constexpr std::size_t answers_max = 64;
  static constexpr std::size_t bytes_max = std::size_t{4} << 20;

  /// A call of one life of a node: shard and number name it for good.
  struct key {
    transport::node_identity caller;
    shard_id shard;
    std::uint64_t number = 0;
    friend constexpr auto operator<=>(const key&, const key&) = default;
  };

  struct seen {
    bool is_new = false;
    const transport::wire::results* answer = nullptr;  // valid until the next call of this class
  };
  /// A call has come. New ones are from now on known; neither new nor answered: it is under way.
  seen note(const key& call);
  /// A call that was new is answered.
  void answered(const key& call, const transport::wire::results& answer);
  /// A call that was new is not computed: a repeat of it is new again.
  void forget(const key& call);

private:
  struct state {
    bool is_answered = false;
    transport::wire::results answer;
  };
  std::map<key, state> calls_;
  std::deque<key> kept_;  // answered, oldest first
  std::size_t bytes_ = 0;
};

}  // namespace atl::actors
