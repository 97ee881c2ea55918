// The routes of the cluster's API that are about requests under way at gateways: listing them,
// ending one, and the line by which gateways are asked (request_hub.hpp). Never a prompt's or an
// answer's text.
//
// Threads: all members on the server's I/O thread; answers come from others.
#pragma once

#include "apps/cluster/api_question.hpp"
#include "apps/cluster/request_hub.hpp"

#include <memory>

namespace atl::ops {

class request_desk : public std::enable_shared_from_this<request_desk> {
public:
  explicit request_desk(const api_backend& on) : on_{on}, hub_{std::make_shared<request_hub>(on)} {}

  void list(call&& c);
  void show(call&& c);
  void cancel(call&& c);
  void line(call&& c);

private:
  /// Asks the gateway of the request that the call names.
  void ask_about(const call& c,
                 boost::json::object asked_for,
                 std::function<void(result<boost::json::object>)> then);

  const api_backend on_;  // its own: answers may come when the API is gone
  std::shared_ptr<request_hub> hub_;
};

}  // namespace atl::ops
