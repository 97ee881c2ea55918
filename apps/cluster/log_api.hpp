// The routes of the cluster's API that are about what the coordinator's process logs. For the .cpp
// files of this folder.
#pragma once

#include "apps/cluster/api_question.hpp"

namespace atl::ops {

/// The level is its entity tag.
result<question> get_log_level(const call& c, const api_backend& on);
/// Until the process ends. With If-Match refused (412) where the level is another by now.
result<question> set_log_level_of(const call& c, const api_backend& on);

}  // namespace atl::ops
