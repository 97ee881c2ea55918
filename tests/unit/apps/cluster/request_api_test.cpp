// Requests under way at gateways, by way of the API.
#include "apps/cluster/request_hub.hpp"
#include "tests/unit/apps/cluster/cluster_api_fixture.hpp"

namespace atl::ops {
namespace {

class request_api_test : public cluster_api_test {
protected:
  struct machine {
    node_id node;
    std::string certificate, csr;
  };

  /// A node that has joined, and is here.
  machine add(const std::string& role, std::uint32_t bit) {
    const std::string token = create_token(R"({"roles":[")" + role + R"("]})");
    const reply in = ask("POST", "/api/v1/join", join_body(token, role), "");
    EXPECT_EQ(in.status, 200);
    const machine m{node_id{in.o().at("node").to_number<std::uint32_t>()},
                    std::string{in.o().at("certificate").as_string()},
                    request_.request_pem};
    wire::join j;
    j.roles = bit;
    j.name = role;
    j.numeric_class = "x";
    control_->joined({m.node, incarnation{1}}, j, now_);
    return m;
  }
  machine add_gateway() { return add("gateway", wire::role_gateway); }

  std::shared_ptr<kept_answer> line(const machine& of, json::array answers = {}) {
    return send("POST",
                "/api/v1/gateways/line",
                json::serialize(json::object{{"certificate", of.certificate},
                                             {"csr", of.csr},
                                             {"answers", std::move(answers)}}),
                "");
  }
  /// The only question that came by a line.
  static json::object question(const kept_answer& by) {
    const reply r = read(by);
    const auto* all = r.status == 200 ? r.o().if_contains("questions") : nullptr;
    EXPECT_TRUE(all != nullptr && all->as_array().size() == 1) << json::serialize(r.body);
    return all == nullptr || all->as_array().empty() ? json::object{} : all->at(0).as_object();
  }
  static json::object one(const std::string& id, double age_s) {
    return {{"id", id}, {"state", "generating"}, {"age_s", age_s}};
  }
  static std::string named(const machine& m, const char* rest) {
    return "/api/v1/requests/" + std::to_string(m.node.value) + rest;
  }
};

TEST_F(request_api_test, any_number_of_gateways_is_gathered) {
  const reply none = ask("GET", "/api/v1/requests", "", reader_);
  EXPECT_EQ(none.body, json::parse(R"({"items":[],"more":0,"silent":[]})"));
  const machine a = add_gateway(), b = add_gateway();
  const auto from_a = line(a), from_b = line(b);
  EXPECT_FALSE(from_a->got);
  const auto asked = send("GET", "/api/v1/requests");
  EXPECT_FALSE(asked->got);
  const json::object to_a = question(*from_a), to_b = question(*from_b);
  EXPECT_EQ(to_a.at("what"), "list");
  EXPECT_NE(to_a.at("number"), to_b.at("number"));
  const auto next = line(
      a, {{{"number", to_a.at("number")}, {"items", {one("x", 1.5), one("y", 9)}}, {"more", 3}}});
  EXPECT_FALSE(next->got) << "the line is open again";
  EXPECT_FALSE(asked->got);
  line(b, {{{"number", to_b.at("number")}, {"items", {one("z", 5)}}, {"more", 0}}});
  const reply all = read(*asked);
  ASSERT_EQ(all.status, 200);
  ASSERT_EQ(all.o().at("items").as_array().size(), 3U);
  EXPECT_EQ(all.o().at("items").at(0).at("id"), "y");
  EXPECT_EQ(all.o().at("items").at(1).at("id"), "z");
  EXPECT_EQ(all.o().at("more").to_number<int>(), 3);
  EXPECT_TRUE(all.o().at("silent").as_array().empty());
}

TEST_F(request_api_test, who_does_not_answer_is_named) {
  const machine a = add_gateway(), b = add_gateway();
  const auto asked = send("GET", "/api/v1/requests");
  // One comes late, but in time; the question waits for it.
  const json::object to_b = question(*line(b));
  line(b, {{{"number", to_b.at("number")}, {"items", json::array{}}}});
  EXPECT_FALSE(asked->got);
  pass_time();
  const reply told = read(*asked);
  EXPECT_EQ(told.status, 200);
  EXPECT_EQ(told.o().at("silent"), (json::array{a.node.value}));
  const auto late = send("DELETE", named(a, "-1-5"));
  pass_time();
  log_->wait_idle();
  EXPECT_EQ(read(*late).status, 503);
}

TEST_F(request_api_test, a_request_is_ended_where_it_is_and_that_is_written_down) {
  const machine a = add_gateway();
  auto open = line(a);
  const auto asked = send("DELETE", named(a, "-1-5"));
  const json::object cancel = question(*open);
  EXPECT_EQ(cancel.at("what"), "cancel");
  EXPECT_EQ(cancel.at("life").to_number<int>(), 1);
  EXPECT_EQ(cancel.at("request").to_number<int>(), 5);
  EXPECT_FALSE(asked->got);
  open = line(a, {{{"number", cancel.at("number")}, {"is_cancelled", true}}});
  log_->wait_idle();
  const reply ended = read(*asked);
  EXPECT_EQ(ended.status, 200);
  EXPECT_EQ(ended.o().at("state"), "cancelled");
  const auto again = send("DELETE", named(a, "-1-5"));
  line(a, {{{"number", question(*open).at("number")}, {"is_cancelled", false}}});
  log_->wait_idle();
  EXPECT_EQ(read(*again).status, 404);
  const reply audit = ask("GET", "/api/v1/audit");
  const json::array& entries = audit.o().at("items").as_array();
  ASSERT_GE(entries.size(), 2U);
  EXPECT_EQ(std::string{entries[entries.size() - 2].at("what").as_string()},
            "DELETE " + named(a, "-1-5"));
  EXPECT_EQ(entries[entries.size() - 2].at("who"), "admin");
  EXPECT_EQ(entries[entries.size() - 2].at("outcome"), "cancelled");
  EXPECT_EQ(entries.back().at("status").to_number<int>(), 404);
}

TEST_F(request_api_test, one_is_shown_as_long_as_it_is_there) {
  const machine a = add_gateway();
  auto open = line(a);
  const auto asked = send("GET", named(a, "-1-7"), "", reader_);
  const json::object show = question(*open);
  EXPECT_EQ(show.at("what"), "show");
  open = line(a, {{{"number", show.at("number")}, {"request", one("q", 2)}}});
  EXPECT_EQ(read(*asked).o(), one("q", 2));
  const auto gone = send("GET", named(a, "-1-7"));
  line(a, {{{"number", question(*open).at("number")}}});
  EXPECT_EQ(read(*gone).status, 404);
}

TEST_F(request_api_test, a_gateway_of_the_same_process_needs_no_line) {
  own_gateway_ = [](const std::string& question,
                    const std::function<void(const std::string&)>& answer) {
    EXPECT_NE(question.find("\"list\""), std::string::npos);
    answer(R"({"items":[{"id":"1-1-1","age_s":1}],"more":0})");
  };
  wire::join j;
  j.roles = wire::roles_known;
  j.name = "self";
  j.numeric_class = "x";
  control_->joined({node_id{1}, incarnation{1}}, j, now_);
  const reply all = ask("GET", "/api/v1/requests");
  ASSERT_EQ(all.status, 200);
  EXPECT_EQ(all.o().at("items").at(0).at("id"), "1-1-1");
}

TEST_F(request_api_test, a_line_ends_after_a_while_and_where_another_comes) {
  const machine a = add_gateway();
  const auto first = line(a);
  const auto second = line(a);
  EXPECT_EQ(read(*first).body, json::parse(R"({"questions":[]})"));
  EXPECT_FALSE(second->got);
  pass_time();
  EXPECT_EQ(read(*second).body, json::parse(R"({"questions":[]})"));
}

TEST_F(request_api_test, only_gateways_hold_lines_and_answer_for_themselves) {
  const machine a = add_gateway(), b = add_gateway();
  const machine other = add("expert", wire::role_expert);
  EXPECT_EQ(read(*line(other)).status, 401);
  EXPECT_EQ(read(*line({a.node, a.certificate, b.csr})).status, 401);
  EXPECT_EQ(read(*line({a.node, "x", "y"})).status, 400);
  EXPECT_EQ(ask("POST", "/api/v1/gateways/line", "{}", "").status, 400);
  const auto from_a = line(a);
  const auto asked = send("DELETE", named(a, "-1-5"));
  const json::value number = question(*from_a).at("number");
  line(b, {{{"number", number}, {"is_cancelled", true}}});
  EXPECT_FALSE(asked->got) << "another gateway cannot answer for it";
  line(a, {{{"number", 99}, {"is_cancelled", true}}, json::value(7), {{"number", "x"}}});
  EXPECT_FALSE(asked->got);
  // A removed node is none any more.
  EXPECT_EQ(ask("DELETE", "/api/v1/nodes/" + std::to_string(b.node.value) + "?force=true").status,
            200);
  pass_time();
  control_->tick(now_);
  EXPECT_EQ(read(*line(b)).status, 401);
}

TEST_F(request_api_test, what_is_not_there_or_not_allowed_is_refused) {
  const machine a = add_gateway();
  for (const char* id :
       {"1", "1-2", "x-1-1", "1-x-1", "1-1-x", "1-1-1-1", "-1-1-1", "99-1-1", "99999999999-1-1"}) {
    EXPECT_EQ(ask("GET", std::string{"/api/v1/requests/"} + id).status, 404) << id;
    EXPECT_EQ(ask("DELETE", std::string{"/api/v1/requests/"} + id).status, 404) << id;
  }
  EXPECT_EQ(ask("DELETE", named(a, "-1-5"), "", reader_).status, 403);
  EXPECT_EQ(ask("GET", "/api/v1/requests", "", "").status, 401);
  EXPECT_EQ(ask("GET", "/api/v1/requests?x=1").status, 400);
  EXPECT_EQ(ask("DELETE", named(a, "-1-5"), R"({"force":true})").status, 400);
  trouble_ = error{errc::io, "the disk is full"};
  EXPECT_EQ(ask("DELETE", named(a, "-1-5")).status, 503);
}

}  // namespace
}  // namespace atl::ops
