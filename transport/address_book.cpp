#include "transport/address_book.hpp"

#include <utility>

namespace atl::transport {

void address_book::put(peer_address address) {
  const std::lock_guard lock{mutex_};
  auto& known = known_[address.self.node];
  if (address.self.life < known.self.life) return;
  known = std::move(address);
}

void address_book::erase(node_id node) {
  const std::lock_guard lock{mutex_};
  known_.erase(node);
}

result<peer_address> address_book::find(node_id node) const {
  const std::lock_guard lock{mutex_};
  const auto found = known_.find(node);
  if (found == known_.end())
    return error{errc::peer_gone, "no address is known of node " + std::to_string(node.value)};
  return found->second;
}

}  // namespace atl::transport
