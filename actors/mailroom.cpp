#include "actors/mailroom.hpp"

#include "runtime/base/log.hpp"

#include <utility>

namespace atl::actors {

mailroom::mailroom(transport::node_identity self, std::shared_ptr<transport::transport> link)
    : self_{self}, link_{std::move(link)} {}

void mailroom::bind(std::uint32_t slot, deliver_function deliver) {
  slots_[slot] = std::move(deliver);
}

void mailroom::unbind() { slots_.clear(); }

result<std::shared_ptr<transport::endpoint>> mailroom::endpoint_to(node_id peer,
                                                                   std::uint64_t bytes) {
  const std::lock_guard lock{mutex_};
  auto& known = endpoints_[peer];
  if (known == nullptr) {
    ATOLL_ASSIGN(known, link_->connect(peer));
  }
  ++counts_.frames;
  counts_.bytes += bytes;
  return known;
}

result<void> mailroom::send_frame(node_id to, transport::frame f) {
  ATOLL_ASSIGN(const auto target, endpoint_to(to, f.metadata.size() + f.payload.bytes.size()));
  return target->send(std::move(f));
}

mailroom::traffic mailroom::counts() const {
  const std::lock_guard lock{mutex_};
  return counts_;
}

void mailroom::on_frame(transport::frame&& f) noexcept {
  auto body = transport::wire::decode(f);
  const auto slot = slots_.find(f.header.destination.slot);
  if (body.has_error() || slot == slots_.end()) {
    {
      const std::lock_guard lock{mutex_};
      ++counts_.refused;
    }
    log_warning("frame of kind " + std::string{transport::to_string(f.header.kind)} + " refused: " +
                (body.has_error()
                     ? body.error().message()
                     : "no actor at slot " + std::to_string(f.header.destination.slot)));
    return;
  }
  slot->second(std::make_shared<const incoming>(incoming{
      f.header.source, f.header.sender, transport::plane_of(f.header.kind), std::move(*body)}));
}

void mailroom::on_peer_gone(transport::node_identity peer, const error& cause) noexcept {
  const std::lock_guard lock{mutex_};
  endpoints_.erase(peer.node);
  log_warning("node " + std::to_string(peer.node.value) + " is gone: " + cause.message());
}

}  // namespace atl::actors
