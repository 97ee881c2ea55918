// The API over a cluster and a connection that do what a script says: every request ends in exactly
// one way.
#include "apps/openai/service.hpp"
#include "tests/unit/apps/openai/tiny_words.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <thread>

namespace atl::openai {
namespace {

using actors::finish_reason;
using actors::generation_event;

std::vector<token_id> tokens_of(const std::string& text) {
  return words()->encode(text, {}).value();
}

/// A connection: what was sent to it, and a client that leaves when it is told to.
class scripted_exchange final : public http::exchange {
public:
  void reply(http::response whole) override {
    ++replies;
    last = std::move(whole);
    gone = nullptr;  // as a server does: nobody is told any more
  }

  void begin_stream(http::response head) override {
    ++streams;
    last = std::move(head);
  }

  bool write(std::string piece) override {
    EXPECT_EQ(streams, 1);
    EXPECT_EQ(ends, 0) << "after the end: " << piece;
    sent += piece;
    return true;
  }

  void end_stream() override {
    ++ends;
    gone = nullptr;
  }
  void abort() override { end_stream(); }

  void when_gone(std::function<void()> callback) override {
    if (has_left) return callback();
    gone = std::move(callback);
  }

  /// The server says so only while the answer is not complete.
  void leave() {
    has_left = true;
    if (gone && !is_answered()) std::exchange(gone, {})();
  }

  bool is_answered() const { return replies == 1 || ends == 1; }
  std::size_t count(const std::string& text) const {
    std::size_t found = 0;
    for (auto at = sent.find(text); at != std::string::npos; at = sent.find(text, at + 1)) ++found;
    return found;
  }

  int replies = 0, streams = 0, ends = 0;
  http::response last;
  std::string sent;
  bool has_left = false;
  std::function<void()> gone;
};

class counting final : public observer {
public:
  void ended(const request_record& r) override { records.push_back(r); }
  void token_interval(duration_ns, std::size_t) override {}
  void generated(std::size_t n) override { tokens += n; }

  std::vector<request_record> records;
  std::size_t tokens = 0;
};

/// A cluster that does nothing by itself. Used by the service's thread and by the test's.
struct scripted_cluster {
  std::mutex mutex;
  std::vector<actors::generation_request> requests;
  std::vector<actors::generation_listener> listeners;
  std::vector<request_id> cancelled;
  std::optional<error> refusal;                  // at the door
  std::map<std::size_t, error> submit_failures;  // by number of the request
  std::function<void(std::size_t)> on_submit;

  result<request_id> submit(actors::generation_request r, actors::generation_listener l) {
    std::size_t number = 0;
    {
      const std::lock_guard lock{mutex};
      number = requests.size();
      requests.push_back(std::move(r));
      listeners.push_back(std::move(l));
    }
    if (on_submit) on_submit(number);
    const auto failure = submit_failures.find(number);
    if (failure != submit_failures.end()) return failure->second;
    return request_id{number + 1};
  }
};

class service_test : public testing::Test {
protected:
  service_test() {
    service_options o;
    o.cluster.submit = [this](auto r, auto l) { return at_.submit(std::move(r), std::move(l)); };
    o.cluster.cancel = [this](request_id id) {
      const std::lock_guard lock{at_.mutex};
      at_.cancelled.push_back(id);
    };
    o.cluster.refusal = [this] { return at_.refusal; };
    o.cluster.retry_after_s = [] { return 7; };
    o.words = words();
    o.model_id = "tiny";
    o.fingerprint = "fp";
    o.context_max = 64;
    o.vocabulary = 6144;
    o.format = model::chat_format::v3;
    o.limits.vocabulary = 6144;
    o.waiting_max = 2;
    o.time = time_;
    o.unix_time_s = [] { return std::int64_t{1700000000}; };
    o.watch = &seen_;
    o.post = [this](std::function<void()> what) {
      const std::lock_guard lock{posted_mutex_};
      posted_.push_back(std::move(what));
      posted_changed_.notify_all();
    };
    service_ = std::make_unique<service>(std::move(o));
  }

