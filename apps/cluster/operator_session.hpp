// A client of the cluster's API: one question at a time, with errors as the API tells them. For the
// .cpp files of this folder, since it brings Boost.JSON. One thread.
#pragma once

#include "apps/http/client.hpp"
#include "apps/remote/server.hpp"
#include "runtime/base/result.hpp"

#include <boost/json/value.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace atl::ops {

/// How the coordinator is reached: --server or ATOLL_SERVER, --ca or ATOLL_CA, --admin-key-file or
/// ATOLL_ADMIN_KEY_FILE.
struct operator_server {
  std::string url;
  std::string ca_file;
  std::string key_file;
};

class operator_session {
public:
  static result<operator_session> open(const operator_server& at);

  /// The answer's JSON. A refusal is an error with what the API said.
  result<boost::json::value> ask(const std::string& method,
                                 const std::string& path,
                                 const std::string& body = {},
                                 std::vector<http::header> headers = {});

  /// Of later questions: how long an answer may take.
  void set_patience(std::chrono::milliseconds time) { patience_ = time; }
  /// Waits so long.
  void pause(std::chrono::milliseconds time);

private:
  operator_session(std::string url, std::unique_ptr<http::client> by)
      : url_{std::move(url)}, by_{std::move(by)} {}

  std::string url_;
  std::unique_ptr<http::client> by_;
  std::chrono::milliseconds patience_{90'000};  // an answer may wait a minute for events
};

/// What an answer that is no success means.
error api_refusal(const std::string& server, const http::call_reply& reply);

}  // namespace atl::ops
