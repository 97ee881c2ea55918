#include "apps/cluster/api_forward.hpp"

#include "apps/http/client.hpp"
#include "apps/http/url.hpp"
#include "apps/serve/board.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace atl::ops {
namespace {

constexpr std::size_t threads_count = 4;
constexpr std::size_t waiting_max = 64;
constexpr std::chrono::seconds connect_patience{3};
constexpr std::chrono::seconds patience{10};
constexpr int events_wait_s = 5;

// The client writes Content-Type and Host by itself.
constexpr std::array<std::string_view, 5> asked_with{
    "authorization", "if-match", "if-none-match", "idempotency-key", "x-request-id"};
constexpr std::array<std::string_view, 6> answered_with{
    "allow", "cache-control", "etag", "location", "retry-after", "www-authenticate"};

bool is_among(std::string_view name, const auto& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// A path that means the same when it is sent as it is.
bool is_plain(std::string_view path) {
  return std::all_of(path.begin(), path.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view{"/-._~:,"}.find(c) != std::string_view::npos;
  });
}

http::call_request call_of(const http::request& from) {
  http::call_request r;
  r.method = from.method;
  r.path = from.path;
  if (const auto query = forwarded_query(from.query); !query.empty()) r.path += "?" + query;
  r.body = from.body;
  r.time = patience;
  for (const auto& h : from.headers)
    if (is_among(h.name, asked_with)) r.headers.push_back(h);
  return r;
}

http::response answer_of(http::call_reply&& from) {
  http::response r;
  r.status = from.status;
  r.body = std::move(from.body);
  for (auto& h : from.headers) {
    if (h.name == "content-type") r.content_type = h.value;
    if (is_among(h.name, answered_with)) r.headers.push_back(std::move(h));
  }
  return r;
}

/// Of one thread: keeps its connection for questions. What changes something goes over a fresh one,
/// since nobody could tell whether it arrived over one that the coordinator was closing.
class forwarder {
public:
  forwarder(const std::string& server, const std::string& ca_file)
      : server_{server}, ca_file_{ca_file} {}

  http::response exchange(const http::request& asked) {
    const bool is_question = asked.method == "GET";
    if (!is_question) client_.reset();
    const bool is_kept = client_ != nullptr;
    auto reply = once(asked);
    if (reply.has_error() && is_kept) reply = once(asked);
    if (reply.has_value()) return answer_of(std::move(*reply));
    http::response r = serve::problem(
        503, "no coordinator", "the coordinator does not answer: " + reply.error().message());
    r.headers.push_back({"retry-after", "1"});
    return r;
  }

private:
  result<http::call_reply> once(const http::request& asked) {
    if (!client_) {
      http::client_options o;
      ATOLL_ASSIGN(o.server, http::parse_server_url(server_));
      o.ca_file = ca_file_;
      o.connect_time = connect_patience;
      ATOLL_ASSIGN(client_, http::client::create(std::move(o)));
    }
    auto reply = client_->exchange(call_of(asked));
    if (reply.has_error()) client_.reset();
    return reply;
  }

  const std::string& server_;
  const std::string& ca_file_;
  std::unique_ptr<http::client> client_;
};

}  // namespace

std::string forwarded_query(std::string_view query) {
  constexpr std::string_view wait = "wait=";
  std::string kept;
  while (!query.empty()) {
    const std::string_view one = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), one.size() + 1));
    if (!kept.empty()) kept += '&';
    const std::string_view value = one.starts_with(wait) ? one.substr(wait.size()) : "";
    const bool is_number =
        !value.empty() && value.find_first_not_of("0123456789") == std::string_view::npos;
    // The coordinator refuses what is more than a minute.
    const bool is_long = is_number && value.size() <= 2 && std::stoi(std::string{value}) <= 60 &&
                         std::stoi(std::string{value}) > events_wait_s;
    kept += is_long ? std::string{wait} + std::to_string(events_wait_s) : std::string{one};
  }
  return kept;
}

api_forward::api_forward(std::string server, std::string ca_file)
    : server_{std::move(server)}, ca_file_{std::move(ca_file)}, streams_{server_, ca_file_} {
  for (std::size_t i = 0; i < threads_count; ++i) threads_.emplace_back([this] { run(); });
}

api_forward::~api_forward() {
  end_streams();
  {
    const std::lock_guard lock{mutex_};
    is_ending_ = true;
    waiting_.clear();
  }
  changed_.notify_all();
  threads_.clear();
}

void api_forward::handle(http::request&& request, std::shared_ptr<http::exchange> answer) {
  if (!is_plain(request.path))
    return answer->reply(serve::problem(404, "not found", "there is nothing at " + request.path));
  if (wants_stream(request)) return streams_.handle(std::move(request), std::move(answer));
  {
    const std::lock_guard lock{mutex_};
    if (!is_ending_ && waiting_.size() < waiting_max) {
      waiting_.push_back({std::move(request), std::move(answer)});
      changed_.notify_one();
      return;
    }
  }
  answer->reply(serve::problem(503, "not now", "too many requests wait for the coordinator"));
}

void api_forward::run() {
  forwarder by{server_, ca_file_};
  for (;;) {
    item next;
    {
      std::unique_lock lock{mutex_};
      changed_.wait(lock, [this] { return is_ending_ || !waiting_.empty(); });
      if (is_ending_) return;
      next = std::move(waiting_.front());
      waiting_.pop_front();
    }
    next.answer->reply(by.exchange(next.request));
  }
}

}  // namespace atl::ops
