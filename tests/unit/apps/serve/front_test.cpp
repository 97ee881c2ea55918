// What a gateway of a cluster hands on to the coordinator, and what it keeps to itself.
#include "apps/serve/access.hpp"
#include "apps/serve/front.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace atl::serve {
namespace {

class kept_answer final : public http::exchange {
public:
  void reply(http::response whole) override { got = std::move(whole); }
  void begin_stream(http::response) override {}
  bool write(std::string) override { return false; }
  void end_stream() override {}
  void abort() override {}
  void when_gone(std::function<void()>) override {}
  http::response got;
};

class front_test : public ::testing::Test {
protected:
  http::response ask(front& of,
                     const std::string& method,
                     const std::string& path,
                     std::string_view listener = main_listener,
                     const std::string& origin = {}) {
    http::request r;
    r.method = method;
    r.path = path;
    r.listener = listener;
    r.headers = {{"host", "127.0.0.1:8000"}, {"authorization", "Bearer operators-key"}};
    if (!origin.empty()) r.headers.push_back({"origin", origin});
    const auto answer = std::make_shared<kept_answer>();
    if (auto refused = of.check(r)) return *refused;
    of.handle(std::move(r), answer);
    return answer->got;
  }

  static front_options loopback() {
    front_options o;
    o.main_origin.is_loopback = o.admin_origin.is_loopback = true;
    o.main_origin.listen_host = o.admin_origin.listen_host = "127.0.0.1";
    return o;
  }

  /// Answers as a coordinator: 299, and with what came.
  http::handler coordinator() {
    return [](http::request&& r, std::shared_ptr<http::exchange> answer) {
      http::response said;
      said.status = 299;
      said.body = r.method + " " + r.path + " " + std::string{r.header_value("authorization")};
      answer->reply(std::move(said));
    };
  }
};

TEST_F(front_test, hands_on_what_only_the_cluster_knows_with_the_operators_key) {
  front f{loopback()};
  f.forward(coordinator());
  EXPECT_EQ(ask(f, "GET", "/api/v1/nodes").body, "GET /api/v1/nodes Bearer operators-key");
  EXPECT_EQ(ask(f, "POST", "/api/v1/nodes/3/drain").status, 299);
  EXPECT_EQ(ask(f, "GET", "/api/v1/experts").status, 299) << "those of the cluster";
  for (const char* own : {"/api/v1/status", "/metrics", "/v1/nothing", "/nodes", "/api/v2/nodes"})
    EXPECT_NE(ask(f, "GET", own).status, 299) << own;
  EXPECT_EQ(ask(f, "DELETE", "/api/v1/status").status, 405);
}

TEST_F(front_test, hands_on_nothing_where_there_is_no_cluster) {
  front f{loopback()};
  EXPECT_EQ(ask(f, "GET", "/api/v1/nodes").status, 404);
  EXPECT_NE(ask(f, "GET", "/version").body.find(R"("parts":["generation"])"), std::string::npos);
  f.forward(coordinator());
  EXPECT_NE(ask(f, "GET", "/version").body.find(R"("parts":["generation","cluster"])"),
            std::string::npos);
}

TEST_F(front_test, lets_no_operators_key_travel_in_clear_text) {
  front_options o = loopback();
  o.main_is_private = false;
  front f{o};
  f.forward(coordinator());
  const auto refused = ask(f, "GET", "/api/v1/nodes");
  EXPECT_EQ(refused.status, 403);
  EXPECT_NE(refused.body.find("clear text"), std::string::npos);
}

TEST_F(front_test, hands_on_by_the_admin_listener_alone_where_there_is_one) {
  front_options o = loopback();
  o.splits = true;
  front f{o};
  f.forward(coordinator());
  EXPECT_EQ(ask(f, "GET", "/api/v1/nodes").status, 404);
  EXPECT_EQ(ask(f, "GET", "/api/v1/nodes", admin_listener).status, 299);
}

TEST_F(front_test, takes_nothing_for_the_cluster_from_pages_of_others) {
  front f{loopback()};
  f.forward(coordinator());
  EXPECT_EQ(ask(f, "POST", "/api/v1/nodes/3/drain", main_listener, "http://elsewhere").status, 403);
  EXPECT_EQ(ask(f, "POST", "/api/v1/nodes/3/drain", main_listener, "http://127.0.0.1:8000").status,
            299);
}

}  // namespace
}  // namespace atl::serve
