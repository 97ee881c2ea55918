// A gateway's side of request_hub.hpp: answers the coordinator's questions about its requests, over
// a line that it keeps open to the coordinator's API.
#pragma once

#include "apps/serve/server.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <functional>
#include <string>
#include <thread>

namespace atl::ops {

/// Answers a question of request_hub.hpp, both as JSON, from the server's I/O thread. Any thread,
/// while the server lives. At most 128 requests are listed, the oldest.
void answer_question(serve::server& at,
                     node_id gateway,
                     incarnation life,
                     const std::string& question,
                     std::function<void(const std::string&)> done);

class gateway_line {
public:
  /// As answer_question().
  using answer_function =
      std::function<void(const std::string& question, std::function<void(const std::string&)>)>;

  /// The coordinator's URL, and the directory with what the node shows it.
  gateway_line(std::string server, std::string dir, answer_function by);
  /// Ends the line, and waits for what is being answered; about a second at most.
  ~gateway_line() = default;
  gateway_line(const gateway_line&) = delete;
  gateway_line& operator=(const gateway_line&) = delete;

private:
  void run(const std::stop_token& stop) const;

  std::string server_, dir_;
  answer_function by_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace atl::ops
