// Which nodes live on an in-process network, and who wants to know when one ends. For backends
// whose nodes share a process. Thread-safe; calls no receiver itself, so no lock is held across a
// delivery.
#pragma once

#include "transport/transport.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace atl::transport {

class node_directory {
public:
  /// One life of one node. Its fields belong to the directory; `self` never changes.
  struct entry {
    const node_identity self;
    std::weak_ptr<receiver> to;
    bool is_open = true;
    std::vector<std::weak_ptr<entry>> watchers;
    std::map<node_id, std::uint64_t> sent;  // frames, by destination
  };
  using life = std::shared_ptr<entry>;

  result<life> open(node_identity self, std::weak_ptr<receiver> to);
  /// The open life of `peer`, which `by` then watches.
  result<life> watch(const life& by, node_id peer);
  bool is_open(const life& node) const;
  /// The place of the next frame from this life to a node, counted from 1.
  std::uint64_t next_sequence(const life& from, node_id to);
  /// errc::peer_gone when the life has ended or its receiver expired.
  result<std::shared_ptr<receiver>> receiver_of(const life& node) const;
  /// Ends a life and returns those who watched it; empty when it had ended before.
  std::vector<life> close(const life& node);

private:
  mutable std::mutex mutex_;
  std::map<node_id, life> latest_;  // the last known life, open or not
};

}  // namespace atl::transport
