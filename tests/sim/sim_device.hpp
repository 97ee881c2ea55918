// A device in virtual time: each job runs after a time drawn from the seed, in the one thread of
// the simulation. It can be slow, frozen with its node, and gone with it. One thread.
#pragma once

#include "runtime/base/random.hpp"
#include "runtime/tensor/inline_device.hpp"
#include "transport/sim/event_queue.hpp"

#include <deque>
#include <memory>

namespace atl::sim {

class sim_device final : public tensor::device {
public:
  /// Jobs take `least` and up to `spread` more.
  sim_device(std::shared_ptr<transport::event_queue> events,
             random_source random,
             duration_ns least,
             duration_ns spread);

  void submit(tensor::job work) override;
  void post(tensor::task& short_work) override { inner_.post(short_work); }
  void wait_idle() override {}
  tensor::device_activity activity() const noexcept override;
  int workers() const noexcept override { return 1; }
  std::string description() const override { return "simulated cpu"; }

  /// Jobs from now on take so many times longer.
  void slow_down(double factor) noexcept { factor_ = factor; }
  void freeze() noexcept { is_frozen_ = true; }
  /// Jobs whose time has come meanwhile run now.
  void thaw();
  /// No job runs any more.
  void kill();

private:
  void run(tensor::job work);

  std::shared_ptr<transport::event_queue> events_;
  random_source random_;
  duration_ns least_, spread_;
  tensor::inline_device inner_;
  std::deque<tensor::job> due_;  // while frozen
  double factor_ = 1;
  std::uint64_t open_ = 0;
  bool is_frozen_ = false;
  bool is_dead_ = false;
};

}  // namespace atl::sim
