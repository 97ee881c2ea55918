// What an actor stands on, in the hands of a test: a medium that keeps what it takes, and a device
// that can be stopped. For one thread.
#pragma once

#include "runtime/tensor/inline_device.hpp"
#include "transport/transport.hpp"

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace atl::actors {

/// Keeps the frames it takes; refuses those to nodes that are set to an error.
class kept_link final : public transport::transport {
public:
  std::vector<atl::transport::frame> frames;
  std::map<node_id, errc> refusing;

  result<void> listen(atl::transport::node_identity,
                      std::weak_ptr<atl::transport::receiver>) override {
    return {};
  }
  result<std::shared_ptr<atl::transport::endpoint>> connect(node_id peer) override {
    return std::shared_ptr<atl::transport::endpoint>{std::make_shared<way>(*this, peer)};
  }
  result<std::unique_ptr<atl::transport::memory_region>>
  register_memory(std::span<std::byte> bytes) override {
    return atl::transport::plain_region(bytes);
  }
  void close() noexcept override {}

private:
  class way final : public atl::transport::endpoint {
  public:
    way(kept_link& link, node_id peer) : link_{link}, peer_{peer} {}
    atl::transport::node_identity peer() const noexcept override { return {peer_, incarnation{1}}; }
    result<void> send(atl::transport::frame f) override {
      const auto refused = link_.refusing.find(peer_);
      if (refused != link_.refusing.end()) return error{refused->second, "no way through"};
      link_.frames.push_back(std::move(f));
      return {};
    }
    void close() noexcept override {}

  private:
    kept_link& link_;
    node_id peer_;
  };
};

/// Runs jobs at once, or keeps them until they are let go.
class stopping_device final : public tensor::device {
public:
  bool is_stopped = false;
  void submit(tensor::job work) override {
    if (is_stopped) {
      kept_.push_back(std::move(work));
    } else {
      inner_.submit(std::move(work));
    }
  }
  void go() {
    is_stopped = false;
    for (; !kept_.empty(); kept_.pop_front()) inner_.submit(std::move(kept_.front()));
  }
  void post(tensor::task& short_work) override { inner_.post(short_work); }
  void wait_idle() override {}
  tensor::device_activity activity() const noexcept override { return inner_.activity(); }
  int workers() const noexcept override { return 1; }
  std::string description() const override { return "a device that can be stopped"; }

private:
  tensor::inline_device inner_;
  std::deque<tensor::job> kept_;
};

}  // namespace atl::actors
