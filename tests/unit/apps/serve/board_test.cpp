// What the board says under /api/v1, as JSON.
#include "apps/serve/board.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace atl::serve {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

class board_test : public testing::Test {
protected:
  board_test() : board_{options()} {}

  board_options options() const {
    board_options o;
    o.model_id = "ti\"ny";
    o.experts = 3;
    o.time = time_;
    return o;
  }

  json::object status() const {
    const http::response r = board_.status({});
    EXPECT_EQ(r.status, 200);
    return json::parse(r.body).as_object();
  }

  void sample(std::uint64_t steps = 0) {
    server_sample s;
    s.is_ready = true;
    s.state = "ready";
    s.counters.steps = steps;
    s.counters.expert_rows = {{}, {1, 2, 6}, {0, 0, 0}};
    board_.sampled(s);
  }

  std::shared_ptr<virtual_clock> time_ = std::make_shared<virtual_clock>();
  board board_;
};

TEST_F(board_test, tells_rates_of_the_newest_samples) {
  sample();
  EXPECT_EQ(status().at("rates").at("tokens_per_second").as_double(), 0);
  for (int i = 0; i < 20; ++i) {
    time_->advance(1s);
    board_.generated(i < 10 ? 1000 : 30);
    openai::request_record r;
    r.generated_tokens = 1;
    r.prompt_tokens = 2;
    r.total = 250ms;
    r.first_token = 40ms;
    board_.ended(r);
    sample();
  }
  const json::object said = status();
  EXPECT_NEAR(said.at("rates").at("tokens_per_second").as_double(), 30, 1e-6);
  EXPECT_NEAR(said.at("rates").at("requests_per_second").as_double(), 1, 1e-6);
  EXPECT_NEAR(said.at("uptime_s").as_double(), 20, 1e-6);
  EXPECT_EQ(said.at("tokens").at("generated").as_int64(), 10300);
  EXPECT_EQ(said.at("tokens").at("prompt").as_int64(), 40);
  EXPECT_EQ(said.at("latency_ms").at("first_token").at("p99").as_double(), 40);
  EXPECT_EQ(said.at("latency_ms").at("request").at("p50").as_double(), 250);
}

TEST_F(board_test, has_no_latencies_before_the_first_request) {
  const json::object said = status();
  for (const auto& kind : said.at("latency_ms").as_object()) EXPECT_TRUE(kind.value().is_null());
  EXPECT_FALSE(said.at("ready").as_bool());
  EXPECT_EQ(said.at("model"), "ti\"ny");
}

TEST_F(board_test, percentiles_are_of_the_values_seen) {
  for (int i = 1; i <= 101; ++i) board_.token_interval(std::chrono::milliseconds{i}, 1);
  const json::value said = status().at("latency_ms").at("inter_token");
  EXPECT_EQ(said.at("p50").as_double(), 51);
  EXPECT_EQ(said.at("p90").as_double(), 91);
  EXPECT_EQ(said.at("p99").as_double(), 100);
  // Later ones push the earlier ones out.
  for (int i = 0; i < 5000; ++i) board_.token_interval(2s, 2);
  EXPECT_EQ(status().at("latency_ms").at("inter_token").at("p50").as_double(), 1000);
}

TEST_F(board_test, shows_requests_under_way) {
  openai::live_request r;
  r.id = "<id>\n";
  r.route = "chat";
  r.state = "waiting";
  r.is_stream = true;
  r.prompt_tokens = 5;
  r.age_s = 1.5;
  const std::vector<openai::live_request> live{r, r};
  const json::value said = json::parse(board_.status(live).body).at("live");
  ASSERT_EQ(said.as_array().size(), 2U);
  EXPECT_EQ(said.at(1).at("id"), "<id>\n");
  EXPECT_EQ(said.at(1).at("state"), "waiting");
  EXPECT_TRUE(said.at(1).at("stream").as_bool());
  EXPECT_EQ(said.at(1).at("prompt_tokens").as_int64(), 5);
  EXPECT_EQ(said.at(1).at("age_s").as_double(), 1.5);
}

TEST_F(board_test, tells_experts_by_layer_and_leaves_out_layers_without) {
  sample();
  const json::value all = json::parse(board_.experts("").body);
  EXPECT_EQ(all.at("experts_per_layer").as_int64(), 3);
  ASSERT_EQ(all.at("layers").as_array().size(), 2U);
  const json::value& first = all.at("layers").at(0);
  EXPECT_EQ(first.at("layer").as_int64(), 1);
  EXPECT_EQ(first.at("tokens").as_int64(), 9);
  EXPECT_EQ(first.at("hottest_over_mean").as_double(), 2);
  EXPECT_EQ(first.at("experts"), json::value({1, 2, 6}));
  EXPECT_EQ(all.at("layers").at(1).at("hottest_over_mean").as_double(), 1);

  const json::value one = json::parse(board_.experts("layer=2").body);
  ASSERT_EQ(one.at("layers").as_array().size(), 1U);
  EXPECT_EQ(one.at("layers").at(0).at("layer").as_int64(), 2);
}

TEST_F(board_test, answers_what_it_does_not_know_with_a_problem) {
  sample();
  const std::pair<const char*, int> cases[] = {
      {"layer=0", 404},
      {"layer=3", 404},
      {"layer=99999999999999999999999", 404},
      {"layer=", 400},
      {"layer=-1", 400},
      {"layer=1x", 400},
      {"layer=1&layer=2", 400},
      {"expert=1", 400},
  };
  for (const auto& [query, status] : cases) {
    const http::response r = board_.experts(query);
    EXPECT_EQ(r.status, status) << query;
    EXPECT_EQ(r.content_type, "application/problem+json") << query;
    const json::value said = json::parse(r.body);
    EXPECT_EQ(said.at("status").as_int64(), status) << query;
    EXPECT_EQ(said.at("type"), "about:blank") << query;
    EXPECT_FALSE(said.at("title").as_string().empty()) << query;
    EXPECT_FALSE(said.at("detail").as_string().empty()) << query;
  }
}

TEST(web_files, are_served_with_a_policy_that_keeps_others_out) {
  for (const std::string path :
       {"/", "/static/board.js", "/static/cluster.js", "/static/board.css", "/static/icon.svg"}) {
    const auto file = web_file(path);
    ASSERT_TRUE(file) << path;
    EXPECT_FALSE(file->body.empty()) << path;
    bool has_policy = false;
    for (const auto& header : file->headers)
      has_policy = has_policy || (header.name == "content-security-policy" &&
                                  header.value.find("default-src 'none'") != std::string::npos &&
                                  header.value.find("unsafe") == std::string::npos);
    EXPECT_TRUE(has_policy) << path;
    // Nothing is fetched from elsewhere.
    const bool is_image = path.ends_with(".svg");  // which names its XML namespace
    EXPECT_TRUE(is_image || file->body.find("://") == std::string::npos) << path;
  }
  EXPECT_FALSE(web_file("/static/none.js"));
  EXPECT_FALSE(web_file("/static/../index.html"));
}

}  // namespace
}  // namespace atl::serve
