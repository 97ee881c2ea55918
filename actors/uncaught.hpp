// What happens when an exception leaves a handler: no actor of ours throws by intent, so that is
// memory that cannot be had, or a bug. An actor that ended in silence would leave requests waiting
// for ever; the process says what happened and ends with status 1 instead.
#pragma once

#include <caf/fwd.hpp>

namespace atl::actors {

/// For an actor's constructor.
void end_process_on_exception(caf::scheduled_actor& self);

}  // namespace atl::actors
