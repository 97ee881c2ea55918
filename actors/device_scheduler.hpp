// Runs CAF's actors on the workers of a device, beside the chunks of its jobs.
//
// Why: the actor that waits for a job then takes its turn on the worker that ended the job,
// microseconds later and without a system call; and one pool of threads means that kernels and
// actors never fight for cores. A handler must therefore be short (1 ms at most): while it runs,
// its worker computes nothing.
//
// Use: load it into the configuration of an actor_system, which must end before the device does.
#pragma once

#include "runtime/tensor/device.hpp"

#include <caf/actor_system_config.hpp>

namespace atl::actors {

/// An actor system's configuration whose scheduler is `device`. The device outlives the system.
class device_system_config : public caf::actor_system_config {
public:
  explicit device_system_config(tensor::device& device);

  tensor::device& device() const noexcept { return device_; }

private:
  tensor::device& device_;
};

}  // namespace atl::actors
