// Settings of a running coordinator, by way of the API and from a file.
#include "apps/cluster/config_commands.hpp"
#include "apps/cluster/config_file.hpp"
#include "runtime/base/log.hpp"
#include "tests/support/scripted_server.hpp"
#include "tests/unit/apps/cluster/cluster_api_fixture.hpp"

#include <fstream>

namespace atl::ops {
namespace {

constexpr const char* path = "/api/v1/config";

class config_api_test : public cluster_api_test {
protected:
  config_api_test() { set_log_level(log_level::warning); }
  ~config_api_test() override { set_log_level(log_level::warning); }

  reply put(const std::string& body, std::vector<http::header> headers = {}) {
    return read(*send("PUT", path, body, {}, std::move(headers)));
  }
  std::string tag() {
    const auto now = send("GET", path);
    for (const auto& h : now->got->headers)
      if (h.name == "etag") return h.value;
    return "";
  }
  /// What a coordinator that is started again begins with.
  cluster::durable_state journaled() {
    cluster::durable_state kept;
    for (const auto& e : control_->take_effects()) {
      const auto* r = std::get_if<cluster::record_effect>(&e);
      if (r == nullptr) continue;
      EXPECT_TRUE(apply_record(kept, r->bytes).has_value());
    }
    return kept;
  }
};

TEST_F(config_api_test, what_is_given_is_changed_and_the_rest_stays) {
  const reply before = ask("GET", path, "", reader_);
  EXPECT_EQ(before.body,
            json::parse(R"({"expert_policy":"off","moved_experts_max":256,)"
                        R"("drain_deadline_s":300,"log_level":"warning"})"));
  const reply after = put(R"({"expert_policy":"auto","moved_experts_max":7,"log_level":"error"})");
  EXPECT_EQ(after.status, 200);
  EXPECT_EQ(after.body,
            json::parse(R"({"expert_policy":"auto","moved_experts_max":7,)"
                        R"("drain_deadline_s":300,"log_level":"error"})"));
  EXPECT_EQ(ask("GET", path).body, after.body);
  EXPECT_EQ(ask("GET", "/api/v1/policy").o().at("policy"), "auto");
  EXPECT_FALSE(is_logged(log_level::warning));
  EXPECT_EQ(put("{}").body, after.body);
  const reply audit = ask("GET", "/api/v1/audit");
  EXPECT_EQ(audit.o().at("items").at(0).at("what"), "PUT /api/v1/config");
}

TEST_F(config_api_test, it_outlives_the_coordinator_and_counts_for_drains) {
  place_a_model();
  EXPECT_EQ(put(R"({"drain_deadline_s":45,"moved_experts_max":0})").status, 200);
  const cluster::durable_state kept = journaled();
  EXPECT_EQ(kept.tuned.drain_deadline_s, 45);
  EXPECT_EQ(kept.tuned.moved_experts_max, 0U);
  cluster::control_settings s;
  s.unix_ms = [this] { return now_ms_; };
  control_ = std::make_unique<cluster::control>(std::move(s), kept, now_);
  EXPECT_EQ(ask("GET", path).o().at("drain_deadline_s").to_number<int>(), 45);
  place_a_model();
  EXPECT_EQ(put(R"({"drain_deadline_s":45})").status, 200);
  ASSERT_EQ(ask("POST", "/api/v1/nodes/2/drain").status, 202);
  EXPECT_EQ(control_->find_operation(1)->deadline_unix_ms, now_ms_ + 45'000);
}

TEST_F(config_api_test, a_client_that_knows_older_values_changes_nothing) {
  const std::string known = tag();
  EXPECT_EQ(put(R"({"drain_deadline_s":1})", {{"if-match", known}}).status, 200);
  const reply late = put(R"({"drain_deadline_s":2})", {{"if-match", known}});
  EXPECT_EQ(late.status, 412);
  EXPECT_EQ(ask("GET", path).o().at("drain_deadline_s").to_number<int>(), 1);
  EXPECT_EQ(put(R"({"drain_deadline_s":2})", {{"if-match", "*"}}).status, 200);
  EXPECT_NE(tag(), known);
}

TEST_F(config_api_test, refusals_name_the_field_the_value_and_what_may_be) {
  const auto expect = [this](const std::string& body, const std::string& detail) {
    const reply refused = put(body);
    EXPECT_EQ(refused.status, 400) << body;
    EXPECT_EQ(refused.detail(), detail);
  };
  expect(R"({"moved_experts_max":-5})",
         "moved_experts_max: expected a whole number from 0 to 1000000, not -5");
  expect(R"({"moved_experts_max":1000001})",
         "moved_experts_max: expected a whole number from 0 to 1000000, not 1000001");
  expect(R"({"drain_deadline_s":99999999999999999999})",
         "drain_deadline_s: expected a whole number from 0 to 86400, not 1E20");
  expect(R"({"drain_deadline_s":1.5})",
         "drain_deadline_s: expected a whole number from 0 to 86400, not 1.5E0");
  expect(R"({"expert_policy":"often"})",
         "expert_policy: expected off, advise or auto, not \"often\"");
  expect(R"({"expert_policy":true})", "expert_policy: expected text of at most 16 bytes, not true");
  expect(R"({"log_level":"loud"})",
         "log_level: expected debug, info, warning, error or off, not \"loud\"");
  expect(R"({"expert_polcy":"auto"})",
         "there is no field \"expert_polcy\" here; known: expert_policy, moved_experts_max, "
         "drain_deadline_s, log_level");
  // One that is wrong spoils all.
  EXPECT_EQ(put(R"({"expert_policy":"auto","drain_deadline_s":-1})").status, 400);
  EXPECT_EQ(ask("GET", path).o().at("expert_policy"), "off");
  EXPECT_EQ(ask("PUT", path, "{}", reader_).status, 403);
  EXPECT_EQ(ask("GET", "/api/v1/config?x=1").status, 400);
  const reply document = ask("GET", "/api/v1/openapi.json", "", "");
  EXPECT_EQ(
      document.o().at("components").at("schemas").at("Config").at("properties").as_object().size(),
      ask("GET", path).o().size());
}

TEST(config_file, tells_where_it_is_wrong) {
  const auto good =
      parse_config_file("# calm\nexpert_policy = \"off\"\n\nmoved_experts_max = 9\n", "calm.toml");
  ASSERT_TRUE(good.has_value());
  EXPECT_EQ(good->values,
            json::parse(R"({"expert_policy":"off","moved_experts_max":9})").as_object());
  EXPECT_EQ(good->where.at("moved_experts_max"), "calm.toml:4:1");
  const auto message = [](const char* text) {
    const auto read = parse_config_file(text, "f.toml");
    return read.has_error() ? read.error().message() : "";
  };
  EXPECT_TRUE(message("a = 1\nexpert_policy = off\n").starts_with("f.toml:2:"));
  EXPECT_TRUE(message("a = 1\na = 2\n").starts_with("f.toml:2:"));
  EXPECT_EQ(message("a = 1\n  b = [1]\n"),
            "f.toml:2:3: b: expected text in quotation marks, a number, true or false");
}

/// The command against a coordinator that answers as told; its messages.
class config_command : public ::testing::Test {
protected:
  std::string applied(const std::string& text, std::vector<std::pair<int, std::string>> answers) {
    const std::string dir = ::testing::TempDir();
    std::ofstream{dir + "/key"} << "sk-atoll-secret\n";
    std::ofstream{dir + "/policy.toml"} << text;
    const test::scripted_server server{{[&, answers](test::peer& p) {
      for (const auto& [status, body] : answers) {
        last_ = p.request();
        p.send(test::answer(status, body));
      }
      p.wait_for_end();
    }}};
    config_apply_options o;
    o.at.server.url = server.url();
    o.at.server.key_file = dir + "/key";
    o.file = dir + "/policy.toml";
    ::testing::internal::CaptureStderr();
    ::testing::internal::CaptureStdout();
    const auto code = run_cluster_config_apply(o);
    const std::string said = ::testing::internal::GetCapturedStdout();
    code_ = code.has_value() ? *code : -1;
    return said + ::testing::internal::GetCapturedStderr();
  }
  static constexpr const char* now = R"({"expert_policy":"off","moved_experts_max":256})";
  std::string last_;
  int code_ = -1;
};

TEST_F(config_command, a_typo_in_a_file_is_named_with_line_and_column_and_nothing_is_sent) {
  const std::string said =
      applied("moved_experts_max = 9\n expert_polcy = \"auto\"\n", {{200, now}});
  EXPECT_EQ(code_, 2);
  EXPECT_NE(said.find("policy.toml:2:2: expert_polcy: there is no such setting; did you mean "
                      "expert_policy?"),
            std::string::npos)
      << said;
  EXPECT_TRUE(last_.starts_with("GET ")) << last_;
}

TEST_F(config_command, a_value_that_the_coordinator_refuses_is_found_in_the_file) {
  const std::string said =
      applied("expert_policy = \"auto\"\nmoved_experts_max = -4\n",
              {{200, now},
               {400,
                R"({"title":"invalid request","status":400,"detail":"moved_experts_max: expected )"
                R"(a whole number from 0 to 1000000, not -4"})"}});
  EXPECT_EQ(code_, 2);
  EXPECT_NE(said.find("policy.toml:2:1: moved_experts_max: expected a whole number from 0 to "
                      "1000000, not -4"),
            std::string::npos)
      << said;
  EXPECT_NE(last_.find(R"({"expert_policy":"auto","moved_experts_max":-4})"), std::string::npos)
      << last_;
  const std::string done = applied("expert_policy = \"auto\"\n", {{200, now}, {200, now}});
  EXPECT_EQ(code_, 0);
  EXPECT_NE(done.find("moved_experts_max  256"), std::string::npos) << done;
}

}  // namespace
}  // namespace atl::ops
