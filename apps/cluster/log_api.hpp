// The routes of the cluster's API that are about what the coordinator's process logs. For the .cpp
// files of this folder.
#pragma once

#include "apps/cluster/api_question.hpp"
#include "runtime/base/log.hpp"

namespace atl::ops {

/// The least that this process logs, by name.
std::string log_level_now();
/// errc::invalid_argument names the field.
result<log_level> log_level_of(std::string_view field, const std::string& name);

/// The level is its entity tag.
result<question> get_log_level(const call& c, const api_backend& on);
/// Until the process ends. With If-Match refused (412) where the level is another by now.
result<question> set_log_level_of(const call& c, const api_backend& on);

}  // namespace atl::ops
