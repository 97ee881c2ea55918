// The commands of operators against a server that says what a test wants.
#include "apps/cluster/config_commands.hpp"
#include "apps/cluster/event_commands.hpp"
#include "apps/cluster/operator_commands.hpp"
#include "apps/cluster/request_commands.hpp"
#include "tests/support/scripted_server.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sys/stat.h>

namespace atl::ops {
namespace {

class operator_commands : public ::testing::Test {
protected:
  operator_commands() {
    std::string made = ::testing::TempDir() + "atoll-operator-XXXXXX";
    EXPECT_NE(::mkdtemp(made.data()), nullptr);
    dir_ = made;
    std::ofstream{dir_ + "/key"} << "sk-atoll-secret\n";
  }
  ~operator_commands() override { std::filesystem::remove_all(dir_); }

  struct exchange {
    std::string wants;  // the request line
    int status = 200;
    std::string says;
  };

  /// Serves these in order, each on a connection of its own or on a kept one.
  test::scripted_server serving(std::vector<exchange> all) {
    return test::scripted_server{{[this, all = std::move(all)](test::peer& p) {
      for (const auto& e : all) {
        const std::string r = p.request();
        requests_.push_back(r);
        EXPECT_EQ(r.substr(0, r.find(" HTTP/")), e.wants);
        EXPECT_NE(r.find("Authorization: Bearer sk-atoll-secret\r\n"), std::string::npos);
        p.send(test::answer(e.status, e.says));
      }
      p.wait_for_end();
    }}};
  }

  operator_options at(const test::scripted_server& server) {
    operator_options o;
    o.server.url = server.url();
    o.server.key_file = dir_ + "/key";
    o.as_json = true;
    return o;
  }

  template <class Command>
  static std::string printed(Command run, int expected) {
    ::testing::internal::CaptureStdout();
    const result<int> code = run();
    std::string text = ::testing::internal::GetCapturedStdout();
    EXPECT_TRUE(code.has_value());
    if (code.has_value()) {
      EXPECT_EQ(*code, expected);
    }
    return text;
  }

