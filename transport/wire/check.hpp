// The rules of messages.hpp as code. check() answers an empty string, or a sentence naming the
// first field that breaks a rule. Used by encode on what is about to be sent and by decode on what
// came. Rules about text are not here: encode cuts it and decode measures it before copying.
#pragma once

#include "transport/wire/messages.hpp"

#include <string>

namespace atl::transport::wire {

std::string check(const submit& m);
std::string check(const cancel& m);
std::string check(const tokens& m);
std::string check(const observed& m);
std::string check(const dispatch& m);
std::string check(const results& m);
std::string check(const refused& m);
std::string check(const place& m);
std::string check(const load& m);
std::string check(const placed& m);
std::string check(const load_report& m);
std::string check(const heartbeat& m);
std::string check(const join& m);
std::string check(const welcome& m);
std::string check(const members& m);
std::string check(const adopted& m);
std::string check(const release& m);
std::string check(const path_report& m);
std::string check(const leave& m);
std::string check(const dismissed& m);
std::string check(const fetch& m);
std::string check(const chunk& m);

/// Bytes of a member's strings and byte fields: what members_bytes_max bounds.
std::size_t text_bytes(const member_info& m) noexcept;

}  // namespace atl::transport::wire
