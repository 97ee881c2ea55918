// Requests that were made to cost more than they may, or to see what is another's.
#include "apps/openai/prepare.hpp"
#include "apps/openai/service.hpp"
#include "apps/openai/work_queue.hpp"
#include "tests/unit/apps/openai/tiny_words.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <deque>
#include <future>
#include <new>
#include <utility>

namespace atl::openai {
namespace {

using actors::finish_reason;
using actors::generation_event;

service_options options_of(std::int64_t context_max) {
  service_options o;
  o.words = words();
  o.model_id = "tiny";
  o.context_max = context_max;
  o.vocabulary = 6144;
  o.format = model::chat_format::v3;
  o.limits.vocabulary = 6144;
  o.time = std::make_shared<virtual_clock>();
  return o;
}

class silent final : public observer {
public:
  void ended(const request_record& r) override { records.push_back(r); }
  void token_interval(duration_ns, std::size_t) override {}
  void generated(std::size_t n) override { tokens += n; }
  std::vector<request_record> records;
  std::size_t tokens = 0;
};

class kept_exchange final : public http::exchange {
public:
  void reply(http::response whole) override {
    last = std::move(whole);
    gone = nullptr;  // as a server does: nobody is told any more
    done.set_value();
  }
  void begin_stream(http::response) override {}
  bool write(std::string) override { return true; }
  void end_stream() override { gone = nullptr; }
  void abort() override { gone = nullptr; }
  void when_gone(std::function<void()> callback) override { gone = std::move(callback); }

  http::response last;
  std::promise<void> done;
  std::function<void()> gone;
};

/// One job over an exchange, fed by hand.
class job_test : public testing::Test {
protected:
  void SetUp() override {
    to_ = std::make_shared<kept_exchange>();
    job::parts p;
    p.exchange = to_;
    p.time = &time_;
    p.watch = &seen_;
    p.cancel = [this](request_id) { ++cancelled_; };
    p.retry_after_s = [] { return 1; };
    p.elsewhere = [this](std::function<void()> what) {
      if (is_full_) return false;
      long_work_.push_back(std::move(what));
      return true;
    };
    one_ = std::make_shared<job>(std::move(p), 1);
  }

  void start(int n, std::vector<std::string> stop, std::optional<echoed_prompt> echo = {}) {
    job_plan plan;
    plan.words = words();
    plan.choices_per_prompt = n;
    plan.prompt_tokens = {5};
    if (echo) {
      plan.echoes.push_back(*echo);
      plan.logprobs_top = 0;
    }
    choice_options o;
    o.words = words();
    o.stop = std::move(stop);
    plan.choices.assign(static_cast<std::size_t>(n), o);
    one_->start(std::move(plan));
  }

  generation_event event_of(const std::string& text) {
    generation_event e;
    e.request = request_id{1};
    if (!text.empty()) e.tokens = words()->encode(text, {}).value();
    return e;
  }

  void end(int index) {
    auto e = event_of("");
    e.finish = finish_reason::stop;
    one_->take(index, std::move(e));
  }

  boost::json::value answer() { return boost::json::parse(to_->last.body); }

