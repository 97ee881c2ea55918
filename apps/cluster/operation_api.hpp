// The routes of the cluster's API that are about what operators asked for. For the .cpp
// files of this folder. Pure.
#pragma once

#include "apps/cluster/api_question.hpp"

namespace atl::ops {

result<question> list_operations(const call& c, const api_backend& on);
result<question> get_operation(const call& c, const api_backend& on);
result<question> cancel_operation(const call& c, const api_backend& on);

}  // namespace atl::ops
