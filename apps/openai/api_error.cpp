#include "apps/openai/api_error.hpp"

#include "apps/json_text.hpp"
#include "runtime/base/assert.hpp"

#include <utility>

namespace atl::openai {
namespace {

std::string text_or_null(const std::string& text) {
  return text.empty() ? "null" : apps::quoted(text);
}

}  // namespace

api_error::api_error(int status, std::string_view type, std::string message)
    : status_{status}, type_{type}, message_{std::move(message)} {}

api_error api_error::field(std::string_view param, const std::string& what) {
  api_error e{400, "invalid_request_error", std::string{param} + ": " + what};
  e.param_ = param;
  return e;
}

api_error api_error::unknown_model(std::string_view given, std::string_view served) {
  api_error e{404,
              "not_found_error",
              "the model " + std::string{given} + " is not served here; this server has " +
                  std::string{served}};
  e.param_ = "model";
  e.code_ = "model_not_found";
  return e;
}

api_error api_error::busy(int retry_after_s, const std::string& why) {
  api_error e{429, "rate_limit_error", why};
  e.code_ = "overloaded";
  e.retry_after_s_ = retry_after_s;
  return e;
}

api_error api_error::unavailable(int retry_after_s, const std::string& why) {
  api_error e{503, "unavailable_error", why};
  e.code_ = "unavailable";
  e.retry_after_s_ = retry_after_s;
  return e;
}

api_error api_error::from(const error& why, int retry_after_s) {
  switch (why.code()) {
  case errc::invalid_argument:
  case errc::unsupported: return {400, "invalid_request_error", why.message()};
  case errc::overloaded: return busy(retry_after_s, why.message());
  case errc::out_of_memory:
    return unavailable(retry_after_s, "the server has no memory left for this request now");
  case errc::peer_gone:
  case errc::stale_epoch:
    return unavailable(retry_after_s, "a part of the cluster is not there; try again");
  case errc::unavailable: return unavailable(retry_after_s, why.message());
  case errc::cancelled: return unavailable(retry_after_s, "the server is shutting down");
  case errc::deadline: {
    api_error e{504, "timeout_error", why.message()};
    e.code_ = "deadline_exceeded";
    return e;
  }
  default: {
    api_error e{500, "server_error", "the server failed to answer; its log says why"};
    e.code_ = "internal";
    return e;
  }
  }
}

api_error& api_error::with_param(std::string_view param) {
  param_ = param;
  return *this;
}

api_error& api_error::with_code(std::string_view code) {
  code_ = code;
  return *this;
}

std::string api_error::to_json() const {
  return "{\"error\":{\"message\":" + apps::quoted(message_) + ",\"type\":" + apps::quoted(type_) +
         ",\"param\":" + text_or_null(param_) + ",\"code\":" + text_or_null(code_) + "}}";
}

http::response api_error::to_response() const {
  http::response r;
  r.status = status_;
  r.body = to_json();
  if (retry_after_s_ > 0) r.headers.push_back({"retry-after", std::to_string(retry_after_s_)});
  return r;
}

void throw_exception_from_error(const api_error& e, const boost::source_location&) {
  ATOLL_ASSERT(e.status() == 0 && "value() of an outcome that is an error");
  __builtin_unreachable();
}

}  // namespace atl::openai