  std::string dir_;
  std::vector<std::string> requests_;
};

TEST_F(operator_commands, list_nodes_as_json_and_as_a_table) {
  const std::string body =
      R"({"items":[{"id":2,"name":"gpu","role":"expert","roles":["expert"],"state":"alive",)"
      R"("up_s":7300,"experts":12,"expert_bytes":1048576,"sequences":3,"note":"",)"
      R"("domain":"rack-7","speed":2650000,"speed_now":812}],"revision":4})";
  {
    const auto server = serving({{"GET /api/v1/nodes", 200, body}});
    const auto text = printed([&] { return run_node_list(at(server)); }, 0);
    EXPECT_EQ(text.front(), '[');
    EXPECT_NE(text.find("\"state\":\"alive\""), std::string::npos);
  }
  const auto server = serving({{"GET /api/v1/nodes", 200, body}});
  operator_options o = at(server);
  o.as_json = false;
  const auto text = printed([&] { return run_node_list(o); }, 0);
  EXPECT_NE(text.find("ID  NAME  ROLE    STATE  UP  EXPERTS  WEIGHTS"), std::string::npos) << text;
  EXPECT_NE(text.find("2   gpu   expert  alive  2h  12       1.0 MiB"), std::string::npos) << text;
  const auto another = serving({{"GET /api/v1/nodes", 200, body}});
  o = at(another);
  o.as_json = false;
  const auto wide = printed([&] { return run_node_list(o, true); }, 0);
  EXPECT_NE(wide.find("UP  DOMAIN  SPEED  NOW"), std::string::npos) << wide;
  EXPECT_NE(wide.find("2h  rack-7  2.6M   812"), std::string::npos) << wide;
}

TEST_F(operator_commands, status_tells_by_its_exit_code) {
  for (const auto& [state, code] : {std::pair{"healthy", 0}, std::pair{"degraded", 1}}) {
    const auto server = serving(
        {{"GET /api/v1/cluster", 200, std::string{R"({"state":")"} + state + R"(","nodes":[]})"}});
    printed([&] { return run_cluster_status(at(server)); }, code);
  }
}

TEST_F(operator_commands, a_drain_waits_for_its_end_and_tells_how_it_went) {
  for (const auto& [state, code] : {std::pair{"done", 0}, std::pair{"failed", 1}}) {
    const std::string running = R"({"id":9,"kind":"drain","state":"running","node":3})";
    const auto server = serving({
        {"POST /api/v1/nodes/3/drain", 202, running},
        {"GET /api/v1/events?wait=5&since=0", 200, R"({"items":[],"revision":17})"},
        {"GET /api/v1/operations/9", 200, running},
        {"GET /api/v1/events?wait=5&since=17", 200, R"({"items":[],"revision":18})"},
        {"GET /api/v1/operations/9",
         200,
         std::string{R"({"id":9,"kind":"drain","state":")"} + state + R"(","node":3})"},
    });
    requests_.clear();
    node_options o;
    o.at = at(server);
    o.node = "3";
    o.deadline_s = 60;
    o.force = true;
    const auto text = printed([&] { return run_node_drain(o); }, code);
    EXPECT_NE(text.find(state), std::string::npos);
    EXPECT_NE(requests_.front().find(R"({"force":true,"deadline_s":60})"), std::string::npos);
  }
}

TEST_F(operator_commands, a_detached_drain_does_not_wait) {
  const auto server = serving({{"POST /api/v1/nodes/3/drain",
                                202,
                                R"({"id":9,"kind":"drain","state":"running","node":3})"}});
  node_options o;
  o.at = at(server);
  o.node = "3";
  o.detaches = true;
  printed([&] { return run_node_drain(o); }, 0);
}

TEST_F(operator_commands, a_node_may_be_named) {
  const std::string nodes =
      R"({"items":[{"id":2,"name":"a","state":"removed"},{"id":5,"name":"a","state":"alive"},)"
      R"({"id":6,"name":"b","state":"alive"},{"id":7,"name":"b","state":"alive"}]})";
  {
    const auto server = serving({{"GET /api/v1/nodes", 200, nodes},
                                 {"POST /api/v1/nodes/5/cordon",
                                  200,
                                  R"({"id":1,"kind":"cordon","state":"done","node":5})"}});
    node_options o;
    o.at = at(server);
    o.node = "a";
    printed([&] { return run_node_cordon(o); }, 0);
  }
  const auto server = serving({{"GET /api/v1/nodes", 200, nodes}});
  node_options o;
  o.at = at(server);
  o.node = "b";
  printed([&] { return run_node_cordon(o); }, 2);
}

TEST_F(operator_commands, refusals_have_their_exit_codes) {
  const auto with = [&](int status) {
    const auto server = serving({{"DELETE /api/v1/nodes/3", status, R"({"detail":"no"})"}});
    node_options o;
    o.at = at(server);
    o.node = "3";
    return *run_node_remove(o);
  };
  EXPECT_EQ(with(401), 4);
  EXPECT_EQ(with(404), 5);
  EXPECT_EQ(with(409), 2);
  EXPECT_EQ(with(503), 1);
  operator_options nobody;
  nobody.server.url = "http://127.0.0.1:" + std::to_string(test::closed_port());
  nobody.server.key_file = dir_ + "/key";
  EXPECT_EQ(*run_node_list(nobody), 3);
  nobody.server.url = "http://192.0.2.1:7400";
  EXPECT_EQ(*run_node_list(nobody), 2);
}

TEST_F(operator_commands, a_token_goes_to_a_private_file_and_not_to_the_terminal) {
  const auto server =
      serving({{"POST /api/v1/join-tokens",
                201,
                R"({"id":"0123456789ab","token":"atoll-join-x","roles":["expert"]})"}});
  token_options o;
  o.at = at(server);
  o.roles = {"expert"};
  o.out = dir_ + "/token";
  const auto text = printed([&] { return run_token_create(o); }, 0);
  EXPECT_EQ(text.find("atoll-join-x"), std::string::npos);
  std::ifstream file{o.out};
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(line, "atoll-join-x");
  struct stat about {};
  ASSERT_EQ(::stat(o.out.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777U, 0600U);
  EXPECT_EQ(*run_token_create(o), 2) << "the file must not be overwritten";
}

TEST_F(operator_commands, certificates_are_a_table_and_revoked_by_their_serial) {
  const std::string serial = "4f0c6f1d2b7a4be0a1f3c5d7e9b10325";
  const std::string one =
      R"({"serial":")" + serial + R"(","node":3,"state":"revoked","issued":"a","not_after":"b"})";
  certificate_options o;
  o.serial = serial;
  {
    const auto server = serving({{"GET /api/v1/certificates", 200, R"({"items":[)" + one + "]}"}});
    o.at = at(server);
    o.at.as_json = false;
    const auto table = printed([&] { return run_certificate_list(o.at); }, 0);
    EXPECT_NE(table.find("NOT AFTER"), std::string::npos);
    EXPECT_NE(table.find(serial + "  3     revoked"), std::string::npos) << table;
  }
  const auto server = serving({{"POST /api/v1/certificates/" + serial + "/revoke", 200, one}});
  o.at = at(server);
  o.at.as_json = false;
  EXPECT_EQ(printed([&] { return run_certificate_revoke(o); }, 0),
            "certificate " + serial + " of node 3 was revoked\n");
  o.serial = "../nodes";
  EXPECT_EQ(*run_certificate_revoke(o), 2);
}

TEST_F(operator_commands, events_are_lines) {
  const auto server = serving(
      {{"GET /api/v1/events?since=4&wait=0",
        200,
        R"({"items":[{"revision":5,"time":"t","kind":"joined","node":2,"text":"node 2 joined"}],)"
        R"("revision":5})"}});
  events_options o;
  o.at = at(server);
  o.at.as_json = false;
  o.since = 4;
  EXPECT_EQ(printed([&] { return run_events(o); }, 0), "t  5  joined  node 2 joined\n");
}

TEST_F(operator_commands, events_are_followed_over_a_restart_and_what_may_be_missing_is_said) {
  const auto news = [](int n, int complete) {
    const std::string r = std::to_string(n);
    return R"({"items":[{"revision":)" + r + R"(,"time":"t","kind":"k","node":2,"text":"x"}],)" +
           R"("revision":)" + r + R"(,"complete_since":)" + std::to_string(complete) + "}";
  };
  const auto server = serving({{"GET /api/v1/events?since=4&wait=0", 200, news(5, 0)},
                               {"GET /api/v1/events?since=5&wait=30", 503, "{}"},
                               {"GET /api/v1/events?since=5&wait=30", 200, news(6, 5)},
                               {"GET /api/v1/events?since=6&wait=30", 200, news(4097, 4096)},
                               {"GET /api/v1/events?since=4097&wait=30", 200, news(9, 8)},
                               {"GET /api/v1/events?since=9&wait=30", 401, "{}"}});
  events_options o;
  o.at = at(server);
  o.at.as_json = false;
  o.since = 4;
  o.follows = true;
  ::testing::internal::CaptureStderr();
  const std::string text = printed([&] { return run_events(o); }, 4);
  const std::string notes = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(text,
            "t  5  k  x\nt  6  k  x\n"
            "-  4096  gap  events between revision 6 and 4096 are not kept: some may be missing\n"
            "t  4097  k  x\n"
            "-  9  gap  events between revision 4097 and 9 are not kept: the cluster is another, "
            "or was restored\nt  9  k  x\n");
  EXPECT_NE(notes.find("does not answer, and is asked again"), std::string::npos);
  EXPECT_NE(notes.find("answers again"), std::string::npos);
}

TEST_F(operator_commands, requests_are_listed_and_one_is_ended) {
  const std::string body =
      R"({"items":[{"id":"3-1-17","request_id":"x","route":"chat","key":"team","state":"waiting",)"
      R"("stream":true,"prompt_tokens":12,"generated_tokens":0,"age_s":2.5}],"more":4,)"
      R"("silent":[5]})";
  {
    const auto server = serving({{"GET /api/v1/requests", 200, body}});
    auto o = at(server);
    o.as_json = false;
    const auto text = printed([&] { return run_request_list(o); }, 0);
    for (const char* part :
         {"3-1-17", "team", "waiting", "2.5 s", "and 4 more", "gateway 5 did not"})
      EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  {
    const auto server = serving(
        {{"DELETE /api/v1/requests/3-1-17", 200, R"({"id":"3-1-17","state":"cancelled"})"}});
    auto o = at(server);
    o.as_json = false;
    EXPECT_EQ(printed(
                  [&] {
                    return run_request_cancel({o, "3-1-17"});
                  },
                  0),
              "request 3-1-17: cancelled\n");
  }
  const auto server = serving({});
  EXPECT_EQ(printed([&] { return run_request_cancel({at(server), "../nodes/3"}); }, 5), "");
  EXPECT_EQ(printed([&] { return run_request_show({at(server), ""}); }, 5), "");
}

TEST_F(operator_commands, settings_are_told_and_names_that_nobody_knows_refused) {
  const std::string now = R"({"expert_policy":"off","moved_experts_max":256})";
  {
    const auto server =
        serving({{"GET /api/v1/config", 200, now}, {"PUT /api/v1/config", 200, now}});
    const config_set_options o{at(server), {"expert_policy=advise", "moved_experts_max=64"}};
    EXPECT_EQ(printed([&] { return run_cluster_config_set(o); }, 0), now + "\n");
    EXPECT_NE(requests_.back().find(R"({"expert_policy":"advise","moved_experts_max":64})"),
              std::string::npos)
        << requests_.back();
  }
  for (const char* wrong : {"expert_polcy=off", "expert_policy", "=off"}) {
    const auto server = serving({{"GET /api/v1/config", 200, now}});
    const config_set_options o{at(server), {wrong}};
    EXPECT_EQ(printed([&] { return run_cluster_config_set(o); }, 2), "") << wrong;
  }
  const auto server = serving({{"GET /api/v1/log-level", 200, R"({"level":"info"})"}});
  auto o = at(server);
  o.as_json = false;
  EXPECT_EQ(printed([&] { return run_log_level({o, ""}); }, 0), "info\n");
}

}  // namespace
}  // namespace atl::ops
