#include "cluster/certificates.hpp"

#include <algorithm>
#include <set>
#include <tuple>

namespace atl::cluster {
namespace {

namespace wire = transport::wire;

constexpr std::int64_t skew_ms = 300'000;

bool is_valid(const certificate_record& c, std::int64_t now_ms) {
  return c.not_after_unix_ms + skew_ms > now_ms;
}

bool is_removed(const durable_state& of, node_id node) {
  const auto at = of.nodes.find(node);
  return at == of.nodes.end() || at->second.is_removed;
}

template <class T>
void keep_last(std::vector<T>& list) {
  if (list.size() > wire::revoked_max)
    list.erase(list.begin(), list.end() - static_cast<std::ptrdiff_t>(wire::revoked_max));
}

}  // namespace

bool is_revoked(const durable_state& of, const std::string& serial, node_id node) {
  const auto at = of.certificates.find(serial);
  return is_removed(of, node) || (at != of.certificates.end() && at->second.revoked_unix_ms != 0);
}

std::vector<certificate_record> valid_certificates(const durable_state& of, std::int64_t now_ms) {
  std::vector<certificate_record> valid;
  for (const auto& [serial, c] : of.certificates) {
    if (!is_valid(c, now_ms)) continue;
    valid.push_back(c);
    if (c.revoked_unix_ms == 0 && is_removed(of, c.node)) valid.back().revoked_unix_ms = now_ms;
  }
  std::sort(valid.begin(), valid.end(), [](const auto& a, const auto& b) {
    return std::tie(a.node, a.issued_unix_ms, a.serial) <
           std::tie(b.node, b.issued_unix_ms, b.serial);
  });
  return valid;
}

result<void> check_issue(const durable_state& of, node_id node, std::int64_t now_ms) {
  std::size_t count = 0;
  std::int64_t last_ms = 0;
  for (const auto& [serial, c] : of.certificates) {
    if (c.node != node || !is_valid(c, now_ms)) continue;
    ++count;
    last_ms = std::max(last_ms, c.issued_unix_ms);
  }
  if (count < certificates_at_once || last_ms + certificate_pause_ms <= now_ms) return {};
  return error{errc::overloaded,
               "node " + std::to_string(node.value) + " has " + std::to_string(count) +
                   " valid certificates, and gets the next an hour after the last"};
}

void forget_expired(durable_state& in, std::int64_t now_ms) {
  std::erase_if(in.certificates, [now_ms](const auto& c) { return !is_valid(c.second, now_ms); });
}

void add_revoked(const durable_state& of, std::int64_t now_ms, wire::members& to) {
  std::set<std::uint32_t> removed;
  for (const auto& [serial, c] : of.certificates) {
    if (!is_valid(c, now_ms)) continue;
    if (is_removed(of, c.node)) {
      removed.insert(c.node.value);
    } else if (const auto bytes = wire::parse_serial(serial); c.revoked_unix_ms != 0 && bytes) {
      to.revoked.push_back(*bytes);
    }
  }
  to.removed.assign(removed.begin(), removed.end());
  keep_last(to.revoked);
  keep_last(to.removed);
}

}  // namespace atl::cluster
