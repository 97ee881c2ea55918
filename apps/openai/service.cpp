#include "apps/openai/service.hpp"

#include "apps/json_text.hpp"
#include "apps/openai/prepare.hpp"
#include "apps/openai/work_queue.hpp"
#include "apps/values.hpp"
#include "runtime/base/log.hpp"
#include "runtime/base/random.hpp"

#include <algorithm>
#include <charconv>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <utility>

namespace atl::openai {
namespace {

using apps::quoted;

constexpr std::size_t unknown_names_max = 256;  // of which it is said that they are ignored
// An answer is many times as long as what asks for it, and waits for its client to read it.
constexpr std::size_t text_bytes_max = std::size_t{8} << 20;
constexpr std::size_t pieces_max = std::size_t{1} << 19;

/// Events on their way to the I/O thread. One wake-up takes all that have come.
class mailbox {
public:
  using item = std::function<void()>;
  explicit mailbox(std::function<void(std::function<void()>)> post) : post_{std::move(post)} {}

  void push(item what, const std::shared_ptr<mailbox>& self) {
    {
      const std::lock_guard lock{mutex_};
      if (is_closed_) return;
      items_.push_back(std::move(what));
      if (items_.size() > 1) return;
    }
    post_([self] { self->drain(); });
  }

  void close() {
    const std::lock_guard lock{mutex_};
    is_closed_ = true;
    items_.clear();
  }

private:
  void drain() {
    std::vector<item> taken;
    {
      const std::lock_guard lock{mutex_};
      taken.swap(items_);
    }
    for (item& one : taken) one();
  }

  std::mutex mutex_;
  std::vector<item> items_;
  std::function<void(std::function<void()>)> post_;
  bool is_closed_ = false;
};

/// Of "00-TRACE-PARENT-FLAGS" (W3C Trace Context, section 3.2); empty where it is not that.
std::string trace_id(std::string_view traceparent) {
  constexpr std::size_t whole = 55, begin = 3, digits = 32;
  if (traceparent.size() != whole || !traceparent.starts_with("00-") ||
      traceparent[begin + digits] != '-')
    return {};
  const std::string_view id = traceparent.substr(begin, digits);
  const bool is_zero = id.find_first_not_of('0') == std::string_view::npos;
  const bool is_hex = id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  return is_hex && !is_zero ? std::string{id} : std::string{};
}

http::response json_response(std::string body) {
  http::response r;
  r.body = std::move(body);
  return r;
}

}  // namespace

class service::impl : public std::enable_shared_from_this<impl> {
public:
  explicit impl(service_options options)
      : on_{std::move(options)},
        box_{std::make_shared<mailbox>(on_.post)},
        ids_{on_.seed},
        work_{on_.waiting_max, on_.waiting_bytes_max} {
    for (token_id token = 0; token < on_.words->vocabulary_size(); ++token)
      on_.token_bytes_max = std::max(on_.token_bytes_max, on_.words->bytes_of(token, false).size());
  }

  ~impl() { box_->close(); }

  void handle(route where,
              http::request&& request,
              std::shared_ptr<http::exchange> answer,
              const caller& who,
              const std::string& model_id);
  void tick(duration_ns quiet);
  void drain() { is_draining_ = true; }
  void close() { work_.end(); }
  void stop();
  std::size_t reading() const { return work_.size(); }
  std::size_t open_requests() const { return jobs_.size(); }
  std::vector<live_request> live() const;
  bool cancel(std::uint64_t number);

private:
  using job_ptr = std::shared_ptr<job>;

  void generate(route where,
                http::request&& request,
                std::shared_ptr<http::exchange> answer,
                const caller& who);
  void read_and_submit(route where,
                       const http::request& request,
                       const job_ptr& to,
                       const caller& who,
                       std::uint64_t number);
  outcome<prepared>
  read_safely(route where, const http::request& request, const caller& who, std::uint64_t seed);
  outcome<prepared>
  read(route where, const http::request& request, const caller& who, std::uint64_t seed);
  static outcome<void> count_reading(prepared& all, duration_ns read_for);
  void submit_all(prepared&& all, const job_ptr& to);
  void transform(route where, http::request&& request, std::shared_ptr<http::exchange> answer);
  outcome<std::string> transformed(route where, const std::string& body);
  std::string model_json() const;
  outcome<void> check_model(const std::string& given) const;
  api_error shutting_down() const {
    return api_error::unavailable(on_.cluster.retry_after_s(),
                                  "the server is shutting down; ask another one");
  }
  outcome<void> read_timeout(const http::request& request, generation_fields& to) const;
  void tell_unknown(const std::vector<std::string>& names);
  void on_io(std::function<void()> what) { box_->push(std::move(what), box_); }
  void forget_if_ended(const job_ptr& which);