  ~service_test() override {
    service_->close();
    for (const auto& one : exchanges_) {
      EXPECT_LE(one->replies + one->streams, 1);
      EXPECT_LE(one->ends, one->streams);
    }
    EXPECT_EQ(service_->open_requests(), 0U);
  }

  /// What the I/O thread does until `done`: the test is that thread.
  void io_until(const std::function<bool()>& done) {
    while (!done()) {
      std::function<void()> next;
      {
        std::unique_lock lock{posted_mutex_};
        if (!posted_changed_.wait_for(
                lock, std::chrono::seconds{20}, [&] { return !posted_.empty(); }))
          return ADD_FAILURE() << "nothing comes any more";
        next = std::move(posted_.front());
        posted_.pop_front();
      }
      next();
    }
  }

  void io_all() {
    for (;;) {
      std::function<void()> next;
      {
        const std::lock_guard lock{posted_mutex_};
        if (posted_.empty()) return;
        next = std::move(posted_.front());
        posted_.pop_front();
      }
      next();
    }
  }

  std::shared_ptr<scripted_exchange> ask(const std::string& body,
                                         route where = route::completions) {
    exchanges_.push_back(std::make_shared<scripted_exchange>());
    return ask_on(exchanges_.back(), body, where);
  }

  std::shared_ptr<scripted_exchange> ask_on(std::shared_ptr<scripted_exchange> to,
                                            const std::string& body,
                                            route where = route::completions) {
    http::request r;
    r.method = "POST";
    r.body = body;
    r.id = "id" + std::to_string(exchanges_.size());
    service_->handle(where, std::move(r), to, caller{"alice", 3, 2, 5});
    return to;
  }

  std::string state() {
    const auto live = service_->live();
    return live.empty() ? "none" : live.front().state;
  }

  /// Asks and waits until it is submitted.
  std::shared_ptr<scripted_exchange> submitted(const std::string& fields,
                                               route where = route::completions) {
    const std::string begin = where == route::chat
                                  ? R"({"messages":[{"role":"user","content":"hi"}])"
                                  : R"({"prompt":"a")";
    auto to = ask(begin + fields + "}", where);
    io_until([&] { return state() != "reading"; });
    EXPECT_EQ(state(), "waiting");
    return to;
  }

  void say(std::size_t choice, const std::string& text) {
    generation_event e;
    e.request = request_id{choice + 1};
    e.tokens = tokens_of(text);
    at_.listeners.at(choice)(std::move(e));
    io_all();
  }

  void end(std::size_t choice, finish_reason why = finish_reason::stop) {
    generation_event e;
    e.request = request_id{choice + 1};
    e.finish = why;
    if (why == finish_reason::error) e.cause = error{errc::internal, "/secret/path broke"};
    at_.listeners.at(choice)(std::move(e));
    io_all();
  }

  /// The only record there is.
  request_record record() {
    EXPECT_EQ(seen_.records.size(), 1U);
    return seen_.records.empty() ? request_record{} : seen_.records.front();
  }

