#include "tests/unit/transport/ucx_fabric.hpp"

namespace atl::transport {

class published final : public transport {
public:
  published(ucx_world& world, std::unique_ptr<ucx_transport> inner)
      : world_{world}, inner_{std::move(inner)} {
    const std::lock_guard lock{world_.mutex_};
    world_.members_.insert(inner_.get());
  }
  published(const published&) = delete;
  published& operator=(const published&) = delete;
  ~published() override {
    published::close();
    const std::lock_guard lock{world_.mutex_};
    world_.members_.erase(inner_.get());
    const auto c = inner_->counts();
    world_.past_.frames_taken += c.frames_taken;
    world_.past_.frames_lost += c.frames_lost;
    world_.past_.frames_delivered += c.frames_delivered;
    world_.past_.frames_refused += c.frames_refused;
  }

  result<void> listen(node_identity self, std::weak_ptr<receiver> to) override {
    ATOLL_TRY(inner_->listen(self, std::move(to)));
    node_ = self.node;
    world_.book->put({self, {}, inner_->local_address(), good_ticket});
    return {};
  }
  result<std::shared_ptr<endpoint>> connect(node_id peer) override { return inner_->connect(peer); }
  result<std::unique_ptr<memory_region>> register_memory(std::span<std::byte> bytes) override {
    return inner_->register_memory(bytes);
  }
  void close() noexcept override {
    if (node_ != node_id{}) world_.book->erase(std::exchange(node_, node_id{}));
    inner_->close();
  }

  ucx_counts counts() const { return inner_->counts(); }

private:
  ucx_world& world_;
  std::unique_ptr<ucx_transport> inner_;
  node_id node_;  // 0 where it does not listen; tests count nodes from 1
};

std::unique_ptr<transport> ucx_world::join(ucx_options with) {
  return std::make_unique<published>(*this, make_ucx_transport(std::move(with), book).value());
}

bool ucx_world::is_quiet() const {
  const std::lock_guard lock{mutex_};
  ucx_counts sum = past_;
  for (const auto* member : members_) {
    const auto c = member->counts();
    sum.frames_taken += c.frames_taken;
    sum.frames_lost += c.frames_lost;
    sum.frames_delivered += c.frames_delivered;
    sum.frames_refused += c.frames_refused;
  }
  return sum.frames_taken == sum.frames_lost + sum.frames_delivered + sum.frames_refused;
}

ucx_counts counts_of(const transport& joined) {
  return dynamic_cast<const published&>(joined).counts();
}

}  // namespace atl::transport
