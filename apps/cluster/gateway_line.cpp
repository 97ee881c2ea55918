#include "apps/cluster/gateway_line.hpp"

#include "apps/cluster/state.hpp"
#include "apps/http/client.hpp"
#include "apps/http/url.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace atl::ops {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;

constexpr std::size_t listed_max = 128;  // what the coordinator's API takes at once
constexpr milliseconds look_every{200};
constexpr milliseconds pause_after_failure{1'000};
constexpr milliseconds patience{30'000};  // twice what the coordinator lets a line wait
constexpr std::chrono::seconds answer_patience{1};

json::object to_json(const openai::live_request& r, const std::string& place) {
  return {{"id", place + std::to_string(r.number)},
          {"request_id", r.id},
          {"route", r.route},
          {"key", r.tenant},
          {"state", r.state},
          {"stream", r.is_stream},
          {"prompt_tokens", r.prompt_tokens},
          {"generated_tokens", r.generated_tokens},
          {"age_s", r.age_s}};
}

std::uint64_t number_in(const json::object& o, std::string_view name) {
  const auto* field = o.if_contains(name);
  boost::system::error_code code;
  const auto value = field == nullptr ? 0 : field->to_number<std::uint64_t>(code);
  return code ? 0 : value;
}

/// One call, which ends early where it is to stop.
class call final : public http::call_listener {
public:
  explicit call(http::client& by) : by_{by} {}
  void on_head(int status, const std::vector<http::header>&) override { status_ = status; }
  void on_body(std::string_view piece) override { body_ += piece; }
  void on_end(const std::optional<error>& failure) override {
    is_whole_ = !failure && status_ == 200;
    by_.stop();
  }
  bool is_whole() const { return is_whole_; }
  const std::string& body() const { return body_; }

private:
  http::client& by_;
  int status_ = 0;
  std::string body_;
  bool is_whole_ = false;
};

void watch(http::client& by, const std::stop_token& stop) {
  by.after(look_every, [&by, stop] {
    if (stop.stop_requested()) return by.stop();
    watch(by, stop);
  });
}

result<std::unique_ptr<http::client>>
connected(const std::string& server, const std::string& dir, const std::stop_token& stop) {
  http::client_options o;
  ATOLL_ASSIGN(o.server, http::parse_server_url(server));
  o.ca_file = dir + "/ca.pem";
  ATOLL_ASSIGN(auto by, http::client::create(std::move(o)));
  watch(*by, stop);
  return by;
}

/// What the coordinator says to the answers that it is brought; nothing where that fails.
std::optional<json::value> told(http::client& by, const std::string& dir, json::array answers) {
  const auto certificate = read_text(dir + "/node.pem");
  const auto request = read_text(dir + "/node.csr");
  if (certificate.has_error() || request.has_error()) return std::nullopt;
  http::call_request r;
  r.method = "POST";
  r.path = "/api/v1/gateways/line";
  r.body = json::serialize(json::object{
      {"certificate", *certificate}, {"csr", *request}, {"answers", std::move(answers)}});
  r.time = patience;
  const auto made = std::make_shared<call>(by);
  by.start(std::move(r), made);
  by.run();
  if (!made->is_whole()) return std::nullopt;
  boost::system::error_code code;
  json::value said = json::parse(made->body(), code);
  if (code) return std::nullopt;
  return said;
}

json::array answers_to(const json::value& said, const gateway_line::answer_function& by) {
  json::array all;
  const auto* o = said.if_object();
  const auto* questions = o == nullptr ? nullptr : o->if_contains("questions");
  if (questions == nullptr || !questions->is_array()) return all;
  for (const json::value& q : questions->get_array()) {
    if (!q.is_object()) continue;
    const auto found = std::make_shared<std::promise<std::string>>();
    auto answer = found->get_future();
    by(json::serialize(q), [found](const std::string& text) { found->set_value(text); });
    if (answer.wait_for(answer_patience) != std::future_status::ready) continue;
    boost::system::error_code code;
    json::value read = json::parse(answer.get(), code);
    if (code || !read.is_object()) continue;
    read.get_object()["number"] = number_in(q.get_object(), "number");
    all.push_back(std::move(read));
  }
  return all;
}

}  // namespace

void answer_question(serve::server& at,
                     node_id gateway,
                     incarnation life,
                     const std::string& question,
                     std::function<void(const std::string&)> done) {
  boost::system::error_code code;
  const json::value read = json::parse(question, code);
  if (code || !read.is_object()) return done("{}");
  const json::object& q = read.get_object();
  const auto* what = q.if_contains("what");
  const bool is_list = what != nullptr && *what == "list";
  const bool is_cancel = what != nullptr && *what == "cancel";
  const std::uint64_t number = number_in(q, "request");
  const std::string place = std::to_string(gateway.value) + "-" + std::to_string(life.value) + "-";
  if (!is_list && number_in(q, "life") != life.value)
    return done(is_cancel ? R"({"is_cancelled":false})" : "{}");
  if (is_cancel)
    return at.cancel_request(number, [done = std::move(done)](bool is_done) {
      done(json::serialize(json::object{{"is_cancelled", is_done}}));
    });
  at.look_at_requests([is_list, number, place, done = std::move(done)](
                          const std::vector<openai::live_request>& live) {
    if (is_list) {
      json::array items;
      for (std::size_t i = 0; i < std::min(live.size(), listed_max); ++i)
        items.push_back(to_json(live[i], place));
      return done(json::serialize(json::object{
          {"items", std::move(items)}, {"more", live.size() - std::min(live.size(), listed_max)}}));
    }
    for (const auto& r : live)
      if (r.number == number)
        return done(json::serialize(json::object{{"request", to_json(r, place)}}));
    done("{}");
  });
}

gateway_line::gateway_line(std::string server, std::string dir, answer_function by)
    : server_{std::move(server)},
      dir_{std::move(dir)},
      by_{std::move(by)},
      thread_{[this](const std::stop_token& stop) { run(stop); }} {}

void gateway_line::run(const std::stop_token& stop) const {
  std::mutex mutex;
  std::condition_variable_any ending;
  std::unique_ptr<http::client> by;
  json::array answers;
  while (!stop.stop_requested()) {
    const bool is_kept = by != nullptr;
    if (!is_kept)
      if (auto made = connected(server_, dir_, stop); made.has_value()) by = std::move(*made);
    const auto said = by ? told(*by, dir_, std::exchange(answers, {})) : std::nullopt;
    if (said) {
      answers = answers_to(*said, by_);
      continue;
    }
    by.reset();
    if (is_kept) continue;  // the coordinator may have closed it meanwhile
    // The coordinator is away, or starts; its other side asks again.
    std::unique_lock lock{mutex};
    ending.wait_for(lock, stop, pause_after_failure, [] { return false; });
  }
}

}  // namespace atl::ops
