// The routes of the cluster's API that are about certificates of nodes. For the .cpp files of this
// folder. Pure.
#pragma once

#include "apps/cluster/api_question.hpp"

namespace atl::ops {

result<question> list_certificates(const call& c, const api_backend& on);
/// All nodes hear of it, and its connections end.
result<question> revoke_certificate(const call& c, const api_backend& on);

}  // namespace atl::ops
