// The routes of the cluster's API that are about settings of the coordinator that may change while
// it runs. For the .cpp files of this folder. Pure but for the level of the log.
#pragma once

#include "apps/cluster/api_question.hpp"

namespace atl::ops {

result<question> get_config(const call& c, const api_backend& on);
/// Of the fields that are given; with If-Match refused (412) where the settings are others by now.
result<question> set_config(const call& c, const api_backend& on);

}  // namespace atl::ops
