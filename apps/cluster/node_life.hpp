// What the actors of a node tell of its fate, kept for the main thread. told() from any thread.
#pragma once

#include "apps/serve/service.hpp"
#include "runtime/base/result.hpp"

#include <mutex>
#include <optional>

namespace atl::ops {

class node_life {
public:
  explicit node_life(serve::service_signals& wakes) : wakes_{wakes} {}

  void ready(result<void> outcome) {
    const std::lock_guard lock{mutex_};
    ready_ = std::move(outcome);
    wakes_.wake();
  }

  void ended(std::optional<error> cause) {
    const std::lock_guard lock{mutex_};
    ended_ = std::move(cause);
    wakes_.wake();
  }

  /// Empty while it is not known.
  std::optional<result<void>> readiness() const {
    const std::lock_guard lock{mutex_};
    return ready_;
  }

  /// Empty while it runs; then the cause, if there is one.
  std::optional<std::optional<error>> end() const {
    const std::lock_guard lock{mutex_};
    return ended_;
  }

private:
  serve::service_signals& wakes_;
  mutable std::mutex mutex_;
  std::optional<result<void>> ready_;
  std::optional<std::optional<error>> ended_;
};

}  // namespace atl::ops