  virtual_clock time_;
  silent seen_;
  int cancelled_ = 0;
  std::shared_ptr<kept_exchange> to_;
  std::vector<std::function<void()>> long_work_;
  bool is_full_ = false;
  std::shared_ptr<job> one_;
};

TEST_F(job_test, what_comes_after_a_stop_string_is_not_counted) {
  start(1, {" man"});
  one_->take(0, event_of(" a man of the"));
  EXPECT_EQ(cancelled_, 1);
  // The cluster has gone on until it heard of it.
  one_->take(0, event_of(" and the sea"));
  end(0);
  const auto upto = words()->encode(" a man", {}).value().size();
  EXPECT_EQ(answer().at("usage").at("completion_tokens"), upto);
  EXPECT_EQ(seen_.tokens, upto);
}

TEST_F(job_test, scores_of_a_prompt_come_in_pieces) {
  echoed_prompt echo;
  echo.tokens = {100, 101, 102, 103, 104};
  start(2, {}, echo);
  for (const int first : {1, 3}) {
    auto e = event_of("");
    for (int i = first; i < first + 2; ++i)
      e.prompt_logprobs.push_back({-0.5F * static_cast<float>(i), {}});
    one_->take(0, std::move(e));
  }
  end(1);
  end(0);
  for (const std::size_t choice : {0U, 1U}) {
    const auto scores = answer().at("choices").at(choice).at("logprobs").at("token_logprobs");
    EXPECT_EQ(boost::json::serialize(scores), "[null,-5E-1,-1,-1.5E0,-2]");
  }
}

TEST_F(job_test, many_scores_are_written_elsewhere_where_there_is_room) {
  for (const bool is_full : {false, true}) {
    SetUp();
    is_full_ = is_full;
    echoed_prompt echo;
    echo.tokens.assign(3000, 100);
    start(1, {}, echo);
    end(0);
    EXPECT_EQ(long_work_.size(), is_full ? 0U : 1U);
    EXPECT_EQ(to_->last.body.empty(), !is_full);
    EXPECT_TRUE(one_->has_ended());
    for (const auto& work : std::exchange(long_work_, {})) work();
    EXPECT_EQ(answer().at("choices").at(0).at("logprobs").at("tokens").as_array().size(), 3000U);
  }
  EXPECT_EQ(seen_.records.size(), 2U);
}

TEST(prepare_test, prompt_scores_are_asked_for_once) {
  completion_request r;
  r.n = 3;
  r.echo = true;
  r.logprobs_top = 2;
  r.tokens_max = 1;
  r.prompts = {std::string{"a"}, std::string{"b"}};
  const auto made = prepare(r, options_of(64), {}, 1);
  ASSERT_TRUE(made.has_value());
  std::vector<bool> wanted;
  for (const auto& one : made->requests) wanted.push_back(one.prompt_logprobs);
  EXPECT_EQ(wanted, (std::vector<bool>{true, false, false, true, false, false}));
}

TEST(prepare_test, a_text_that_cannot_fit_is_not_cut_into_tokens) {
  service_options o = options_of(10);
  o.token_bytes_max = 4;
  completion_request r;
  r.add_special = false;
  r.tokens_max = 1;
  // Not UTF-8: cutting it would say so.
  r.prompts = {std::string(44, '\xff')};
  auto made = prepare(r, o, {}, 1);
  ASSERT_TRUE(made.has_error());
  EXPECT_NE(made.error().message().find("more than 11 tokens"), std::string::npos);
  r.prompts = {std::string(43, '\xff')};
  made = prepare(r, o, {}, 1);
  ASSERT_TRUE(made.has_error());
  EXPECT_NE(made.error().message().find("UTF-8"), std::string::npos) << made.error().message();
}

TEST(prepare_test, no_salt_leads_to_another_tenants_pages) {
  const auto scope = [](std::uint32_t tenant, const std::string& salt, std::uint64_t secret) {
    service_options o = options_of(64);
    o.scope_secret = {secret, 0};
    completion_request r;
    r.prompts = {std::string{"a"}};
    r.cache_salt = salt;
    caller who;
    who.tenant_index = tenant;
    return prepare(r, o, who, 1).value().requests[0].cache_scope;
  };
  EXPECT_EQ(scope(1, "s", 7), scope(1, "s", 7));
  EXPECT_NE(scope(1, "", 7), scope(2, "", 7));
  EXPECT_NE(scope(1, "", 7), scope(1, "s", 7));
  EXPECT_NE(scope(1, "s", 7), scope(1, "s", 8)) << "whoever knows the program could make one";
}

TEST(fields_test, texts_of_errors_are_whole_characters) {
  request_limits limits;
  limits.vocabulary = 100;
  std::string long_name;
  for (int i = 0; i < 30; ++i) long_name += "静";
  for (const std::string& body :
       std::vector<std::string>{R"({"prompt":"a","logit_bias":{"x)" + long_name + R"(":1}})",
                                R"({"prompt":"a","temperature":1e300})"}) {
    const auto r = parse_completion(body, limits);
    ASSERT_TRUE(r.has_error());
    boost::json::error_code failed;
    const auto json = boost::json::parse(r.error().to_json(), failed);
    ASSERT_FALSE(failed) << r.error().to_json();
    EXPECT_EQ(r.error().message().find("null"), std::string::npos) << r.error().message();
  }
}

TEST(work_queue_test, a_long_body_makes_no_short_one_wait) {
  work_queue queue{4, 1000};
  std::promise<void> release, begun, done;
  ASSERT_TRUE(queue.push(1 << 20, [&] {
    begun.set_value();
    release.get_future().wait();
  }));
  begun.get_future().wait();
  ASSERT_TRUE(queue.push(10, [&] { done.set_value(); }));
  EXPECT_EQ(done.get_future().wait_for(std::chrono::seconds{20}), std::future_status::ready);
  release.set_value();
}

TEST(work_queue_test, long_bodies_are_bounded_by_their_bytes) {
  const std::size_t body = work_queue::short_bytes_max + 1;
  work_queue queue{4, 2 * body};
  std::promise<void> release, begun;
  // Alone, it may be longer than all may be.
  ASSERT_TRUE(queue.push(3 * body, [&] {
    begun.set_value();
    release.get_future().wait();
  }));
  begun.get_future().wait();
  EXPECT_FALSE(queue.push(body, [] {}));
  EXPECT_TRUE(queue.push(10, [] {}));
  release.set_value();
  std::promise<void> held, waits;
  while (!queue.push(body, [&] {
    waits.set_value();
    held.get_future().wait();
  }))
    std::this_thread::yield();
  waits.get_future().wait();
  EXPECT_TRUE(queue.push(body, [] {}));
  EXPECT_FALSE(queue.push(body, [] {}));
  held.set_value();
}

TEST(work_queue_test, work_that_throws_ends_nothing_else) {
  work_queue queue{4, 1000};
  std::promise<void> done;
  ASSERT_TRUE(queue.push(1, [] { throw std::bad_alloc{}; }));
  ASSERT_TRUE(queue.push(1, [&] { done.set_value(); }));
  EXPECT_EQ(done.get_future().wait_for(std::chrono::seconds{20}), std::future_status::ready);
}

/// A second passes at each look.
class hasty_clock final : public clock {
public:
  time_point_ns now() const noexcept override {
    const std::lock_guard lock{mutex_};
    return now_ = now_ + std::chrono::seconds{1};
  }

private:
  mutable std::mutex mutex_;
  mutable time_point_ns now_;
};

/// The service with a cluster that only counts.
class reading_test : public testing::Test {
protected:
  reading_test() {
    service_options o = options_of(4096);
    o.time = time_;
    o.watch = &seen_;
    o.unix_time_s = [] { return std::int64_t{1}; };
    o.cluster.submit = [this](actors::generation_request r, actors::generation_listener) {
      submitted_.push_back(r);
      return result<request_id>{request_id{submitted_.size()}};
    };
    o.cluster.cancel = [](request_id) {};
    o.cluster.refusal = []() -> std::optional<error> { return std::nullopt; };
    o.cluster.retry_after_s = [] { return 1; };
    o.post = [this](std::function<void()> what) {
      const std::lock_guard lock{mutex_};
      posted_.push_back(std::move(what));
    };
    service_ = std::make_unique<service>(std::move(o));
  }

