#include "apps/openai/job.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace atl::openai {
namespace {

// Log-probabilities of so many tokens are written in about a millisecond.
constexpr std::int64_t scores_max = 2048;
constexpr int left_status = 499;  // what proxies log for a client that hung up

}  // namespace

bool admission::enter(const std::function<std::optional<request_id>()>& submit) {
  const std::lock_guard lock{mutex_};
  if (has_left_) return false;
  if (const auto id = submit()) ids_.push_back(*id);
  return true;
}

std::vector<request_id> admission::leave() {
  const std::lock_guard lock{mutex_};
  has_left_ = true;
  return std::exchange(ids_, {});
}

bool admission::is_left() const {
  const std::lock_guard lock{mutex_};
  return has_left_;
}

job::job(parts borrowed, std::uint64_t number)
    : parts_{std::move(borrowed)},
      number_{number},
      arrived_{parts_.time->now()},
      last_sent_{arrived_} {}

std::size_t job::prompt_of(int index) const {
  return static_cast<std::size_t>(index / plan_.choices_per_prompt);
}

const echoed_prompt* job::echo_of(int index) const {
  return plan_.echoes.empty() ? nullptr : &plan_.echoes[prompt_of(index)];
}

std::string job::call_id(int index, std::size_t call) const {
  const std::string& id = plan_.head.id;
  return "call_" + id.substr(id.find('-') + 1) + "_" + std::to_string(index) + "_" +
         std::to_string(call);
}

void job::start(job_plan plan) {
  if (has_ended_) return;
  plan_ = std::move(plan);
  is_started_ = true;
  if (plan_.stream) events_.emplace(plan_.head, plan_.include_usage);
  for (choice_options& o : plan_.choices)
    choices_.push_back(
        {choice{std::move(o)}, score_writer{plan_.words, plan_.head.is_chat}, 0, {}, false, false});
  open_choices_ = choices_.size();
  cached_.assign(plan_.prompt_tokens.size(), 0);
  for (auto& [index, event] : std::exchange(early_, {})) take(index, std::move(event));
}

void job::refuse(const api_error& why) {
  if (!has_ended_) fail(why);
}

void job::take(int index, actors::generation_event&& event) {
  if (has_ended_) return;
  if (!is_started_) {
    early_.emplace_back(index, std::move(event));
    return;
  }
  take_now(index, std::move(event));
}

void job::take_now(int index, actors::generation_event&& event) {
  answering& a = choices_[static_cast<std::size_t>(index)];
  if (event.finish == actors::finish_reason::error)
    return fail(api_error::from(event.cause.value_or(error{errc::internal, "no cause"}),
                                parts_.retry_after_s()));
  if (event.finish == actors::finish_reason::cancelled && !a.is_cancelled)
    return fail(api_error::unavailable(parts_.retry_after_s(), "the server is shutting down"));
  if (!plan_.echoes.empty()) {
    // They come in pieces, one for each step of the prompt.
    auto& scores = plan_.echoes[prompt_of(index)].scores;
    std::move(
        event.prompt_logprobs.begin(), event.prompt_logprobs.end(), std::back_inserter(scores));
  }

  std::string text;
  pieces_.clear();
  if (!event.tokens.empty()) {
    const std::size_t belong = a.said.push(event.tokens, event.logprobs, pieces_);
    if (belong > 0) count(a, belong);
    if (a.said.is_cut() && !a.is_cancelled && event.finish == actors::finish_reason::none) {
      a.is_cancelled = true;
      parts_.cancel(event.request);
    }
  }
  if (event.finish != actors::finish_reason::none) {
    end_choice(index, event, text);
  } else if (plan_.stream && !pieces_.empty()) {
    show(index, pieces_, text);
  }
  if (!text.empty()) send(std::move(text));
  if (open_choices_ == 0 && !has_ended_) finish();
}

void job::count(answering& a, std::size_t tokens) {
  const time_point_ns now = parts_.time->now();
  if (!first_token_) first_token_ = now;
  if (a.last_token) parts_.watch->token_interval(now - *a.last_token, tokens);
  a.last_token = now;
  a.generated += static_cast<std::int64_t>(tokens);
  parts_.watch->generated(tokens);
}

void job::begin_choice(int index, std::string& text) {
  answering& a = choices_[static_cast<std::size_t>(index)];
  if (a.is_begun) return;
  a.is_begun = true;
  if (plan_.head.is_chat) {
    text += events_->delta(index, role_delta_json(), "");
  } else if (const echoed_prompt* echo = echo_of(index)) {
    const model::answer_delta whole{model::answer_delta::kind::content, echo->text, -1};
    text += events_->delta(index, delta_json(false, whole, ""), "");
  }
}

void job::show(int index, std::vector<model::answer_delta>& pieces, std::string& text) {
  using kind = model::answer_delta::kind;
  begin_choice(index, text);
  std::string scores = scores_of(index);
  for (const auto& piece : pieces) {
    const std::string id = piece.what == kind::tool_call
                               ? call_id(index, static_cast<std::size_t>(piece.call_index))
                               : std::string{};
    text +=
        events_->delta(index, delta_json(plan_.head.is_chat, piece, id), std::exchange(scores, {}));
  }
}

