// Answers of the cluster's API as values. For the .cpp files of this folder. Pure.
#pragma once

#include "apps/http/message.hpp"
#include "runtime/base/result.hpp"

#include <boost/json/value.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace atl::ops {

struct api_reply {
  int status = 200;
  boost::json::value body;
  std::vector<http::header> headers = {};
  std::optional<std::uint64_t> made = {};       // the operation that the request began
  std::optional<std::uint64_t> made_plan = {};  // the plan that it made, applied or ended
  /// The request for a plan that is being made beside the coordinator: what comes of it is said.
  std::optional<std::uint64_t> asked_plan = {};
};

http::response to_response(const api_reply& r);

/// problem+json. `conflict`: errc::invalid_argument is the state's doing (409) and not the
/// request's (400).
http::response to_response(const error& e, bool is_conflict);

}  // namespace atl::ops
