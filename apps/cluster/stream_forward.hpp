// What a gateway does where somebody asks the cluster's API for a stream of events: it asks the
// coordinator for the same, and hands on what comes as it comes. A thread for each, so many at
// most.
#pragma once

#include "apps/http/message.hpp"

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

namespace atl::ops {

/// Whether a request wants server-sent events.
bool wants_stream(const http::request& request);

class stream_forward {
public:
  static constexpr std::size_t streams_most = 16;

  /// The coordinator's URL, and the file with its authority's certificate.
  stream_forward(std::string server, std::string ca_file)
      : server_{std::move(server)}, ca_file_{std::move(ca_file)} {}

  /// Any thread; does not wait.
  void handle(http::request&& request, std::shared_ptr<http::exchange> answer);
  /// Ends all that run; their clients come back. Waits for the threads, a moment each.
  void end();

private:
  struct stream {
    bool has_ended = false;
    std::jthread thread;
  };

  void run(const std::stop_token& stop,
           const http::request& request,
           const std::shared_ptr<http::exchange>& answer) const;

  std::string server_, ca_file_;
  std::mutex mutex_;
  std::list<stream> streams_;
};

}  // namespace atl::ops
