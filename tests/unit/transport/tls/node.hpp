// A node on TLS whose frames and losses, with their causes, are kept.
#pragma once

#include "tests/unit/transport/tls_fabric.hpp"

#include <utility>

namespace atl::transport {

class witness final : public receiver {
public:
  void on_frame(frame&& f) noexcept override {
    const std::lock_guard lock{mutex_};
    frames_.push_back(std::move(f));
  }
  void on_peer_gone(node_identity peer, const error& cause) noexcept override {
    const std::lock_guard lock{mutex_};
    gone_.emplace_back(peer, cause.message());
  }
  std::vector<frame> frames() const {
    const std::lock_guard lock{mutex_};
    return frames_;
  }
  std::vector<std::pair<node_identity, std::string>> gone() const {
    const std::lock_guard lock{mutex_};
    return gone_;
  }

private:
  mutable std::mutex mutex_;
  std::vector<frame> frames_;
  std::vector<std::pair<node_identity, std::string>> gone_;
};

/// Enters itself into the world's book.
struct tls_node {
  tls_node(const tls_world& world, std::uint32_t id, std::uint64_t life = 1)
      : tls_node{world, id, life, world.options(node_id{id})} {}
  tls_node(const tls_world& world, std::uint32_t id, std::uint64_t life, tls_options options)
      : self{node_id{id}, incarnation{life}},
        net{make_tls_transport(std::move(options), world.book).value()},
        in{std::make_shared<witness>()} {
    if (const auto listening = net->listen(self, in); listening.has_error()) {
      failure = listening.error().message();
    }
    world.book->put({self, net->local_address(), {}, {}});
  }

  /// The cause of the first loss; empty where none comes.
  std::string loss() const {
    return eventually([&] { return !in->gone().empty(); }) ? in->gone().front().second
                                                           : std::string{};
  }
  bool has_frames(std::size_t count) const {
    return eventually([&] { return in->frames().size() >= count; });
  }
  bool counts(std::uint64_t tls_counters::*what, std::uint64_t to) const {
    return eventually([&] { return net->counters().*what == to; });
  }

  node_identity self;
  std::unique_ptr<tls_transport> net;
  std::shared_ptr<witness> in;
  std::string failure;
};

inline bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace atl::transport
