#include "actors/device_scheduler.hpp"

#include "runtime/base/assert.hpp"

#include <caf/actor_system.hpp>
#include <caf/detail/thread_safe_actor_clock.hpp>
#include <caf/execution_unit.hpp>
#include <caf/resumable.hpp>
#include <caf/scheduler/abstract_coordinator.hpp>

#include <condition_variable>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>

namespace atl::actors {
namespace {

// Messages an actor may handle before others get their turn.
constexpr std::size_t messages_per_turn = 16;

class device_scheduler final : public caf::scheduler::abstract_coordinator {
public:
  explicit device_scheduler(caf::actor_system& system)
      : abstract_coordinator{system},
        device_{dynamic_cast<const device_system_config&>(system.config()).device()},
        unit_{*this} {}

  static caf::actor_system::module* make(caf::actor_system& system, caf::detail::type_list<>) {
    return std::make_unique<device_scheduler>(system).release();  // the system deletes it
  }

  void enqueue(caf::resumable* what) override {
    {
      const std::lock_guard lock{mutex_};
      ++turns_;
    }
    device_.post(*std::make_unique<turn>(*this, what).release());
  }

  caf::detail::thread_safe_actor_clock& clock() noexcept override { return clock_; }

protected:
  void start() override {
    timer_ = std::thread{[this] {
      system().thread_started();
      clock_.run_dispatch_loop();
      system().thread_terminates();
    }};
    abstract_coordinator::start();
  }

  void stop() override {
    stop_actors();
    // The last actors may have told of their end and still be inside their last turn.
    device_.wait_idle();
    clock_.cancel_dispatch_loop();
    timer_.join();
    // An actor counts as ended before its last turn has returned; that turn still uses the system.
    std::unique_lock lock{mutex_};
    no_turns_.wait(lock, [this] { return turns_ == 0; });
  }

private:
  /// What actors see of the thread that runs them. It has no state of its own, so all workers share
  /// one.
  class unit final : public caf::execution_unit {
  public:
    explicit unit(device_scheduler& owner) : execution_unit{&owner.system()}, owner_{owner} {}
    void exec_later(caf::resumable* what) override { owner_.enqueue(what); }

  private:
    device_scheduler& owner_;
  };

  class turn final : public tensor::task {
  public:
    turn(device_scheduler& owner, caf::resumable* what) : owner_{owner}, what_{what} {}
    void run(tensor::worker&) override {
      const std::unique_ptr<turn> self{this};
      switch (what_->resume(&owner_.unit_, messages_per_turn)) {
      case caf::resumable::resume_later: owner_.enqueue(what_); break;
      case caf::resumable::done:
      case caf::resumable::awaiting_message: caf::intrusive_ptr_release(what_); break;
      case caf::resumable::shutdown_execution_unit: break;
      }
      owner_.end_turn();
    }

  private:
    device_scheduler& owner_;
    caf::resumable* what_;
  };

  void end_turn() {
    const std::lock_guard lock{mutex_};
    if (--turns_ == 0) no_turns_.notify_all();
  }

  tensor::device& device_;
  unit unit_;
  std::mutex mutex_;
  std::condition_variable no_turns_;
  std::size_t turns_ = 0;  // handed to the device and not ended
  caf::detail::thread_safe_actor_clock clock_;
  std::thread timer_;
};

}  // namespace

device_system_config::device_system_config(tensor::device& device) : device_{device} {
  load<device_scheduler>();
  set("scheduler.max-threads", static_cast<std::size_t>(device.workers()));
}

}  // namespace atl::actors
