// How the coordinator asks gateways about their requests. Nobody can call a gateway, so each keeps
// a line open: a request to the coordinator that is answered with questions as soon as there are
// some, or with none after a while; what it found comes with its next one. A gateway of the
// coordinator's own process is asked directly.
//
// Questions, and answers to them (gateway_line.hpp). Each goes with a "number", by which its answer
// is known:
//   {"what":"list"}                          {"items":[...],"more":N}
//   {"what":"show","life":L,"request":N}     {"request":{...}}, or {} where it has ended
//   {"what":"cancel","life":L,"request":N}   {"is_cancelled":B}
//
// Threads: all members from any thread; `done` on the one that brings the answer.
#pragma once

#include "apps/cluster/cluster_api.hpp"
#include "apps/http/message.hpp"
#include "runtime/base/ids.hpp"
#include "runtime/base/result.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace atl::ops {

class request_hub : public std::enable_shared_from_this<request_hub> {
public:
  static constexpr std::chrono::milliseconds line_time{15'000};
  static constexpr std::chrono::milliseconds answer_time{2'000};
  using answered = std::function<void(result<boost::json::object>)>;

  explicit request_hub(api_backend on) : on_{std::move(on)} {}

  /// errc::unavailable: the gateway did not answer in time.
  void ask(node_id of, boost::json::object question, answered done);
  /// The line of a gateway; the one before it ends.
  void hold(node_id of, std::shared_ptr<http::exchange> line);
  /// What a gateway found; what it was not asked, or answered already, is passed over.
  void answer(node_id of, const boost::json::array& answers);

private:
  struct open_question {
    node_id of;
    boost::json::object what;
    answered done;
    bool is_sent = false;
  };
  using held_line = std::shared_ptr<http::exchange>;

  void ask_here(std::uint64_t number, const boost::json::object& what);
  void expire(std::uint64_t number);
  void end_line(node_id of, const std::weak_ptr<http::exchange>& line);
  /// Empty where there is none; they count as sent.
  boost::json::array take_questions(node_id of);

  const api_backend on_;  // its own: answers may come when the API is gone
  std::mutex mutex_;
  std::uint64_t last_ = 0;
  std::map<std::uint64_t, open_question> open_;
  std::map<node_id, held_line> lines_;
};

}  // namespace atl::ops
