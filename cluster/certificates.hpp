// Certificates that the authority issued to nodes: which have not run out, and which are worth
// nothing all the same. Pure functions on what the coordinator keeps; times are milliseconds of the
// calendar. A certificate counts for clock_skew_max (five minutes) longer than it says.
#pragma once

#include "cluster/records.hpp"
#include "transport/wire/control.hpp"

namespace atl::cluster {

/// One that a node asks for beyond so many valid ones waits until the last is an hour old: whoever
/// cannot keep what it gets, and asks again, still has a valid one.
inline constexpr std::size_t certificates_at_once = 16;
inline constexpr std::int64_t certificate_pause_ms = 3'600'000;

/// Revoked itself, or of a node that was removed.
bool is_revoked(const durable_state& of, const std::string& serial, node_id node);

/// Those that have not run out, by ascending node and then in the order in which they were issued.
/// `revoked_unix_ms` of a removed node's is not 0 either.
std::vector<certificate_record> valid_certificates(const durable_state& of, std::int64_t now_ms);

/// errc::overloaded: the node has to wait before it gets another.
result<void> check_issue(const durable_state& of, node_id node, std::int64_t now_ms);

/// Drops those that have run out.
void forget_expired(durable_state& in, std::int64_t now_ms);

/// Puts in whom nodes must not believe: serials of valid ones that are revoked, and nodes that were
/// removed and have valid ones. At most revoked_max of each; of more, the last to have been
/// admitted.
void add_revoked(const durable_state& of, std::int64_t now_ms, transport::wire::members& to);

}  // namespace atl::cluster
