// The routes of the cluster's API that are about models, experts and their placement. For the .cpp
// files of this folder. Pure.
#pragma once

#include "apps/cluster/api_question.hpp"

namespace atl::ops {

result<question> list_models(const call& c, const api_backend& on);
result<question> list_experts(const call& c, const api_backend& on);
result<question> get_expert(const call& c, const api_backend& on);
/// With the epoch as its entity tag.
result<question> get_placement(const call& c, const api_backend& on);

// Changes by hand. With If-Match they are refused (412) where the placement is of another epoch.
result<question> move_expert(const call& c, const api_backend& on);
result<question> replicate_expert(const call& c, const api_backend& on);
result<question> drop_expert(const call& c, const api_backend& on);
result<question> pin_expert(const call& c, const api_backend& on);
result<question> unpin_expert(const call& c, const api_backend& on);

}  // namespace atl::ops
