// Hands operators' requests on to the coordinator, so that any gateway of a cluster answers them.
// Keys are the coordinator's to judge; nothing is kept here.
//
// Threads: handle() on the I/O thread, which it never holds up; answers come from threads of its
// own. The destructor waits for what is under way, at most ten seconds.
#pragma once

#include "apps/cluster/stream_forward.hpp"
#include "apps/http/message.hpp"

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace atl::ops {

/// What of a query is handed on: those who wait for events are answered within five seconds.
std::string forwarded_query(std::string_view query);

class api_forward {
public:
  /// The coordinator's URL, and the file with its authority's certificate.
  api_forward(std::string server, std::string ca_file);
  ~api_forward();
  api_forward(const api_forward&) = delete;
  api_forward& operator=(const api_forward&) = delete;

  void handle(http::request&& request, std::shared_ptr<http::exchange> answer);
  /// Of events; their clients come back.
  void end_streams() { streams_.end(); }

private:
  struct item {
    http::request request;
    std::shared_ptr<http::exchange> answer;
  };

  void run();

  std::string server_, ca_file_;
  stream_forward streams_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<item> waiting_;
  bool is_ending_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace atl::ops
