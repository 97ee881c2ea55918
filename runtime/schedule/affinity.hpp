// Sends requests that begin alike to the shard that has their beginning cached, as long as that
// makes no shard much busier than the others. Pure; a choice never changes an answer, only how much
// of it is computed again.
#pragma once

#include "runtime/schedule/release.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace atl::schedule {

/// Which shard got the last request of a key. Keeps some thousand keys; a new one takes the place
/// of an old one.
class shard_memory {
public:
  void note(std::uint64_t key, std::size_t shard);
  std::optional<std::size_t> find(std::uint64_t key) const;

private:
  struct entry {
    std::uint64_t key = 0;
    std::optional<std::size_t> shard;
  };
  static constexpr std::size_t entries = 4096;
  std::vector<entry> entries_ = std::vector<entry>(entries);
};

/// `known` where the request may go there, it has room and, beyond the request's own tokens, at
/// most a quarter more to come than the shard that shard_with_room() takes; else that one.
std::optional<std::size_t> shard_near(const std::vector<shard_load>& shards,
                                      const shard_need& need,
                                      std::optional<std::size_t> known);

}  // namespace atl::schedule