  ~reading_test() override {
    service_->close();
    service_->stop();
  }

  std::shared_ptr<kept_exchange> ask(const std::string& body, route where = route::completions) {
    auto to = std::make_shared<kept_exchange>();
    http::request r;
    r.body = body;
    service_->handle(where, std::move(r), to, caller{"alice", 0, 1, 0});
    return to;
  }

  void io() {
    while (service_->reading() > 0) std::this_thread::yield();
    std::deque<std::function<void()>> taken;
    {
      const std::lock_guard lock{mutex_};
      taken.swap(posted_);
    }
    for (auto& one : taken) one();
  }

  std::shared_ptr<clock> time_ = std::make_shared<hasty_clock>();
  silent seen_;
  std::vector<actors::generation_request> submitted_;  // by the reading thread, then read by io()
  std::mutex mutex_;
  std::deque<std::function<void()>> posted_;
  std::unique_ptr<service> service_;
};

TEST_F(reading_test, whoever_left_before_is_not_read) {
  const auto slow = ask(R"({"prompt":[)" + [] {
    std::string many = "1";
    for (int i = 0; i < 400'000; ++i) many += ",1";
    return many;
  }() + "]}");
  const auto gone = ask(R"({"prompt":")" + std::string(40'000, ' ') + R"("})", route::tokenize);
  const auto stays = ask(R"({"prompt":")" + std::string(40'000, ' ') + R"("})", route::tokenize);
  gone->gone();
  io();
  EXPECT_NE(slow->last.body.find("context holds"), std::string::npos);
  EXPECT_EQ(gone->last.body, "");
  EXPECT_NE(stays->last.body, "");
}

TEST_F(reading_test, the_time_it_takes_to_read_counts) {
  const auto late = ask(R"({"prompt":"a","timeout":0.5})");
  io();
  EXPECT_EQ(late->last.status, 504);
  EXPECT_TRUE(submitted_.empty());
  const auto good = ask(R"({"prompt":"a","timeout":100})");
  io();
  ASSERT_EQ(submitted_.size(), 1U);
  EXPECT_LT(submitted_[0].timeout, std::chrono::seconds{100});
  EXPECT_GT(submitted_[0].timeout, std::chrono::seconds{90});
}

TEST_F(reading_test, texts_are_bounded_where_they_are_many_times_their_request) {
  std::string longest;
  std::size_t bytes = 0;
  for (token_id t = 0; t < 6144; ++t)
    if (words()->bytes_of(t).size() > bytes) {
      bytes = words()->bytes_of(t).size();
      longest = std::to_string(t);
    }
  const std::size_t fits = (std::size_t{8} << 20) / bytes;
  std::string body = R"({"tokens":[)";
  for (std::size_t i = 0; i < fits; ++i) body += longest + ",";
  const auto good = ask(body.substr(0, body.size() - 1) + "]}", route::detokenize);
  const auto bad = ask(body + longest + "]}", route::detokenize);
  good->done.get_future().wait();
  bad->done.get_future().wait();
  EXPECT_EQ(good->last.status, 200);
  EXPECT_EQ(bad->last.status, 400);
  service_->drain();
  EXPECT_EQ(ask(R"({"prompt":"a"})", route::tokenize)->last.status, 503);
}

}  // namespace
}  // namespace atl::openai
