#include "transport/ucx/ucx.hpp"

#include "transport/ucx/engine.hpp"

#include <mutex>
#include <utility>

namespace atl::transport {

namespace {

class ucx_endpoint final : public endpoint {
public:
  ucx_endpoint(std::shared_ptr<ucx::engine> by, std::shared_ptr<ucx::link> to)
      : engine_{std::move(by)}, link_{std::move(to)} {}

  node_identity peer() const noexcept override { return link_->peer; }

  result<void> send(frame f) override {
    {
      const std::lock_guard lock{mutex_};
      if (is_closed_) return error{errc::peer_gone, "this endpoint is closed"};
    }
    return engine_->send(link_, std::move(f));
  }

  /// The way to the peer stays open: other endpoints use it, and the peer's frames come over it.
  void close() noexcept override {
    const std::lock_guard lock{mutex_};
    is_closed_ = true;
  }

private:
  std::shared_ptr<ucx::engine> engine_;
  std::shared_ptr<ucx::link> link_;
  std::mutex mutex_;
  bool is_closed_ = false;
};

class registered_region final : public memory_region {
public:
  registered_region(std::span<std::byte> bytes, std::unique_ptr<ucx::registration> registered)
      : bytes_{bytes}, registered_{std::move(registered)} {}
  std::span<std::byte> bytes() const noexcept override { return bytes_; }

private:
  std::span<std::byte> bytes_;
  std::unique_ptr<ucx::registration> registered_;
};

class transport_over_ucx final : public ucx_transport {
public:
  transport_over_ucx(ucx_options options,
                     std::shared_ptr<address_book> book,
                     std::shared_ptr<ucx::context> home)
      : book_{std::move(book)},
        home_{std::move(home)},
        engine_{std::make_shared<ucx::engine>(std::move(options), book_, home_)} {}
  transport_over_ucx(const transport_over_ucx&) = delete;
  transport_over_ucx& operator=(const transport_over_ucx&) = delete;
  ~transport_over_ucx() override { transport_over_ucx::close(); }

  result<void> listen(node_identity self, std::weak_ptr<receiver> to) override {
    return engine_->start(self, std::move(to));
  }

  result<std::shared_ptr<endpoint>> connect(node_id peer) override {
    if (!engine_->is_listening()) return error{errc::invalid_argument, "connect before listen"};
    ATOLL_ASSIGN(auto address, book_->find(peer));
    if (address.ucx.empty()) {
      return error{errc::peer_gone,
                   "node " + std::to_string(peer.value) + " does not listen over UCX"};
    }
    ATOLL_ASSIGN(auto to, engine_->connect(std::move(address)));
    return std::shared_ptr<endpoint>{std::make_shared<ucx_endpoint>(engine_, std::move(to))};
  }

  result<std::unique_ptr<memory_region>> register_memory(std::span<std::byte> bytes) override {
    ATOLL_ASSIGN(auto registered, ucx::registration::make(home_, bytes));
    return std::unique_ptr<memory_region>{
        std::make_unique<registered_region>(bytes, std::move(registered))};
  }

  void close() noexcept override { engine_->stop(); }

  std::vector<std::byte> local_address() const override { return engine_->local_address(); }
  ucx_counts counts() const override { return engine_->counts(); }

private:
  std::shared_ptr<address_book> book_;
  std::shared_ptr<ucx::context> home_;
  std::shared_ptr<ucx::engine> engine_;
};

}  // namespace

result<std::unique_ptr<ucx_transport>> make_ucx_transport(ucx_options options,
                                                          std::shared_ptr<address_book> book) {
  if (options.accepts == nullptr || book == nullptr) {
    return error{errc::invalid_argument, "ucx: who may connect has to be said"};
  }
  ATOLL_ASSIGN(auto home, ucx::context::make(options.interface));
  return std::unique_ptr<ucx_transport>{
      std::make_unique<transport_over_ucx>(std::move(options), std::move(book), std::move(home))};
}

}  // namespace atl::transport
