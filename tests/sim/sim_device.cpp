#include "tests/sim/sim_device.hpp"

#include <utility>

namespace atl::sim {

sim_device::sim_device(std::shared_ptr<transport::event_queue> events,
                       random_source random,
                       duration_ns least,
                       duration_ns spread)
    : events_{std::move(events)}, random_{random}, least_{least}, spread_{spread} {}

void sim_device::submit(tensor::job work) {
  const auto more = random_.below(static_cast<std::uint64_t>(spread_.count()));
  const auto takes = static_cast<double>(least_.count() + static_cast<std::int64_t>(more));
  auto shared = std::make_shared<tensor::job>(std::move(work));
  ++open_;
  events_->at(events_->now() + duration_ns{static_cast<std::int64_t>(takes * factor_)},
              [this, shared] { run(std::move(*shared)); });
}

void sim_device::run(tensor::job work) {
  if (is_dead_) return;
  if (is_frozen_) {
    due_.push_back(std::move(work));
    return;
  }
  --open_;
  inner_.submit(std::move(work));
}

tensor::device_activity sim_device::activity() const noexcept {
  return {inner_.activity().progress, open_ > 0};
}

void sim_device::thaw() {
  is_frozen_ = false;
  for (auto& work : std::exchange(due_, {})) run(std::move(work));
}

void sim_device::kill() {
  is_dead_ = true;
  due_.clear();
}

}  // namespace atl::sim
