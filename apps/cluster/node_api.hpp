// The routes of the cluster's API that are about nodes and the cluster as a whole. For the .cpp
// files of this folder. Pure.
#pragma once

#include "apps/cluster/api_question.hpp"

namespace atl::ops {

result<question> get_cluster(const call& c, const api_backend& on);
result<question> list_nodes(const call& c, const api_backend& on);
result<question> get_node(const call& c, const api_backend& on);
result<question> cordon(const call& c, const api_backend& on);
result<question> uncordon(const call& c, const api_backend& on);
result<question> drain(const call& c, const api_backend& on);
result<question> cancel_drain(const call& c, const api_backend& on);
result<question> remove_node(const call& c, const api_backend& on);
result<question> get_load(const call& c, const api_backend& on);

}  // namespace atl::ops
