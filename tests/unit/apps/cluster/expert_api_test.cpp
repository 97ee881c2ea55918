// Experts, models and the placement by way of the API.
#include "tests/unit/apps/cluster/cluster_api_fixture.hpp"

#include <algorithm>
#include <map>

namespace atl::ops {
namespace {

TEST_F(cluster_api_test, tells_which_node_serves_which_expert) {
  EXPECT_TRUE(ask("GET", "/api/v1/models").o().at("items").as_array().empty());
  place_a_model();
  const reply models = ask("GET", "/api/v1/models");
  const auto& model = models.o().at("items").at(0);
  EXPECT_EQ(model.at("name").as_string(), "Tiny-1");
  EXPECT_EQ(model.at("state").as_string(), "serving");
  EXPECT_EQ(ask("GET", "/api/v1/experts").o().at("items").as_array().size(), 8U);
  const reply layer = ask("GET", "/api/v1/experts?layer=2&model=Tiny-1", "", reader_);
  ASSERT_EQ(layer.o().at("items").as_array().size(), 4U);
  EXPECT_EQ(layer.o().at("items").at(3).at("id").as_string(), "2:3");
  EXPECT_EQ(ask("GET", "/api/v1/experts?layer=3").status, 404);
  EXPECT_EQ(ask("GET", "/api/v1/experts?layer=x").status, 404);
  EXPECT_EQ(ask("GET", "/api/v1/experts?model=other").status, 404);
  const reply one = ask("GET", "/api/v1/experts/2:3");
  EXPECT_EQ(one.body, layer.o().at("items").at(3));
  EXPECT_EQ(one.o().at("replicas").at(0).at("state").as_string(), "serving");
  EXPECT_EQ(one.o().at("replicas").at(0).at("share").as_double(), 1.0);
  for (const char* wrong : {"2:4", "0:0", "2", "2:x", "2:3:1", "-1:2"})
    EXPECT_EQ(ask("GET", std::string{"/api/v1/experts/"} + wrong).status, 404) << wrong;
}

TEST_F(cluster_api_test, a_placement_is_known_by_its_epoch) {
  place_a_model();
  const auto whole = send("GET", "/api/v1/placement");
  const reply placement = read(*whole);
  std::string tag;
  for (const auto& h : whole->got->headers)
    if (h.name == "etag") tag = h.value;
  const auto version = placement.o().at("epoch").to_number<std::uint64_t>();
  EXPECT_EQ(tag, "\"" + std::to_string(version) + "\"");
  ASSERT_EQ(placement.o().at("layers").as_array().size(), 2U);
  EXPECT_EQ(placement.o().at("layers").at(1).at("layer").to_number<int>(), 2);
  EXPECT_EQ(placement.o().at("layers").at(1).at("experts").as_array().size(), 4U);
  const auto same = send("GET", "/api/v1/placement", "", {}, {{"if-none-match", tag}});
  EXPECT_EQ(same->got->status, 304);
  EXPECT_TRUE(same->got->body.empty());
  const std::string path = "/api/v1/experts/1:0/replicate";
  EXPECT_EQ(ask_with({"if-match", "\"9999\""}, path, R"({"copies":2})").status, 412);
  EXPECT_EQ(ask_with({"if-match", tag}, path, R"({"copies":2})").status, 202);
  obey();
  EXPECT_EQ(send("GET", "/api/v1/placement", "", {}, {{"if-none-match", tag}})->got->status, 200);
  EXPECT_EQ(ask_with({"if-match", tag}, path, R"({"copies":3})").status, 412);
}

TEST_F(cluster_api_test, experts_are_changed_by_hand_and_refusals_say_why) {
  place_a_model();
  const auto expert = [&] { return ask("GET", "/api/v1/experts/1:0").o(); };
  const auto at = expert().at("replicas").at(0).at("node").to_number<int>();
  const std::string path = "/api/v1/experts/1:0/";
  const std::string to = std::to_string(at == 2 ? 3 : 2);
  const auto change = [&](const std::string& what, const std::string& body) {
    return ask("POST", path + what, body);
  };
  EXPECT_EQ(ask("POST", path + "pin", R"({"node":2})", reader_).status, 403);
  const reply moved = change("move", "{\"to\":" + to + "}");
  EXPECT_EQ(moved.status, 202);
  EXPECT_EQ(moved.o().at("state").as_string(), "running");
  EXPECT_EQ(moved.o().at("from").to_number<int>(), at);
  const std::string operation = "/api/v1/operations/" + json::serialize(moved.o().at("id"));
  obey();
  EXPECT_EQ(ask("GET", operation).o().at("state").as_string(), "done");
  EXPECT_EQ(ask("GET", operation).o().at("percent").to_number<int>(), 100);
  EXPECT_EQ(json::serialize(expert().at("replicas").at(0).at("node")), to);
  EXPECT_EQ(json::serialize(expert().at("pins")), "[" + to + "]");
  EXPECT_EQ(ask("DELETE", operation).status, 409);
  EXPECT_EQ(change("drop", "{\"node\":" + to + "}").status, 409);
  EXPECT_EQ(change("unpin", "").status, 200);
  const reply last = change("drop", "{\"node\":" + to + "}");
  EXPECT_EQ(last.status, 409);
  EXPECT_NE(last.detail().find("only copy"), std::string::npos) << last.detail();
  EXPECT_EQ(change("move", R"({"to":99})").status, 404);
  EXPECT_EQ(change("move", R"({})").status, 400);
  EXPECT_EQ(change("replicate", R"({"copies":-1})").status, 400);
  EXPECT_EQ(change("replicate", R"({"copies":1e30})").status, 400);
  EXPECT_EQ(change("replicate", R"({"copies":0})").status, 400);
  EXPECT_EQ(change("replicate", R"({"copies":4})").status, 409);
  EXPECT_EQ(change("pin", R"({"node":5})").status, 409);
  EXPECT_EQ(change("pin", R"({"nodes":[2]})").status, 400);
  EXPECT_EQ(ask("POST", "/api/v1/experts/7:0/pin", R"({"node":2})").status, 404);

  const reply begun = change("replicate", R"({"copies":3})");
  EXPECT_EQ(begun.status, 202);
  const std::string second = "/api/v1/operations/" + json::serialize(begun.o().at("id"));
  EXPECT_EQ(ask("DELETE", second).o().at("state").as_string(), "cancelled");
  obey();
  EXPECT_EQ(expert().at("copies").to_number<int>(), 1);
  EXPECT_EQ(expert().at("copies_wanted").to_number<int>(), 1);
}

TEST_F(cluster_api_test, the_last_copy_goes_by_force_alone_and_what_fails_then_is_said) {
  place_a_model();
  const reply before = ask("GET", "/api/v1/experts/1:0");
  const std::string node = json::serialize(before.o().at("replicas").at(0).at("node"));
  const std::string path = "/api/v1/experts/1:0/drop";
  EXPECT_EQ(ask("POST", path, "{\"node\":" + node + "}").status, 409);
  EXPECT_EQ(ask("GET", "/api/v1/experts/1:0").body, before.body);
  const reply forced = ask("POST", path, "{\"node\":" + node + ",\"force\":true}");
  ASSERT_EQ(forced.status, 200) << json::serialize(forced.body);
  obey();
  const reply done = ask("GET", "/api/v1/operations/" + json::serialize(forced.o().at("id")));
  EXPECT_EQ(done.o().at("state"), "done");
  EXPECT_NE(done.o().at("detail").as_string().find("fail with 503 until it is replicated again"),
            json::string::npos);
  EXPECT_EQ(ask("GET", "/api/v1/experts/1:0").o().at("copies").to_number<int>(), 0);
}

TEST_F(cluster_api_test, a_node_that_cannot_take_an_expert_is_refused_with_the_reason) {
  place_a_model(30);
  std::map<std::string, std::vector<std::string>> held;  // by node
  const reply all = ask("GET", "/api/v1/experts");
  for (const auto& e : all.o().at("items").as_array())
    held[json::serialize(e.at("replicas").at(0).at("node"))].emplace_back(e.at("id").as_string());
  const auto full =
      std::find_if(held.begin(), held.end(), [](const auto& h) { return h.second.size() == 3; });
  ASSERT_NE(full, held.end());
  const auto from =
      std::find_if(held.begin(), held.end(), [&](const auto& h) { return h.first != full->first; });
  const std::string expert = "/api/v1/experts/" + from->second.front();
  const auto refused = [&](const std::string& what, const std::string& why) {
    const reply r = ask("POST", expert + what, "{\"to\":" + full->first + "}");
    EXPECT_EQ(r.status, 409);
    EXPECT_NE(r.detail().find(why), std::string::npos) << r.detail();
    EXPECT_EQ(ask("GET", "/api/v1/experts").body, all.body);
  };
  refused("/move", "is full: its memory takes 3 experts, and it holds 3");
  place_a_model();
  const reply now = ask("GET", expert);
  const std::string to =
      json::serialize(now.o().at("replicas").at(0).at("node")) == "2" ? "3" : "2";
  const auto moved = [&] { return ask("POST", expert + "/move", "{\"to\":" + to + "}"); };
  ASSERT_EQ(ask("POST", "/api/v1/nodes/" + to + "/cordon").status, 200);
  EXPECT_NE(moved().detail().find("is cordoned; uncordon it first"), std::string::npos);
  ASSERT_EQ(ask("POST", "/api/v1/nodes/" + to + "/uncordon").status, 200);
  ASSERT_EQ(ask("POST", "/api/v1/nodes/" + to + "/drain").status, 202);
  const reply drained = moved();
  EXPECT_EQ(drained.status, 409);
  EXPECT_NE(drained.detail().find("is being drained"), std::string::npos) << drained.detail();
  EXPECT_EQ(ask("GET", expert).o().at("pins").as_array().size(), 0U);
}

TEST_F(cluster_api_test, pins_that_contradict_each_other_are_refused) {
  place_a_model();
  const std::string expert = "/api/v1/experts/1:0";
  const reply before = ask("GET", expert);
  const std::string at = json::serialize(before.o().at("replicas").at(0).at("node"));
  const std::string to = at == "2" ? "3" : "2";
  ASSERT_EQ(ask("POST", expert + "/pin", "{\"node\":" + at + "}").status, 200);
  const auto refused = [&](const std::string& what, const std::string& body, const char* why) {
    const reply r = ask("POST", expert + what, body);
    EXPECT_EQ(r.status, 409) << what;
    EXPECT_NE(r.detail().find(why), std::string::npos) << r.detail();
  };
  refused("/pin", "{\"node\":" + at + "}", "already");
  refused("/pin", "{\"node\":" + to + "}", "each is pinned");
  refused("/move", "{\"to\":" + to + "}", "pinned where it is");
  refused("/move", "{\"to\":" + to + ",\"from\":" + at + "}", "unpin it there first");
  refused("/drop", "{\"node\":" + at + ",\"force\":true}", "unpin it there first");
  refused("/unpin", "{\"node\":" + to + "}", "is not pinned to node ");
  EXPECT_EQ(json::serialize(ask("GET", expert).o().at("pins")), "[" + at + "]");
}

TEST_F(cluster_api_test, ids_that_are_not_there_are_not_found) {
  place_a_model();
  for (const char* path : {"/api/v1/operations/9",
                           "/api/v1/operations/x",
                           "/api/v1/plans/9",
                           "/api/v1/nodes/99",
                           "/api/v1/experts/9:9",
                           "/api/v1/requests/9-9-9"})
    EXPECT_EQ(ask("GET", path).status, 404) << path;
  for (const char* path : {"/api/v1/operations/9",
                           "/api/v1/plans/9",
                           "/api/v1/nodes/99",
                           "/api/v1/nodes/99/drain",
                           "/api/v1/join-tokens/9",
                           "/api/v1/requests/9-9-9"})
    EXPECT_EQ(ask("DELETE", path).status, 404) << path;
  for (const char* path : {"/api/v1/plans/9/apply",
                           "/api/v1/nodes/99/cordon",
                           "/api/v1/nodes/99/uncordon",
                           "/api/v1/nodes/99/drain",
                           "/api/v1/experts/9:9/unpin",
                           "/api/v1/certificates/9/revoke"})
    EXPECT_EQ(ask("POST", path).status, 404) << path;
  EXPECT_EQ(ask("POST", "/api/v1/experts/1:0/move", R"({"to":99})").status, 404);
  EXPECT_EQ(ask("POST", "/api/v1/experts/1:0/drop", R"({"node":99})").status, 404);
}

TEST_F(cluster_api_test, a_repeated_request_is_done_once) {
  place_a_model();
  const http::header key{"idempotency-key", "k-1"};
  const std::string path = "/api/v1/experts/1:0/replicate";
  const reply begun = ask_with(key, path, R"({"copies":2})");
  EXPECT_EQ(begun.status, 202);
  obey();
  const reply again = ask_with(key, path, R"({"copies":2})");
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(again.o().at("id"), begun.o().at("id"));
  EXPECT_EQ(ask_with(key, path, R"({"copies":3})").status, 409);
  EXPECT_EQ(ask_with({"idempotency-key", std::string(200, 'x')}, path, "{}").status, 400);
  EXPECT_EQ(ask("GET", "/api/v1/operations").o().at("items").as_array().size(), 1U);
}

}  // namespace
}  // namespace atl::ops
