#include "apps/cluster/stream_forward.hpp"

#include "apps/http/client.hpp"
#include "apps/http/url.hpp"
#include "apps/serve/board.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace atl::ops {
namespace {

constexpr std::chrono::seconds connect_patience{3};
constexpr std::chrono::milliseconds look_every{200};
constexpr std::size_t refusal_bytes_max = 64 * 1024;
constexpr std::array<std::string_view, 4> asked_with{
    "authorization", "accept", "last-event-id", "x-request-id"};

http::response away(const error& why) {
  auto r =
      serve::problem(503, "no coordinator", "the coordinator does not answer: " + why.message());
  r.headers.push_back({"retry-after", "1"});
  return r;
}

/// From one answer to another, on the thread of a client.
class relay final : public http::call_listener {
public:
  relay(http::client& by, std::shared_ptr<http::exchange> answer)
      : by_{by}, answer_{std::move(answer)} {}

  void on_head(int status, const std::vector<http::header>& headers) override {
    head_.status = status;
    for (const auto& h : headers) {
      if (h.name == "content-type") head_.content_type = h.value;
      if (h.name == "cache-control" || h.name == "www-authenticate") head_.headers.push_back(h);
    }
    is_stream_ = status == 200;
    if (is_stream_) answer_->begin_stream(head_);
  }

  void on_body(std::string_view piece) override {
    if (is_stream_ && !answer_->write(std::string{piece})) by_.stop();
    if (is_stream_) return;
    head_.body +=
        piece.substr(0, refusal_bytes_max - std::min(head_.body.size(), refusal_bytes_max));
  }

  void on_end(const std::optional<error>& failure) override {
    if (is_stream_) {
      answer_->end_stream();
    } else {
      answer_->reply(failure ? away(*failure) : std::move(head_));
    }
    by_.stop();
  }

private:
  http::client& by_;
  std::shared_ptr<http::exchange> answer_;
  http::response head_;
  bool is_stream_ = false;
};

void watch(http::client& by, const std::stop_token& stop) {
  by.after(look_every, [&by, stop] {
    if (stop.stop_requested()) return by.stop();
    watch(by, stop);
  });
}

}  // namespace

bool wants_stream(const http::request& request) {
  return std::any_of(request.headers.begin(), request.headers.end(), [](const http::header& h) {
    return h.name == "accept" && h.value.find("text/event-stream") != std::string::npos;
  });
}

void stream_forward::handle(http::request&& request, std::shared_ptr<http::exchange> answer) {
  const std::lock_guard lock{mutex_};
  streams_.remove_if([](const stream& s) { return s.has_ended; });
  if (streams_.size() == streams_most)
    return answer->reply(serve::problem(503, "not now", "too many clients wait for events"));
  stream& made = streams_.emplace_back();
  made.thread = std::jthread{[this, &made, asked = std::move(request), to = std::move(answer)](
                                 const std::stop_token& stop) {
    run(stop, asked, to);
    const std::lock_guard ending{mutex_};
    made.has_ended = true;
  }};
}

void stream_forward::end() {
  std::list<stream> ended;
  const std::lock_guard lock{mutex_};
  ended.swap(streams_);
  for (stream& s : ended) s.thread.request_stop();
}

void stream_forward::run(const std::stop_token& stop,
                         const http::request& request,
                         const std::shared_ptr<http::exchange>& answer) const {
  http::client_options o;
  auto server = http::parse_server_url(server_);
  if (server.has_error()) return answer->reply(away(server.error()));
  o.server = std::move(*server);
  o.ca_file = ca_file_;
  o.connect_time = connect_patience;
  auto by = http::client::create(std::move(o));
  if (by.has_error()) return answer->reply(away(by.error()));
  http::call_request r;
  r.path = request.path + (request.query.empty() ? "" : "?" + request.query);
  for (const auto& h : request.headers)
    if (std::find(asked_with.begin(), asked_with.end(), h.name) != asked_with.end())
      r.headers.push_back(h);
  (*by)->start(std::move(r), std::make_shared<relay>(**by, answer));
  watch(**by, stop);
  (*by)->run();
  answer->end_stream();
}

}  // namespace atl::ops
