// The route of the cluster's API by which operators say where experts are to be. For the .cpp files
// of this folder. Pure.
#pragma once

#include "apps/cluster/api_question.hpp"

namespace atl::ops {

/// A plan of what is named, which is applied; the rest stays. With If-Match refused (412) where the
/// placement is of another epoch.
result<question> put_placement(const call& c, const api_backend& on);

}  // namespace atl::ops
