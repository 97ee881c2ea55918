// A receiver that keeps what it is given, and frames to send to it.
#pragma once

#include "runtime/base/clock.hpp"
#include "transport/transport.hpp"

#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <poll.h>
#include <vector>

namespace atl::transport {

class inbox final : public receiver {
public:
  void on_frame(frame&& f) noexcept override {
    const std::lock_guard lock{mutex_};
    frames_.push_back(std::move(f));
  }
  void on_peer_gone(node_identity peer, const error& cause) noexcept override {
    const std::lock_guard lock{mutex_};
    gone_.push_back(peer);
    causes_.push_back(cause);
  }
  std::vector<frame> frames() const {
    const std::lock_guard lock{mutex_};
    return frames_;
  }
  std::vector<node_identity> gone() const {
    const std::lock_guard lock{mutex_};
    return gone_;
  }
  std::vector<error> causes() const {
    const std::lock_guard lock{mutex_};
    return causes_;
  }
  void clear() {
    const std::lock_guard lock{mutex_};
    frames_.clear();
  }

private:
  mutable std::mutex mutex_;
  std::vector<frame> frames_;
  std::vector<node_identity> gone_;
  std::vector<error> causes_;  // of those
};

/// A frame whose metadata and payload say `number`.
inline frame numbered_frame(std::uint64_t number) {
  frame f;
  f.header.kind = frame_kind::dispatch;
  f.header.source.slot = 3;
  f.header.destination.slot = 4;
  f.header.epoch = atl::epoch{7};
  f.metadata.resize(16);
  std::memcpy(f.metadata.data(), &number, sizeof number);
  f.payload = own_payload(std::vector<std::uint64_t>{number, ~number, number * 3});
  return f;
}

inline std::uint64_t number_of(const frame& f) {
  std::uint64_t number = 0;
  if (f.metadata.size() == 16) std::memcpy(&number, f.metadata.data(), sizeof number);
  return number;
}

inline std::vector<std::uint64_t> numbers_of(const std::vector<frame>& frames) {
  std::vector<std::uint64_t> out;
  for (const frame& f : frames) out.push_back(number_of(f));
  return out;
}

/// Looks once a millisecond, for at most a minute.
inline bool eventually(const std::function<bool()>& condition) {
  const steady_clock time;
  const time_point_ns end = time.now() + std::chrono::minutes{1};
  while (!condition()) {
    if (time.now() > end) return false;
    ::poll(nullptr, 0, 1);
  }
  return true;
}

/// A node: its transport, its inbox.
struct test_node {
  test_node(std::unique_ptr<transport> t, std::uint32_t id, std::uint64_t life = 1)
      : self{node_id{id}, incarnation{life}}, net{std::move(t)}, in{std::make_shared<inbox>()} {
    is_listening = net->listen(self, in).has_value();
  }
  node_identity self;
  std::unique_ptr<transport> net;
  std::shared_ptr<inbox> in;
  bool is_listening = false;
};

}  // namespace atl::transport
