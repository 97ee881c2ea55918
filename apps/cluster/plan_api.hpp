// The routes of the cluster's API that are about plans for uneven loads, and the policy that makes
// them. For the .cpp files of this folder. Pure.
#pragma once

#include "apps/cluster/api_question.hpp"

namespace atl::ops {

/// 202 while it is applied. errc::not_found: there is none such.
result<api_reply> plan_reply(const cluster::control& on, std::uint64_t id);
/// Of a request for a plan: what came of it, or that it is still being made.
result<api_reply> made_reply(cluster::control& on, std::uint64_t request);

// Changes of the placement: with If-Match they are refused (412) where it is of another epoch.
result<question> rebalance(const call& c, const api_backend& on);
result<question> apply_plan(const call& c, const api_backend& on);

result<question> list_plans(const call& c, const api_backend& on);
result<question> get_plan(const call& c, const api_backend& on);
result<question> cancel_plan(const call& c, const api_backend& on);

result<question> get_policy(const call& c, const api_backend& on);
result<question> set_policy(const call& c, const api_backend& on);

}  // namespace atl::ops
