#include "transport/node_directory.hpp"

#include <algorithm>
#include <string>

namespace atl::transport {

namespace {

error gone(node_id node) {
  return {errc::peer_gone, "node " + std::to_string(node.value) + " is not listening"};
}

}  // namespace

result<node_directory::life> node_directory::open(node_identity self, std::weak_ptr<receiver> to) {
  const std::lock_guard lock{mutex_};
  life& latest = latest_[self.node];
  if (latest != nullptr && (latest->is_open || self.life <= latest->self.life)) {
    return error{errc::invalid_argument,
                 "node " + std::to_string(self.node.value) + " cannot listen as incarnation " +
                     std::to_string(self.life.value) + ": incarnation " +
                     std::to_string(latest->self.life.value) +
                     (latest->is_open ? " is listening" : " came before, take a larger one")};
  }
  latest = std::make_shared<entry>(entry{self, std::move(to), true, {}, {}});
  return latest;
}

result<node_directory::life> node_directory::watch(const life& by, node_id peer) {
  const std::lock_guard lock{mutex_};
  const auto found = latest_.find(peer);
  if (found == latest_.end() || !found->second->is_open) return gone(peer);
  auto& watchers = found->second->watchers;
  std::erase_if(watchers, [](const auto& w) { return w.expired(); });
  const bool known =
      std::any_of(watchers.begin(), watchers.end(), [&](const auto& w) { return w.lock() == by; });
  if (!known) watchers.push_back(by);
  return found->second;
}

std::uint64_t node_directory::next_sequence(const life& from, node_id to) {
  const std::lock_guard lock{mutex_};
  return ++from->sent[to];
}

bool node_directory::is_open(const life& node) const {
  const std::lock_guard lock{mutex_};
  return node->is_open;
}

result<std::shared_ptr<receiver>> node_directory::receiver_of(const life& node) const {
  const std::lock_guard lock{mutex_};
  auto to = node->is_open ? node->to.lock() : nullptr;
  if (to == nullptr) return gone(node->self.node);
  return to;
}

std::vector<node_directory::life> node_directory::close(const life& node) {
  const std::lock_guard lock{mutex_};
  std::vector<life> watchers;
  if (!node->is_open) return watchers;
  node->is_open = false;
  for (const auto& watcher : node->watchers) {
    if (auto w = watcher.lock(); w != nullptr && w->is_open) watchers.push_back(std::move(w));
  }
  node->watchers.clear();
  return watchers;
}

}  // namespace atl::transport