  std::shared_ptr<virtual_clock> time_ = std::make_shared<virtual_clock>();
  counting seen_;
  scripted_cluster at_;
  std::mutex posted_mutex_;
  std::condition_variable posted_changed_;
  std::deque<std::function<void()>> posted_;
  std::vector<std::shared_ptr<scripted_exchange>> exchanges_;
  std::unique_ptr<service> service_;
};

TEST_F(service_test, a_whole_answer) {
  const auto to = submitted(R"(,"max_tokens":5)");
  say(0, " heaven");
  EXPECT_EQ(to->replies, 0);
  say(0, " and");
  end(0, finish_reason::length);
  ASSERT_EQ(to->replies, 1);
  EXPECT_EQ(to->last.status, 200);
  const auto choice = boost::json::parse(to->last.body).at("choices").at(0);
  EXPECT_EQ(choice.at("text"), " heaven and");
  EXPECT_EQ(choice.at("finish_reason"), "length");
  EXPECT_EQ(record().status, 200);
  EXPECT_EQ(record().finish, "length");
  EXPECT_EQ(record().tenant, "alice");
  EXPECT_EQ(state(), "none");
  EXPECT_EQ(at_.requests[0].tenant, 3U);
  EXPECT_EQ(at_.requests[0].tenant_share, 2U);
  EXPECT_EQ(at_.requests[0].priority, 5);
}

TEST_F(service_test, a_stream) {
  const auto to = submitted(R"(,"stream":true)", route::chat);
  EXPECT_EQ(to->streams, 0);  // a refusal could still be one
  say(0, "one");
  EXPECT_EQ(to->streams, 1);
  EXPECT_EQ(to->count("\"role\":\"assistant\""), 1U);
  say(0, " two");
  end(0);
  EXPECT_EQ(to->ends, 1);
  EXPECT_EQ(to->count("\"role\""), 1U);
  EXPECT_EQ(to->count("\"finish_reason\":\"stop\""), 1U);
  EXPECT_TRUE(to->sent.ends_with("data: [DONE]\n\n"));
  EXPECT_EQ(to->count("\"usage\""), 0U);
  EXPECT_EQ(record().status, 200);
}

TEST_F(service_test, usage_comes_last_where_it_was_asked_for) {
  const auto to = submitted(R"(,"stream":true,"stream_options":{"include_usage":true})");
  say(0, "one");
  end(0);
  EXPECT_EQ(to->count("\"usage\":null"), 2U);
  EXPECT_EQ(to->count("\"choices\":[],\"usage\":{"), 1U);
  EXPECT_LT(to->sent.find("\"usage\":{"), to->sent.find("[DONE]"));
}

TEST_F(service_test, a_wrong_request_is_refused_and_nothing_submitted) {
  const auto to = ask(R"({"prompt":"a","temperature":9})");
  io_until([&] { return to->replies > 0; });
  EXPECT_EQ(to->last.status, 400);
  EXPECT_TRUE(at_.requests.empty());
  EXPECT_EQ(record().status, 400);
  EXPECT_EQ(record().error_type, "invalid_request_error");
  const auto other = ask(R"({"prompt":"a","model":"other"})");
  io_until([&] { return other->replies > 0; });
  EXPECT_EQ(other->last.status, 404);
}

TEST_F(service_test, a_full_cluster_refuses_before_reading) {
  at_.refusal = error{errc::overloaded, "full"};
  const auto to = ask("this is not even JSON");
  ASSERT_EQ(to->replies, 1);
  EXPECT_EQ(to->last.status, 429);
  ASSERT_FALSE(to->last.headers.empty());
  EXPECT_EQ(to->last.headers[0].value, "7");
  EXPECT_EQ(record().status, 429);
}

TEST_F(service_test, a_failed_submit_takes_back_those_before_it) {
  at_.submit_failures.emplace(1, error{errc::overloaded, "full"});
  const auto to = ask(R"({"prompt":"a","n":3})");
  io_until([&] { return to->replies > 0; });
  EXPECT_EQ(to->last.status, 429);
  EXPECT_EQ(at_.requests.size(), 2U);
  EXPECT_EQ(at_.cancelled, std::vector<request_id>{request_id{1}});
  end(0, finish_reason::cancelled);
  EXPECT_EQ(seen_.records.size(), 1U);
}

TEST_F(service_test, an_error_before_the_first_token_is_a_plain_answer) {
  const auto to = submitted(R"(,"stream":true)");
  end(0, finish_reason::error);
  EXPECT_EQ(to->replies, 1);
  EXPECT_EQ(to->streams, 0);
  EXPECT_EQ(to->last.status, 500);
  EXPECT_EQ(to->last.body.find("secret"), std::string::npos);
  EXPECT_EQ(record().status, 500);
}

TEST_F(service_test, an_error_in_a_stream_is_an_event_and_no_done) {
  const auto to = submitted(R"(,"stream":true,"n":2)");
  say(0, "one");
  end(1, finish_reason::error);
  EXPECT_EQ(to->ends, 1);
  EXPECT_EQ(to->count("data: {\"error\":"), 1U);
  EXPECT_EQ(to->count("[DONE]"), 0U);
  EXPECT_EQ(at_.cancelled.size(), 2U);
  say(0, "late");  // of the choice that was cancelled
  end(0, finish_reason::cancelled);
  EXPECT_EQ(to->count("late"), 0U);
  EXPECT_EQ(record().finish, "error");
}

TEST_F(service_test, a_client_that_leaves_before_it_is_read_submits_nothing) {
  auto gone = std::make_shared<scripted_exchange>();
  gone->has_left = true;
  ask_on(gone, R"({"prompt":"a"})");
  EXPECT_EQ(state(), "none");
  EXPECT_EQ(record().finish, "disconnect");
  EXPECT_TRUE(at_.requests.empty());
  EXPECT_EQ(gone->replies, 0);
}

TEST_F(service_test, a_client_that_leaves_while_it_is_submitted_has_all_of_it_cancelled) {
  std::promise<void> go;
  at_.on_submit = [&, gate = go.get_future().share()](std::size_t) { gate.wait(); };
  const auto to = ask(R"({"prompt":"a","n":4})");
  std::thread opening{[&] { go.set_value(); }};
  to->leave();
  opening.join();
  service_->close();  // waits for the reading thread
  io_all();
  EXPECT_EQ(state(), "none");
  EXPECT_EQ(record().finish, "disconnect");
  EXPECT_EQ(at_.cancelled.size(), at_.requests.size());
  EXPECT_EQ(to->replies + to->streams, 0);
}

TEST_F(service_test, a_client_that_leaves_a_stream_is_not_written_to) {
  const auto to = submitted(R"(,"stream":true,"n":2)");
  say(0, "one");
  const std::string sent = to->sent;
  to->leave();
  EXPECT_EQ(at_.cancelled.size(), 2U);
  EXPECT_EQ(state(), "none");
  say(0, "two");
  end(0, finish_reason::cancelled);
  end(1, finish_reason::cancelled);
  EXPECT_EQ(to->sent, sent);
  EXPECT_EQ(record().finish, "disconnect");
  EXPECT_EQ(record().generated_tokens, static_cast<std::int64_t>(tokens_of("one").size()));
}

TEST_F(service_test, choices_end_one_by_one_and_the_answer_with_the_last) {
  const auto to = submitted(R"(,"n":3,"seed":4)");
  ASSERT_EQ(at_.requests.size(), 3U);
  EXPECT_EQ(at_.requests[0].sampling.seed, 4U);
  EXPECT_NE(at_.requests[1].sampling.seed, at_.requests[2].sampling.seed);
  say(2, "c");
  end(2);
  say(0, "a");
  end(0, finish_reason::length);
  EXPECT_EQ(to->replies, 0);
  say(1, "b");
  end(1);
  ASSERT_EQ(to->replies, 1);
  const auto choices = boost::json::parse(to->last.body).at("choices").as_array();
  ASSERT_EQ(choices.size(), 3U);
  EXPECT_EQ(choices[0].at("text"), "a");
  EXPECT_EQ(choices[1].at("text"), "b");
  EXPECT_EQ(choices[2].at("text"), "c");
  EXPECT_EQ(choices[0].at("finish_reason"), "length");
}

TEST_F(service_test, a_stop_string_cancels_its_choice_only) {
  const auto to = submitted(R"(,"n":2,"stop":"STOP")");
  say(0, "good STOP");
  EXPECT_EQ(at_.cancelled, std::vector<request_id>{request_id{1}});
  say(0, " more");
  end(0, finish_reason::cancelled);
  say(1, "other");
  end(1);
  ASSERT_EQ(to->replies, 1);
  const auto choices = boost::json::parse(to->last.body).at("choices").as_array();
  EXPECT_EQ(choices[0].at("text"), "good ");
  EXPECT_EQ(choices[0].at("finish_reason"), "stop");
  EXPECT_EQ(choices[1].at("text"), "other");
  EXPECT_EQ(at_.cancelled.size(), 1U);
}

TEST_F(service_test, what_the_cluster_cancels_by_itself_is_told) {
  const auto to = submitted("");
  end(0, finish_reason::cancelled);
  EXPECT_EQ(to->last.status, 503);
}

TEST_F(service_test, quiet_streams_are_pinged) {
  const auto to = submitted(R"(,"stream":true)");
  service_->tick(std::chrono::seconds{10});
  EXPECT_EQ(to->streams, 0);
  time_->advance(std::chrono::seconds{10});
  service_->tick(std::chrono::seconds{10});
  EXPECT_EQ(to->sent, ": ping\n\n");
  service_->tick(std::chrono::seconds{10});
  EXPECT_EQ(to->sent, ": ping\n\n");
  time_->advance(std::chrono::seconds{9});
  say(0, "a");
  time_->advance(std::chrono::seconds{9});
  service_->tick(std::chrono::seconds{10});
  EXPECT_EQ(to->count("ping"), 1U);
  // Once the stream is open, an error can only be an event of it.
  end(0, finish_reason::error);
  EXPECT_EQ(to->replies, 0);
  EXPECT_EQ(to->count("\"error\""), 1U);
}

TEST_F(service_test, a_whole_answer_is_not_pinged) {
  const auto to = submitted("");
  time_->advance(std::chrono::seconds{100});
  service_->tick(std::chrono::seconds{10});
  EXPECT_EQ(to->streams, 0);
  end(0);
}

TEST_F(service_test, draining_refuses_what_comes_and_finishes_what_runs) {
  const auto running = submitted("");
  service_->drain();
  const auto late = ask(R"({"prompt":"a"})");
  EXPECT_EQ(late->last.status, 503);
  ASSERT_FALSE(late->last.headers.empty());
  EXPECT_EQ(late->last.headers[0].name, "retry-after");
  EXPECT_EQ(service_->open_requests(), 1U);
  say(0, "a");
  end(0);
  EXPECT_EQ(running->last.status, 200);
}

TEST_F(service_test, stopping_tells_every_client) {
  const auto stream = submitted(R"(,"stream":true)");
  say(0, "a");
  const auto whole = ask(R"({"prompt":"a"})");
  io_until([&] { return service_->live().back().state == "waiting"; });
  service_->close();
  service_->stop();
  EXPECT_EQ(stream->count("shutting down"), 1U);
  EXPECT_EQ(stream->count("[DONE]"), 0U);
  EXPECT_EQ(stream->ends, 1);
  EXPECT_EQ(whole->last.status, 503);
  EXPECT_EQ(at_.cancelled.size(), 2U);
  EXPECT_EQ(seen_.records.size(), 2U);
}

TEST_F(service_test, an_operator_ends_one_request_and_its_client_is_told) {
  const auto stream = submitted(R"(,"stream":true)");
  const auto whole = ask(R"({"prompt":"a"})");
  io_until([&] { return service_->live().back().state == "waiting"; });
  const auto live = service_->live();
  ASSERT_EQ(live.size(), 2U);
  EXPECT_LT(live[0].number, live[1].number);
  say(0, "said");
  EXPECT_TRUE(service_->cancel(live[0].number));
  EXPECT_EQ(stream->count("an operator cancelled this request"), 1U);
  EXPECT_EQ(stream->count("[DONE]"), 0U);
  EXPECT_EQ(stream->ends, 1);
  EXPECT_EQ(whole->replies, 0) << "the others go on";
  EXPECT_TRUE(service_->cancel(live[1].number));
  EXPECT_EQ(whole->last.status, 410);
  EXPECT_EQ(at_.cancelled.size(), 2U);
  EXPECT_FALSE(service_->cancel(live[0].number)) << "it has ended";
  EXPECT_FALSE(service_->cancel(99));
  EXPECT_TRUE(service_->live().empty());
  EXPECT_EQ(seen_.records.size(), 2U);
}

TEST_F(service_test, too_many_requests_to_read_are_refused) {
  std::promise<void> go;
  at_.on_submit = [gate = go.get_future().share()](std::size_t) { gate.wait(); };
  std::vector<std::shared_ptr<scripted_exchange>> all;
  for (int i = 0; i < 6; ++i) all.push_back(ask(R"({"prompt":"a"})"));
  // One is being read, two wait; whether the first was taken in time is the thread's doing.
  std::size_t refused = 0;
  for (const auto& one : all) refused += one->replies == 1 && one->last.status == 429 ? 1 : 0;
  EXPECT_GE(refused, 3U);
  EXPECT_LE(refused, 4U);
  go.set_value();
  const auto are_waiting = [&] {
    const auto live = service_->live();
    return std::all_of(
        live.begin(), live.end(), [](const auto& one) { return one.state == "waiting"; });
  };
  io_until(are_waiting);
  ASSERT_EQ(at_.listeners.size(), all.size() - refused);
  for (std::size_t i = 0; i < at_.listeners.size(); ++i) end(i);
  EXPECT_EQ(service_->open_requests(), 0U);
  for (const auto& one : all) EXPECT_EQ(one->replies, 1);
}

TEST_F(service_test, an_echo_has_its_text_and_scores_in_front) {
  const auto to = submitted(R"(,"echo":true,"logprobs":0,"max_tokens":1)");
  EXPECT_TRUE(at_.requests[0].prompt_logprobs);
  const std::size_t prompt = at_.requests[0].prompt.size();
  generation_event e;
  e.request = request_id{1};
  e.prompt_logprobs.resize(prompt - 1);
  for (auto& one : e.prompt_logprobs) one.chosen = -2;
  e.tokens = tokens_of(" the");
  e.logprobs = {{-0.5F, {}}};
  e.finish = finish_reason::length;
  at_.listeners.at(0)(std::move(e));
  io_all();
  const auto choice = boost::json::parse(to->last.body).at("choices").at(0);
  EXPECT_EQ(choice.at("text"), "a the");
  const auto scores = choice.at("logprobs").at("token_logprobs").as_array();
  ASSERT_EQ(scores.size(), prompt + 1);
  EXPECT_TRUE(scores[0].is_null());
  EXPECT_EQ(scores[prompt - 1].to_number<double>(), -2);
  EXPECT_EQ(scores[prompt].to_number<double>(), -0.5);
}

TEST_F(service_test, what_does_not_fit_is_refused_by_length) {
  const auto to = ask(R"({"prompt":"a","max_tokens":64})");
  io_until([&] { return to->replies > 0; });
  EXPECT_EQ(to->last.status, 400);
  EXPECT_NE(to->last.body.find("context_length_exceeded"), std::string::npos);
  const auto chat =
      ask(R"({"messages":[{"role":"user","content":"a"}]})", route::chat);  // no limit given
  io_until([&] { return state() == "waiting"; });
  EXPECT_EQ(at_.requests[0].tokens_max,
            64 - static_cast<std::int64_t>(at_.requests[0].prompt.size()));
  end(0);
  EXPECT_EQ(chat->last.status, 200);
}

}  // namespace
}  // namespace atl::openai
