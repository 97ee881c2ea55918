// The attention shards that a gateway knows: who the members are (as the coordinator says), what
// this node's own heartbeats say of them, and what each has been handed. Plain state with its
// rules; owned by the gateway.
//
//   said by the coordinator   by heartbeats   requests
//   alive                     alive           may go there
//   alive, suspect            suspect         only where no shard is alive
//   cordoned                  any but dead    stay, no more come
//   draining                  any but dead    move away where they can, no more come
//   dead, or no member        any             are lost, and replayed
//   any                       dead            likewise, until this life's heartbeats come again
#pragma once

#include "actors/messages.hpp"
#include "runtime/schedule/release.hpp"

#include <map>
#include <optional>
#include <vector>

namespace atl::actors {

class shard_roster {
public:
  /// Places whose shard is lost, to be emptied by the caller at once. The place may hold the
  /// shard's next life already. A list that is not newer than the last changes nothing.
  std::vector<std::size_t> take(const transport::wire::members& all);
  std::vector<std::size_t> take(const peer_changed& change);

  /// The place of a living shard; none for an older life.
  std::optional<std::size_t> find(transport::address shard, incarnation life) const;

  const transport::address& address(std::size_t place) const { return seats_[place].at; }
  bool is_draining(std::size_t place) const;
  /// By place; those of the lost are closed.
  const std::vector<schedule::shard_load>& loads() const noexcept { return loads_; }
  schedule::shard_load& load(std::size_t place) { return loads_[place]; }

  bool has_any() const;  // that requests may go to
  /// Of those: sequences together, pages together.
  schedule::release_limits capacity() const;

private:
  struct seat {
    transport::address at;
    incarnation life;
    transport::wire::member_state said = transport::wire::member_state::dead;
    bool is_lost = true;
  };
  /// What the heartbeats say of a node.
  struct beat {
    incarnation life;
    peer_state state = peer_state::alive;
  };

  std::size_t place_for(transport::address shard);
  /// Says what may go to a shard now; notes it in `lost` when it was not lost before.
  void judge(std::size_t place, std::vector<std::size_t>& lost);

  std::vector<seat> seats_;
  std::vector<schedule::shard_load> loads_;
  std::map<node_id, beat> beats_;
  std::uint64_t version_ = 0;
};

}  // namespace atl::actors
