// What operators ask of a coordinator, and how it keeps what it decides. Plain values.
#pragma once

#include "cluster/control.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <functional>
#include <string>
#include <vector>

namespace atl::actors {

/// A command or a question of an operator, from any thread. `run` is called by the coordinator and
/// returns within a millisecond; then `done`, once: when what it decided is durable, or with the
/// disk's error.
struct control_call {
  std::function<void(cluster::control&, time_point_ns now)> run;
  std::function<void(result<void>)> done;  // may be empty
};

/// Appends records to stable storage, in the order of calls, and tells from any thread when they
/// are there. Not called again before it has told.
using journal_function =
    std::function<void(std::vector<std::string> records, std::function<void(result<void>)> done)>;

}  // namespace atl::actors
