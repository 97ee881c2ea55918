// Calendars of simulated nodes, and whom a new connection trusts by them.
#include "tests/sim/cluster_world.hpp"
#include "transport/tls/certificate.hpp"

#include <algorithm>

namespace atl::sim {
namespace {

// Some day in 2027, when the first node starts.
constexpr std::int64_t first_day_ms = 1'800'000'000'000;
constexpr std::int64_t certificate_ms = 24 * 3600 * 1000;

}  // namespace

std::int64_t cluster_world::unix_ms(node_id node) const {
  const auto off = calendars_.find(node);
  return first_day_ms + now().value / 1'000'000 +
         (off == calendars_.end() ? 0 : off->second.count() / 1'000'000);
}

result<void> cluster_world::check_connection(node_id a, node_id b) {
  const auto is_allowed = compare_calendars(a, b);
  if (is_allowed.has_error()) refused_[std::minmax(a, b)] = now();
  return is_allowed;
}

std::optional<time_point_ns> cluster_world::refused_at(node_id a, node_id b) const {
  const auto last = refused_.find(std::minmax(a, b));
  if (last == refused_.end()) return std::nullopt;
  return last->second;
}

/// What both ends of a TLS connection ask of each other's clocks and certificates (of the day the
/// cluster began; nodes renew theirs at half their life).
result<void> cluster_world::compare_calendars(node_id a, node_id b) const {
  namespace tls = transport::tls;
  tls::certificate_facts facts;
  facts.not_before_unix_s = first_day_ms / 1000 - tls::clock_skew_max_s;
  facts.not_after_unix_s = (first_day_ms + certificate_ms) / 1000;
  const std::int64_t at_a = unix_ms(a) / 1000, at_b = unix_ms(b) / 1000;
  for (const std::int64_t own : {at_a, at_b})
    if (auto why = tls::describe_validity(facts, own); !why.empty())
      return error{errc::unauthorised, "the certificate " + why};
  return tls::check_clocks(at_a, "node " + std::to_string(b.value), at_b);
}

}  // namespace atl::sim
