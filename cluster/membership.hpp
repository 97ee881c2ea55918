// What one node thinks of another. Plain values; cluster/peer_watch.hpp has the transitions.
#pragma once

#include <cstdint>

namespace atl::cluster {

enum class member_state : std::uint8_t { alive, suspect, dead };

}  // namespace atl::cluster
