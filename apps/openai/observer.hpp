// What the API tells those who count: metrics, logs and the dashboard. Plain values.
#pragma once

#include "runtime/base/clock.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace atl::openai {

/// How a generation request ended.
struct request_record {
  std::string id;     // X-Request-Id
  std::string trace;  // trace id of the client's traceparent, or empty
  std::string route;  // "chat", "completions"
  std::string tenant;
  int status = 200;        // as sent, or as it would have been had the stream not begun
  std::string finish;      // "stop", "length", "tool_calls", "error", "disconnect"
  std::string error_type;  // of a failure
  bool is_stream = false;
  int choices = 0;
  std::int64_t prompt_tokens = 0;
  std::int64_t generated_tokens = 0;
  std::int64_t cached_tokens = 0;
  std::int64_t tokens_max = 0;
  duration_ns queued{};
  duration_ns first_token{};  // since arrival; 0: none came
  duration_ns total{};
};

/// Called on the I/O thread; returns within microseconds.
class observer {
public:
  virtual ~observer() = default;
  virtual void ended(const request_record& record) = 0;
  /// Between two tokens of a choice, of which `tokens` came together.
  virtual void token_interval(duration_ns interval, std::size_t tokens) = 0;
  virtual void generated(std::size_t tokens) = 0;
};

/// A request that is under way, for people.
struct live_request {
  std::uint64_t number = 0;  // of the service
  std::string id;
  std::string route;
  std::string tenant;
  std::string state;  // "reading", "waiting", "generating"
  bool is_stream = false;
  std::int64_t prompt_tokens = 0;
  std::int64_t generated_tokens = 0;
  double age_s = 0;
};

}  // namespace atl::openai