  service_options on_;
  std::shared_ptr<mailbox> box_;
  philox ids_;
  // Used on the I/O thread.
  std::map<std::uint64_t, job_ptr> jobs_;
  std::uint64_t last_number_ = 0;
  bool is_draining_ = false;
  std::mutex told_mutex_;
  std::set<std::string> told_;
  work_queue work_;  // last: its threads end first
};

void service::impl::handle(route where,
                           http::request&& request,
                           std::shared_ptr<http::exchange> answer,
                           const caller& who,
                           const std::string& model_id) {
  switch (where) {
  case route::chat:
  case route::completions: return generate(where, std::move(request), std::move(answer), who);
  case route::models:
    return answer->reply(json_response("{\"object\":\"list\",\"data\":[" + model_json() + "]}"));
  case route::one_model:
    return answer->reply(model_id == on_.model_id
                             ? json_response(model_json())
                             : api_error::unknown_model(model_id, on_.model_id).to_response());
  default: return transform(where, std::move(request), std::move(answer));
  }
}

void service::impl::generate(route where,
                             http::request&& request,
                             std::shared_ptr<http::exchange> answer,
                             const caller& who) {
  const std::uint64_t number = ++last_number_;
  job::parts parts;
  parts.exchange = answer;
  parts.time = on_.time.get();
  parts.watch = on_.watch;
  parts.cancel = on_.cluster.cancel;
  parts.retry_after_s = on_.cluster.retry_after_s;
  parts.elsewhere = [this](std::function<void()> what) {
    return work_.push(work_queue::short_bytes_max + 1, std::move(what));
  };
  parts.id = request.id;
  parts.trace = trace_id(request.header_value("traceparent"));
  parts.route = where == route::chat ? "chat" : "completions";
  parts.tenant = who.tenant;
  const auto made = std::make_shared<job>(std::move(parts), number);
  if (is_draining_) return made->refuse(shutting_down());
  if (const auto full = on_.cluster.refusal())
    return made->refuse(api_error::from(*full, on_.cluster.retry_after_s()));
  jobs_[number] = made;
  answer->when_gone([self = weak_from_this(), made] {
    made->leave();
    if (const auto here = self.lock()) here->forget_if_ended(made);
  });
  if (made->has_ended()) return;
  const std::size_t bytes = request.body.size();
  const bool is_taken =
      work_.push(bytes,
                 [this,
                  where,
                  request = std::make_shared<http::request>(std::move(request)),
                  made,
                  who,
                  number] { read_and_submit(where, *request, made, who, number); });
  if (is_taken) return;
  made->refuse(api_error::busy(on_.cluster.retry_after_s(), "too many requests wait to be read"));
  forget_if_ended(made);
}

outcome<prepared> service::impl::read(route where,
                                      const http::request& request,
                                      const caller& who,
                                      std::uint64_t seed) {
  if (where == route::chat) {
    ATOLL_ASSIGN(chat_request r, parse_chat(request.body, on_.limits));
    ATOLL_TRY(check_model(r.model));
    ATOLL_TRY(read_timeout(request, r));
    tell_unknown(r.unknown);
    return prepare(r, on_, who, seed);
  }
  ATOLL_ASSIGN(completion_request r, parse_completion(request.body, on_.limits));
  ATOLL_TRY(check_model(r.model));
  ATOLL_TRY(read_timeout(request, r));
  tell_unknown(r.unknown);
  return prepare(r, on_, who, seed);
}

/// What libraries throw means that memory has run out: the request's fault, or its bad luck.
outcome<prepared> service::impl::read_safely(route where,
                                             const http::request& request,
                                             const caller& who,
                                             std::uint64_t seed) {
  try {
    return read(where, request, who, seed);
  } catch (const std::exception& e) {
    log_error(std::string{"reading a request failed: "} + e.what());
    return api_error::from(error{errc::out_of_memory, "reading"}, on_.cluster.retry_after_s());
  }
}

void service::impl::read_and_submit(route where,
                                    const http::request& request,
                                    const job_ptr& to,
                                    const caller& who,
                                    std::uint64_t number) {
  if (to->admitted.is_left()) return;
  auto all = read_safely(where, request, who, ids_.at(2, number));
  if (!all.has_error()) {
    const auto in_time = count_reading(*all, on_.time->now() - to->arrived());
    if (in_time.has_error()) all = in_time.error();
  }
  if (all.has_error()) {
    on_io([this, to, why = all.error()] {
      to->refuse(why);
      forget_if_ended(to);
    });
    return;
  }
  all->plan.head.id = (where == route::chat ? "chatcmpl-" : "cmpl-") +
                      apps::hex(ids_.at(0, number)) + apps::hex(ids_.at(1, number)).substr(0, 8);
  all->plan.head.created = on_.unix_time_s();
  submit_all(std::move(*all), to);
}

/// A request's time runs from its arrival.
outcome<void> service::impl::count_reading(prepared& all, duration_ns read_for) {
  for (actors::generation_request& one : all.requests) {
    if (!one.timeout) continue;
    if (*one.timeout <= read_for)
      return api_error::from(error{errc::deadline,
                                   "the request did not end within its timeout of " +
                                       std::to_string(one.timeout->count() / 1'000'000) +
                                       " ms; it was still being read"},
                             1);
    *one.timeout -= read_for;
  }
  return {};
}

void service::impl::submit_all(prepared&& all, const job_ptr& to) {
  std::optional<error> refused;
  const std::weak_ptr<impl> self = weak_from_this();
  for (std::size_t i = 0; i < all.requests.size() && !refused; ++i) {
    const bool is_there = to->admitted.enter([&]() -> std::optional<request_id> {
      auto submitted = on_.cluster.submit(
          std::move(all.requests[i]),
          [self, to, box = box_, index = static_cast<int>(i)](actors::generation_event&& event) {
            box->push(
                [self,
                 to,
                 index,
                 e = std::make_shared<actors::generation_event>(std::move(event))] {
                  to->take(index, std::move(*e));
                  if (const auto here = self.lock()) here->forget_if_ended(to);
                },
                box);
          });
      if (!submitted.has_error()) return *submitted;
      refused = submitted.error();
      return std::nullopt;
    });
    if (!is_there) return;  // the client has left
  }
  if (refused) {
    on_io([this, to, why = *refused] {
      to->refuse(api_error::from(why, on_.cluster.retry_after_s()));
      forget_if_ended(to);
    });
    return;
  }
  on_io([this, to, plan = std::make_shared<job_plan>(std::move(all.plan))] {
    to->start(std::move(*plan));
    forget_if_ended(to);
  });
}

void service::impl::forget_if_ended(const job_ptr& which) {
  if (which->has_ended()) jobs_.erase(which->number());
}

void service::impl::transform(route where,
                              http::request&& request,
                              std::shared_ptr<http::exchange> answer) {
  if (is_draining_) return answer->reply(shutting_down().to_response());
  const auto client = std::make_shared<admission>();
  answer->when_gone([client] { client->leave(); });
  const std::size_t bytes = request.body.size();
  const bool is_taken = work_.push(
      bytes,
      [this, where, body = std::make_shared<std::string>(std::move(request.body)), answer, client] {
        if (client->is_left()) return;
        auto text = transformed(where, *body);
        answer->reply(text.has_error() ? text.error().to_response()
                                       : json_response(std::move(*text)));
      });
  if (!is_taken)
    answer->reply(api_error::busy(on_.cluster.retry_after_s(), "too many requests wait to be read")
                      .to_response());
}

outcome<std::string> service::impl::transformed(route where, const std::string& body) {
  if (where == route::apply_template) {
    ATOLL_ASSIGN(const chat_request r, parse_chat(body, on_.limits));
    ATOLL_TRY(check_model(r.model));
    ATOLL_ASSIGN(const std::string text, text_of(r, on_));
    return "{\"prompt\":" + quoted(text) + "}";
  }
  if (where == route::detokenize) {
    ATOLL_ASSIGN(const detokenize_request r, parse_detokenize(body, on_.limits));
    ATOLL_TRY(check_model(r.model));
    std::size_t bytes = 0;
    for (const token_id token : r.tokens) bytes += on_.words->bytes_of(token, false).size();
    if (bytes > text_bytes_max)
      return api_error::field("tokens", "stand for more than 8 MiB of text; send fewer at once");
    const std::string text = quoted(on_.words->decode(r.tokens, r.skip_special));
    return "{\"prompt\":" + text + ",\"content\":" + text + "}";
  }
  ATOLL_ASSIGN(const tokenize_request r, parse_tokenize(body, on_.limits));
  ATOLL_TRY(check_model(r.model));
  ATOLL_ASSIGN(const auto tokens, tokens_of(r, on_));
  if (r.with_pieces && tokens.size() > pieces_max)
    return api_error::field("return_token_strs",
                            "the text has " + std::to_string(tokens.size()) +
                                " tokens; the strings of at most " + std::to_string(pieces_max) +
                                " are given at once");
  std::string text = "{\"count\":" + std::to_string(tokens.size()) +
                     ",\"max_model_len\":" + std::to_string(on_.context_max) + ",\"tokens\":";
  apps::append_list(text, tokens);
  if (r.with_pieces) {
    text += ",\"token_strs\":[";
    for (const token_id token : tokens) {
      if (!text.ends_with('[')) text += ',';
      text += quoted(on_.words->decode({&token, 1}, false));
    }
    text += ']';
  }
  return text + "}";
}

std::string service::impl::model_json() const {
  std::string meta = "{\"system_fingerprint\":" + quoted(on_.fingerprint) +
                     ",\"vocabulary\":" + std::to_string(on_.vocabulary) + ",\"chat_format\":";
  if (on_.format) {
    const model::chat_features features = model::features_of(*on_.format);
    const auto yes = [](bool b) { return b ? "true" : "false"; };
    meta += quoted(model::to_string(*on_.format)) + std::string{",\"tools\":"} +
            yes(features.tools) + ",\"reasoning\":" + yes(features.reasoning);
  } else {
    meta += "null";
  }
  const auto& s = on_.limits.sampling;
  meta += ",\"defaults\":{\"temperature\":";
  apps::append(meta, s.temperature);
  meta += ",\"top_p\":";
  apps::append(meta, s.top_p);
  meta += ",\"top_k\":" + std::to_string(s.top_k) + "}}";
  return "{\"id\":" + quoted(on_.model_id) +
         ",\"object\":\"model\",\"created\":" + std::to_string(on_.created) +
         ",\"owned_by\":\"atoll\",\"max_model_len\":" + std::to_string(on_.context_max) +
         ",\"meta\":" + meta + "}";
}

outcome<void> service::impl::check_model(const std::string& given) const {
  if (given.empty() || given == on_.model_id) return {};
  return api_error::unknown_model(given, on_.model_id);
}

outcome<void> service::impl::read_timeout(const http::request& request,
                                          generation_fields& to) const {
  const std::string_view text = request.header_value("x-request-timeout");
  if (text.empty()) return {};
  double value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size() || !(value >= 0.001) ||
      value > on_.limits.timeout_max_s)
    return api_error::field("X-Request-Timeout", "must be seconds, 0.001 or more");
  to.timeout_s = to.timeout_s > 0 ? std::min(to.timeout_s, value) : value;
  return {};
}

