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

}  // namespace atl::transport::wire
