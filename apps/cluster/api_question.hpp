// What a route of the cluster's API makes of a request: a question to the coordinator's mind. For
// the .cpp files of this folder. Pure.
#pragma once

#include "apps/cluster/api_reply.hpp"
#include "apps/cluster/cluster_api.hpp"
#include "apps/http/message.hpp"
#include "cluster/control.hpp"
#include "runtime/base/clock.hpp"
#include "runtime/base/result.hpp"

#include <charconv>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace atl::ops {

/// What a route does on the coordinator's state.
using question = std::function<result<api_reply>(cluster::control&, time_point_ns)>;

struct call {
  http::request request;
  std::string id;  // what "{id}" stood for
  std::shared_ptr<http::exchange> answer;
};

/// errc::not_found: the text is no number.
template <class Number>
result<Number> number_of(std::string_view what, std::string_view text) {
  Number value{};
  const char* const end = text.data() + text.size();
  const auto [at, code] = std::from_chars(text.data(), end, value);
  if (code == std::errc{} && at == end) return value;
  return error{errc::not_found, "there is no " + std::string{what} + " " + std::string{text}};
}

/// Why changes are refused now.
std::optional<error> trouble_of(const api_backend& on);

/// Refuses a body's fields and parameters.
result<void> no_more(const call& c);

/// Asked at most once: a repeat with the same Idempotency-Key is answered with the operation or the
/// plan that the first was about; another request with that key is a conflict.
result<question> once(const call& c, question q);

/// The entity tag of a placement.
std::string tag_of(epoch version);
/// Whether a header of entity tags, as of If-Match, names this one.
bool names_tag(std::string_view header, const std::string& tag);
/// With If-Match: asked where it names the placement's epoch, errc::stale_epoch otherwise.
question if_matched(const call& c, question q);

/// 202 while it runs, 200 when it has ended.
result<api_reply> operation_reply(const cluster::control& on, result<std::uint64_t> made);

}  // namespace atl::ops