std::string job::scores_of(int index) {
  if (!plan_.logprobs_top) return {};
  answering& a = choices_[static_cast<std::size_t>(index)];
  std::vector<scored_token> tokens = a.said.take_scores();
  const echoed_prompt* echo = plan_.stream ? nullptr : echo_of(index);
  if (echo == nullptr)
    return tokens.empty() ? std::string{} : a.scores.write(tokens, *plan_.logprobs_top);
  std::vector<scored_token> all;
  for (std::size_t i = 0; i < echo->tokens.size(); ++i) {
    all.push_back({echo->tokens[i], {}});
    if (i > 0 && i <= echo->scores.size()) all.back().scores = echo->scores[i - 1];
  }
  all.insert(all.end(), tokens.begin(), tokens.end());
  return a.scores.write(all, *plan_.logprobs_top, true);
}

void job::end_choice(int index, const actors::generation_event& event, std::string& text) {
  answering& a = choices_[static_cast<std::size_t>(index)];
  a.said.end(event.finish, pieces_);
  --open_choices_;
  queued_ = std::max(queued_, event.queued);
  cached_[prompt_of(index)] = std::max(cached_[prompt_of(index)], event.cached_tokens);
  if (!plan_.stream) return;
  if (pieces_.empty()) {
    begin_choice(index, text);
  } else {
    show(index, pieces_, text);
  }
  text += events_->finish(index, a.said.finish(), scores_of(index));
}

usage_counts job::usage() const {
  usage_counts c;
  for (const std::int64_t tokens : plan_.prompt_tokens) c.prompt += tokens;
  for (const std::int64_t tokens : cached_) c.cached += tokens;
  for (const answering& a : choices_) {
    c.completion += a.generated;
    c.reasoning += a.said.reasoning_tokens();
  }
  return c;
}

void job::open_stream() {
  if (is_streaming_) return;
  is_streaming_ = true;
  http::response head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers.push_back({"cache-control", "no-cache"});
  head.headers.push_back({"x-accel-buffering", "no"});
  parts_.exchange->begin_stream(std::move(head));
}

void job::send(std::string text) {
  open_stream();
  last_sent_ = parts_.time->now();
  parts_.exchange->write(std::move(text));
}

void job::finish() {
  if (plan_.stream) {
    std::string text;
    if (plan_.include_usage) text += events_->usage(usage());
    send(text + event_writer::done());
    parts_.exchange->end_stream();
  }
  conclude(200, choices_.empty() ? "stop" : choices_.front().said.finish(), "");
  if (plan_.stream) return;
  // Nothing on the I/O thread looks at choices and plan from here on.
  if (is_long_to_write() && parts_.elsewhere &&
      parts_.elsewhere([self = shared_from_this()] { self->finish_whole(); }))
    return;
  finish_whole();
}

bool job::is_long_to_write() const {
  if (!plan_.logprobs_top) return false;
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    const echoed_prompt* echo = echo_of(static_cast<int>(i));
    if (echo != nullptr) tokens += static_cast<std::int64_t>(echo->tokens.size());
    tokens += choices_[i].generated;
  }
  return tokens * (*plan_.logprobs_top + 1) > scores_max;
}

void job::finish_whole() {
  std::vector<finished_choice> all;
  for (int i = 0; i < static_cast<int>(choices_.size()); ++i) {
    const choice& said = choices_[static_cast<std::size_t>(i)].said;
    finished_choice c;
    c.index = i;
    c.said = &said;
    if (const echoed_prompt* echo = echo_of(i)) c.echoed = echo->text;
    c.logprobs = scores_of(i);
    for (std::size_t call = 0; call < said.calls().size(); ++call)
      c.call_ids.push_back(call_id(i, call));
    all.push_back(std::move(c));
  }
  http::response r;
  r.body = whole_answer(plan_.head, all, usage());
  parts_.exchange->reply(std::move(r));
}

void job::cancel_rest() {
  for (const request_id id : admitted.leave()) parts_.cancel(id);
}

void job::fail(const api_error& why) {
  cancel_rest();
  if (is_streaming_) {
    send(event_writer::error(why.to_json()));
    parts_.exchange->end_stream();
  } else {
    parts_.exchange->reply(why.to_response());
  }
  conclude(why.status(), "error", why.type());
}

void job::leave() {
  if (has_ended_) return;
  cancel_rest();
  conclude(left_status, "disconnect", "");
}

void job::stop(const api_error& why) {
  if (!has_ended_) fail(why);
}

void job::ping(duration_ns quiet) {
  if (has_ended_ || !is_started_ || !plan_.stream) return;
  if (parts_.time->now() - last_sent_ < quiet) return;
  send(event_writer::ping());
}

void job::conclude(int status, std::string_view finish, std::string_view error_type) {
  has_ended_ = true;
  request_record r;
  r.id = parts_.id;
  r.trace = parts_.trace;
  r.route = parts_.route;
  r.tenant = parts_.tenant;
  r.status = status;
  r.finish = finish;
  r.error_type = error_type;
  r.is_stream = plan_.stream;
  r.choices = static_cast<int>(choices_.size());
  const usage_counts used = usage();
  r.prompt_tokens = used.prompt;
  r.generated_tokens = used.completion;
  r.cached_tokens = used.cached;
  r.tokens_max = plan_.tokens_max;
  r.queued = queued_;
  if (first_token_) r.first_token = *first_token_ - arrived_;
  r.total = parts_.time->now() - arrived_;
  parts_.watch->ended(r);
}

live_request job::describe() const {
  live_request r;
  r.number = number_;
  r.id = parts_.id;
  r.route = parts_.route;
  r.tenant = parts_.tenant;
  r.state = first_token_ ? "generating" : is_started_ ? "waiting" : "reading";
  r.is_stream = plan_.stream;
  const usage_counts used = usage();
  r.prompt_tokens = used.prompt;
  r.generated_tokens = used.completion;
  r.age_s = seconds(parts_.time->now() - arrived_);
  return r;
}

}  // namespace atl::openai
