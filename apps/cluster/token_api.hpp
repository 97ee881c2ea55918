// The routes of the cluster's API that are about join tokens. For the .cpp
// files of this folder. Pure.
#pragma once

#include "apps/cluster/api_question.hpp"

namespace atl::ops {

result<question> list_tokens(const call& c, const api_backend& on);
result<question> create_token(const call& c, const api_backend& on);
result<question> revoke_token(const call& c, const api_backend& on);

}  // namespace atl::ops
