// What operators ask of a coordinator, how it keeps what it decides, and who makes its plans. Plain
// values.
#pragma once

#include "cluster/control.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <functional>
#include <memory>
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

/// Makes a plan (cluster::plan_elastic), from any thread and beside the caller, who may be gone
/// when `done` is called.
using plan_done = std::function<void(result<cluster::elastic_plan>)>;
using plan_function =
    std::function<void(std::shared_ptr<const cluster::elastic_input> input, plan_done done)>;

}  // namespace atl::actors
