// GET /api/v1/audit, and what an answered request becomes in the audit log. For the .cpp files of
// this folder. Pure but for the log.
#pragma once

#include "apps/cluster/api_question.hpp"
#include "apps/cluster/audit_log.hpp"

namespace atl::ops {

result<question> list_audit(const call& c, const api_backend& on);

/// Of a change that somebody with a key asked for; its status and outcome come later.
audit_entry audit_of(const call& c, const api_backend& on);

/// Writes it down with how it went, and answers then.
void answer_audited(const api_backend& on,
                    audit_entry entry,
                    http::response reply,
                    const std::shared_ptr<http::exchange>& answer);

}  // namespace atl::ops
