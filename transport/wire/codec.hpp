// Messages to frames and back. Both directions check the same rules (messages.hpp), so a message
// that encodes also decodes. Pure functions, safe from any thread; a builder per thread is kept
// between calls. The frames still lack what a transport stamps (nodes' incarnation, sequence,
// checksums).
#pragma once

#include "runtime/base/result.hpp"
#include "transport/wire/messages.hpp"

namespace atl::transport::wire {

/// The frame of a message; its payload shares the message's. errc::invalid_argument names the field
/// that breaks a rule.
result<frame> encode(const submit& m, address from, address to);
result<frame> encode(const cancel& m, address from, address to);
result<frame> encode(const tokens& m, address from, address to);
result<frame> encode(const observed& m, address from, address to);
result<frame> encode(const dispatch& m, address from, address to);
result<frame> encode(const results& m, address from, address to);
result<frame> encode(const refused& m, address from, address to);
result<frame> encode(const place& m, address from, address to);
result<frame> encode(const load& m, address from, address to);
result<frame> encode(const placed& m, address from, address to);
result<frame> encode(const load_report& m, address from, address to);
result<frame> encode(const heartbeat& m, address from, address to);
result<frame> encode(const join& m, address from, address to);
result<frame> encode(const welcome& m, address from, address to);
result<frame> encode(const members& m, address from, address to);
result<frame> encode(const adopted& m, address from, address to);
result<frame> encode(const release& m, address from, address to);
result<frame> encode(const path_report& m, address from, address to);
result<frame> encode(const leave& m, address from, address to);
result<frame> encode(const dismissed& m, address from, address to);
result<frame> encode(const fetch& m, address from, address to);
result<frame> encode(const chunk& m, address from, address to);

/// The message of a frame whose header and metadata a transport has checked. The metadata is
/// verified and its meaning checked; errc::malformed_frame says what was wrong. Rows share the
/// frame's payload.
result<message> decode(const frame& f);

}  // namespace atl::transport::wire
