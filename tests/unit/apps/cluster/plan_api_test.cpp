// Plans and the policy by way of the API.
#include "tests/unit/apps/cluster/cluster_api_fixture.hpp"

namespace atl::ops {
namespace {

class plan_api_test : public cluster_api_test {
protected:
  /// Expert 0 of each layer has ten times the rows of the others, reported by who holds them.
  void heat_up() {
    for (int step = 0; step < 80; ++step) {
      now_ = now_ + std::chrono::milliseconds{250};
      for (std::uint32_t n = 2; n <= 4; ++n) {
        wire::load_report r;
        r.node = node_id{n};
        const auto experts = control_->experts(std::nullopt);
        for (const auto& e : *experts)
          for (const auto& c : e.copies)
            if (c.node == node_id{n})
              r.counts.push_back({e.layer, e.expert.value, e.expert.value == 0 ? 200U : 20U});
        control_->reported({node_id{n}, incarnation{1}}, r, now_);
      }
    }
    obey();
  }
  /// Answered once the plan is there.
  reply rebalance(const std::string& body = {}, std::vector<http::header> headers = {}) {
    const auto answer = send("POST", "/api/v1/placement/rebalance", body, {}, std::move(headers));
    EXPECT_FALSE(answer->got.has_value()) << "before it is made";
    pass_time();
    EXPECT_FALSE(answer->got.has_value());
    make_plans();
    pass_time();
    log_->wait_idle();
    return read(*answer);
  }
  std::string tag() {
    return "\"" + json::serialize(ask("GET", "/api/v1/placement").o().at("epoch")) + "\"";
  }
  std::size_t copies_of_hot() {
    return ask("GET", "/api/v1/experts/1:0").o().at("replicas").as_array().size();
  }
};

TEST_F(plan_api_test, a_dry_run_is_explained_and_applied_for_the_epoch_it_was_made_for) {
  EXPECT_EQ(ask("POST", "/api/v1/placement/rebalance", R"({"dry_run":true})").status, 409);
  place_a_model();
  heat_up();
  const std::string before = tag();
  const reply dry = rebalance(R"({"dry_run":true})");
  ASSERT_EQ(dry.status, 200) << json::serialize(dry.body);
  EXPECT_EQ(dry.o().at("state").as_string(), "advised");
  EXPECT_EQ(dry.o().at("by").as_string(), "operator");
  EXPECT_FALSE(dry.o().at("steps").as_array().empty());
  EXPECT_FALSE(dry.o().at("explanation").as_array().empty());
  const auto& predicted = dry.o().at("predicted");
  EXPECT_GT(predicted.at("before").at("hottest_over_mean").as_double(),
            predicted.at("after").at("hottest_over_mean").as_double());
  EXPECT_EQ(copies_of_hot(), 1U);
  EXPECT_EQ(tag(), before);
  const std::string path = "/api/v1/plans/" + json::serialize(dry.o().at("id"));
  EXPECT_EQ(ask("GET", path).body, dry.body);
  const reply document = ask("GET", "/api/v1/openapi.json", "", "");
  const auto& schema = document.o().at("components").at("schemas").at("Plan").at("properties");
  EXPECT_EQ(schema.as_object().size(), dry.o().size());
  for (const auto& field : dry.o()) EXPECT_TRUE(schema.as_object().contains(field.key()));
  EXPECT_EQ(ask("POST", path + "/apply", "", reader_).status, 403);
  EXPECT_EQ(ask_with({"if-match", "\"9999\""}, path + "/apply", "").status, 412);
  EXPECT_EQ(copies_of_hot(), 1U);
  EXPECT_EQ(ask_with({"if-match", before}, path + "/apply", "").status, 202);
  EXPECT_EQ(ask("POST", "/api/v1/placement/rebalance").status, 409) << "one at a time";
  obey();
  const reply done = ask("GET", path);
  EXPECT_EQ(done.o().at("state").as_string(), "done") << json::serialize(done.body);
  EXPECT_EQ(done.o().at("percent").to_number<int>(), 100);
  EXPECT_EQ(done.o().at("measured").at("bytes"), done.o().at("bytes"));
  EXPECT_GT(copies_of_hot(), 1U);
  EXPECT_EQ(ask("POST", path + "/apply").status, 409);
  EXPECT_EQ(ask("DELETE", path).status, 409);
  EXPECT_EQ(ask("GET", "/api/v1/plans", "", reader_).o().at("items").as_array().size(), 1U);
}

TEST_F(plan_api_test, a_plan_is_taken_back) {
  place_a_model();
  heat_up();
  EXPECT_EQ(ask_with({"if-match", "\"9999\""}, "/api/v1/placement/rebalance", "").status, 412);
  const reply made = rebalance();
  ASSERT_EQ(made.status, 202);
  const std::string path = "/api/v1/plans/" + json::serialize(made.o().at("id"));
  const reply ended = ask("DELETE", path);
  EXPECT_EQ(ended.status, 200);
  EXPECT_EQ(ended.o().at("state").as_string(), "cancelled");
  obey();
  EXPECT_EQ(copies_of_hot(), 1U);
}

TEST_F(plan_api_test, a_repeated_request_is_done_once) {
  place_a_model();
  heat_up();
  const std::string path = "/api/v1/placement/rebalance";
  const http::header key{"idempotency-key", "k-1"};
  // Again while it is made: the same one.
  const auto first = send("POST", path, R"({"dry_run":true})", {}, {key});
  const auto second = send("POST", path, R"({"dry_run":true})", {}, {key});
  EXPECT_EQ(ask_with(key, path, R"({"dry_run":false})").status, 409);
  make_plans();
  pass_time();
  log_->wait_idle();
  const reply dry = read(*first);
  ASSERT_EQ(dry.status, 200);
  EXPECT_EQ(read(*second).body, dry.body);
  EXPECT_EQ(ask_with(key, path, R"({"dry_run":true})").body, dry.body);
  EXPECT_EQ(ask_with(key, path, R"({"dry_run":false})").status, 409);
  EXPECT_EQ(ask("GET", "/api/v1/plans").o().at("items").as_array().size(), 1U);
  const std::string apply = "/api/v1/plans/" + json::serialize(dry.o().at("id")) + "/apply";
  const http::header other{"idempotency-key", "k-2"};
  EXPECT_EQ(ask_with(other, apply, "").status, 202);
  obey();
  const reply again = ask_with(other, apply, "");
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(again.o().at("state"), "done");
  EXPECT_EQ(ask("POST", apply).status, 409) << "without the key it is another request";
  // The first key still stands for the plan, whatever has become of it.
  EXPECT_EQ(ask_with(key, path, R"({"dry_run":true})").o().at("id"), dry.o().at("id"));
  EXPECT_EQ(ask_with(key, "/api/v1/experts/1:0/replicate", R"({"copies":2})").status, 409);
}

TEST_F(plan_api_test, what_comes_in_between_is_answered_too) {
  place_a_model();
  heat_up();
  const auto first = send("POST", "/api/v1/placement/rebalance", R"({"dry_run":true})");
  const auto second = send("POST", "/api/v1/placement/rebalance");
  // Of the nodes of before: the first is made again, and the second after it.
  EXPECT_EQ(ask("POST", "/api/v1/nodes/2/cordon").status, 200);
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(second->got.has_value());
    make_plans();
    pass_time();
    log_->wait_idle();
  }
  const reply dry = read(*first), applied = read(*second);
  EXPECT_EQ(dry.status, 200);
  EXPECT_EQ(dry.o().at("state").as_string(), "advised");
  for (const auto& step : dry.o().at("steps").as_array())
    EXPECT_TRUE(step.at("action") == "drop" || step.at("node") != 2) << "it takes no experts";
  EXPECT_EQ(applied.status, 202);
  EXPECT_EQ(applied.o().at("state").as_string(), "applying");
  obey();
  // Nothing can be made where a copy is lost in between.
  const auto third = send("POST", "/api/v1/placement/rebalance", R"({"dry_run":true})");
  control_->peer_changed({node_id{3}, incarnation{1}},
                         atl::transport::plane::control,
                         cluster::member_state::suspect,
                         "late",
                         now_);
  make_plans();
  pass_time();
  log_->wait_idle();
  const reply refused = read(*third);
  EXPECT_EQ(refused.status, 409);
  EXPECT_NE(refused.detail().find("suspected"), std::string::npos) << refused.detail();
}

TEST_F(plan_api_test, the_policy_is_chosen_and_nonsense_is_refused) {
  place_a_model();
  EXPECT_EQ(ask("GET", "/api/v1/policy", "", reader_).o().at("policy").as_string(), "off");
  EXPECT_EQ(ask("PUT", "/api/v1/policy", R"({"policy":"auto"})", reader_).status, 403);
  EXPECT_EQ(ask("PUT", "/api/v1/policy", R"({"policy":"advise"})").o().at("policy"), "advise");
  EXPECT_EQ(ask("GET", "/api/v1/policy").o().at("policy").as_string(), "advise");
  for (const char* wrong :
       {R"({"policy":"on"})", R"({"policy":1})", R"({})", R"({"polici":"off"})"})
    EXPECT_EQ(ask("PUT", "/api/v1/policy", wrong).status, 400) << wrong;
  for (const char* wrong : {R"({"dry_run":1})", R"({"dryrun":true})", "[]"})
    EXPECT_EQ(ask("POST", "/api/v1/placement/rebalance", wrong).status, 400) << wrong;
  for (const char* wrong : {"/api/v1/plans/9", "/api/v1/plans/x", "/api/v1/plans/-1"}) {
    EXPECT_EQ(ask("GET", wrong).status, 404) << wrong;
    EXPECT_EQ(ask("DELETE", wrong).status, 404) << wrong;
    EXPECT_EQ(ask("POST", std::string{wrong} + "/apply").status, 404) << wrong;
  }
}

}  // namespace
}  // namespace atl::ops