void service::impl::tell_unknown(const std::vector<std::string>& names) {
  const std::lock_guard lock{told_mutex_};
  for (const std::string& name : names)
    if (told_.size() < unknown_names_max && told_.insert(name).second)
      log_info("requests have a field that means nothing here and is ignored: " +
               quoted(apps::beginning(name, 64)));
}

void service::impl::tick(duration_ns quiet) {
  for (const auto& [number, one] : jobs_) one->ping(quiet);
}

void service::impl::stop() {
  const api_error why = api_error::unavailable(1, "the server is shutting down");
  for (const auto& [number, one] : std::exchange(jobs_, {})) one->stop(why);
}

/// With a status that clients do not try again after.
bool service::impl::cancel(std::uint64_t number) {
  const auto found = jobs_.find(number);
  if (found == jobs_.end()) return false;
  const job_ptr ended = found->second;
  jobs_.erase(found);
  ended->stop(api_error{410, "request_cancelled", "an operator cancelled this request"});
  return true;
}

std::vector<live_request> service::impl::live() const {
  std::vector<live_request> all;
  for (const auto& [number, one] : jobs_) all.push_back(one->describe());
  return all;
}

service::service(service_options options) : impl_{std::make_shared<impl>(std::move(options))} {}
service::~service() = default;

void service::handle(route where,
                     http::request&& request,
                     std::shared_ptr<http::exchange> answer,
                     const caller& who,
                     const std::string& model_id) {
  impl_->handle(where, std::move(request), std::move(answer), who, model_id);
}

void service::tick(duration_ns quiet) { impl_->tick(quiet); }
void service::drain() { impl_->drain(); }
void service::stop() { impl_->stop(); }
void service::close() { impl_->close(); }
std::size_t service::open_requests() const { return impl_->open_requests(); }
std::size_t service::reading() const { return impl_->reading(); }
std::vector<live_request> service::live() const { return impl_->live(); }
bool service::cancel(std::uint64_t number) { return impl_->cancel(number); }

}  // namespace atl::openai
