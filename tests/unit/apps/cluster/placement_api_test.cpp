// A placement that an operator gives, by way of the API and from a file.
#include "apps/cluster/placement_commands.hpp"
#include "tests/support/scripted_server.hpp"
#include "tests/unit/apps/cluster/cluster_api_fixture.hpp"

#include <fstream>
#include <set>

namespace atl::ops {
namespace {

constexpr const char* path = "/api/v1/placement";

class placement_api_test : public cluster_api_test {
protected:
  reply put(const std::string& body, std::vector<http::header> headers = {}) {
    return read(*send("PUT", path, body, {}, std::move(headers)));
  }
  reply put(std::uint32_t layer, std::uint32_t expert, const std::string& nodes) {
    return put("{\"experts\":[{\"layer\":" + std::to_string(layer) +
               ",\"expert\":" + std::to_string(expert) + ",\"nodes\":" + nodes + "}]}");
  }
  json::value placement() { return ask("GET", path).body; }
  std::set<std::int64_t> nodes_of(std::size_t layer, std::size_t expert) {
    const json::value now = placement();
    std::set<std::int64_t> nodes;
    for (const auto& c : now.at("layers").at(layer).at("experts").at(expert).as_array())
      nodes.insert(c.at("node").to_number<std::int64_t>());
    return nodes;
  }
  std::string tag() { return "\"" + json::serialize(placement().at("epoch")) + "\""; }
  std::string plan_path(const reply& r) {
    return "/api/v1/plans/" + json::serialize(r.o().at("id"));
  }
  static wire::placed done(const cluster::send_effect& of, const wire::load& l) {
    wire::placed p;
    p.epoch = l.epoch;
    p.node = of.to.node;
    p.group = l.group;
    p.layer = l.layer;
    for (const auto expert : l.experts) p.held.push_back({7, l.layer, expert});
    return p;
  }
  /// The first order is carried out, and the placement with it comes into force; the rest is held.
  void obey_one_load() {
    bool is_first = true;
    for (int round = 0; round < 4; ++round)
      for (auto& e : control_->take_effects()) {
        const auto* sent = std::get_if<cluster::send_effect>(&e);
        if (sent == nullptr) continue;
        if (const auto* l = std::get_if<wire::load>(&sent->body)) {
          if (std::exchange(is_first, false)) {
            control_->placed(sent->to, done(*sent, *l), now_);
          } else {
            held_.push_back(*sent);
          }
        }
        if (const auto* p = std::get_if<wire::place>(&sent->body))
          control_->adopted(sent->to, {p->epoch, p->epoch}, now_);
      }
  }
  /// Too late: nobody wants it any more.
  void deliver_held() {
    for (const auto& sent : std::exchange(held_, {}))
      control_->placed(sent.to, done(sent, std::get<wire::load>(sent.body)), now_);
  }
  std::vector<cluster::send_effect> held_;
  /// Of expert 0 of layer 1: the node that has it, and another expert node.
  std::int64_t here() { return *nodes_of(0, 0).begin(); }
  std::int64_t other() { return here() == 2 ? 3 : 2; }
  static std::string list(std::initializer_list<std::int64_t> nodes) {
    json::array all;
    for (const auto n : nodes) all.emplace_back(n);
    return json::serialize(all);
  }
};

TEST_F(placement_api_test, what_is_named_is_put_there_and_the_rest_stays) {
  place_a_model();
  const json::value before = placement();
  const auto to = other();
  const reply made = put(1, 0, list({here(), to}));
  ASSERT_EQ(made.status, 202) << json::serialize(made.body);
  EXPECT_EQ(made.o().at("by"), "operator");
  EXPECT_EQ(made.o().at("copies_made").to_number<int>(), 1);
  EXPECT_EQ(made.o().at("copies_dropped").to_number<int>(), 0);
  EXPECT_EQ(made.o().at("bytes").to_number<int>(), 10);
  EXPECT_EQ(made.o().at("steps").at(0).at("node").to_number<std::int64_t>(), to);
  EXPECT_EQ(made.o().at("steps").at(0).at("percent").to_number<int>(), 50);
  EXPECT_EQ(put(1, 1, list({2})).status, 409) << "one plan at a time";
  obey();
  EXPECT_EQ(ask("GET", plan_path(made)).o().at("state"), "done");
  EXPECT_EQ(nodes_of(0, 0), (std::set<std::int64_t>{2, 3}));
  const reply moved = put(1, 0, list({to}));
  EXPECT_EQ(moved.o().at("copies_dropped").to_number<int>(), 1);
  obey();
  EXPECT_EQ(nodes_of(0, 0), std::set<std::int64_t>{to});
  json::value after = placement();
  // As GET tells it, the old one is taken back.
  const reply back = put(json::serialize(json::object{{"layers", before.at("layers")}}));
  EXPECT_EQ(back.status, 202) << json::serialize(back.body);
  obey();
  EXPECT_EQ(placement().at("layers"), before.at("layers"));
  EXPECT_NE(after.at("layers"), before.at("layers"));
  const reply same = put(json::serialize(json::object{{"layers", before.at("layers")}}));
  EXPECT_EQ(same.status, 200);
  EXPECT_EQ(same.o().at("detail"), "it is so already");
}

TEST_F(placement_api_test, a_cancelled_one_leaves_all_as_before) {
  place_a_model();
  const json::value before = placement().at("layers");
  const reply made = put(1, 0, list({other()}));
  ASSERT_EQ(made.status, 202);
  const reply ended = ask("DELETE", plan_path(made));
  EXPECT_EQ(ended.o().at("state"), "cancelled");
  obey();
  EXPECT_EQ(placement().at("layers"), before);
  EXPECT_EQ(ask("DELETE", plan_path(made)).status, 409);
}

TEST_F(placement_api_test, shares_are_taken_as_they_are_given) {
  place_a_model();
  const auto to = std::to_string(other());
  const reply made = put(1,
                         0,
                         "[{\"node\":" + std::to_string(here()) +
                             ",\"share\":0.75},{\"node\":" + to + ",\"share\":0.25}]");
  ASSERT_EQ(made.status, 202);
  obey();
  const auto expect_shares = [&](double there) {
    const json::value now = placement();
    for (const auto& c : now.at("layers").at(0).at("experts").at(0).as_array())
      EXPECT_NEAR(c.at("share").to_number<double>(),
                  std::to_string(c.at("node").to_number<int>()) == to ? there : 1 - there,
                  0.001);
  };
  expect_shares(0.25);
  EXPECT_EQ(put(1, 0, "[2,3]").status, 200) << "nodes alone leave the shares";
  expect_shares(0.25);
  const std::string others = "[{\"node\":2,\"share\":0.5},{\"node\":3,\"share\":0.5}]";
  const reply parted = put(1, 0, others);
  EXPECT_EQ(parted.o().at("copies_made").to_number<int>(), 0);
  obey();
  EXPECT_EQ(ask("GET", plan_path(parted)).o().at("state"), "done");
  EXPECT_EQ(ask("GET", plan_path(parted)).o().at("detail"), "");
  expect_shares(0.5);
}

TEST_F(placement_api_test, it_counts_for_the_epoch_that_the_client_knows_and_once) {
  place_a_model();
  const std::string known = tag();
  const std::string body = "{\"experts\":[{\"layer\":1,\"expert\":0,\"nodes\":[2,3]}]}";
  EXPECT_EQ(put(body, {{"if-match", "\"9999\""}}).status, 412);
  const reply made = put(body, {{"if-match", known}, {"idempotency-key", "k-1"}});
  EXPECT_EQ(made.status, 202);
  obey();
  EXPECT_EQ(put(body, {{"if-match", known}}).status, 412);
  const reply again = put(body, {{"if-match", known}, {"idempotency-key", "k-1"}});
  EXPECT_EQ(again.status, 200) << "a repeat is answered, whatever the epoch is by now";
  EXPECT_EQ(again.o().at("id"), made.o().at("id"));
  EXPECT_EQ(
      put("{\"experts\":[{\"layer\":1,\"expert\":1,\"nodes\":[2]}]}", {{"idempotency-key", "k-1"}})
          .status,
      409);
}

TEST_F(placement_api_test, what_the_cluster_does_not_allow_is_refused_with_the_reason) {
  EXPECT_EQ(put(1, 0, "[2]").status, 409) << "there is no model";
  place_a_model();
  const json::value before = placement().at("layers");
  const auto refused = [&](const reply& r, int status, const std::string& why) {
    EXPECT_EQ(r.status, status) << json::serialize(r.body);
    EXPECT_NE(r.detail().find(why), std::string::npos) << r.detail();
    EXPECT_EQ(placement().at("layers"), before);
    EXPECT_EQ(ask("GET", "/api/v1/plans").o().at("items").as_array().size(), 0U);
  };
  refused(put(1, 0, "[]"), 409, "would have no copy");
  refused(put(1, 0, "[99]"), 404, "there is no node 99");
  refused(put(7, 0, "[2]"), 404, "layer 7 has no experts");
  refused(put(1, 4, "[2]"), 404, "there is no expert 4");
  refused(put(1, 0, "[5]"), 409, "holds no experts");
  refused(put(1, 0, "[2,2]"), 409, "twice");
  refused(put("{\"experts\":[{\"layer\":1,\"expert\":0,\"nodes\":[2]},"
              "{\"layer\":1,\"expert\":0,\"nodes\":[3]}]}"),
          409,
          "named twice");
  EXPECT_EQ(ask("PUT", path, "{}", reader_).status, 403);
  const auto from = here(), to = other();
  ASSERT_EQ(ask("POST", "/api/v1/nodes/" + std::to_string(to) + "/cordon").status, 200);
  refused(put(1, 0, list({to})), 409, "is cordoned");
  ASSERT_EQ(ask("POST", "/api/v1/nodes/" + std::to_string(to) + "/uncordon").status, 200);
  ASSERT_EQ(
      ask("POST", "/api/v1/experts/1:0/pin", "{\"node\":" + std::to_string(from) + "}").status,
      200);
  refused(put(1, 0, list({to})), 409, "is pinned to node " + std::to_string(from));
}

TEST_F(placement_api_test, a_full_and_a_draining_node_take_nothing) {
  place_a_model(30);
  const reply full =
      put(R"({"experts":[{"layer":1,"expert":0,"nodes":[2]},{"layer":1,"expert":1,"nodes":[2]},)"
          R"({"layer":1,"expert":2,"nodes":[2]},{"layer":1,"expert":3,"nodes":[2]}]})");
  EXPECT_EQ(full.status, 409);
  EXPECT_NE(full.detail().find("node 2 is full: its memory takes 3 experts"), std::string::npos)
      << full.detail();
  place_a_model();
  ASSERT_EQ(ask("POST", "/api/v1/nodes/" + std::to_string(other()) + "/drain").status, 202);
  const reply drained = put(1, 0, list({other()}));
  EXPECT_EQ(drained.status, 409);
  EXPECT_NE(drained.detail().find("drain"), std::string::npos) << drained.detail();
}

/// A copy of one expert is made, that of another is under way.
TEST_F(placement_api_test, one_that_is_cancelled_half_way_loses_nothing) {
  place_a_model();
  const json::value before = placement().at("layers");
  const json::value held_before = placement().at("nodes");
  const auto both = [&](std::size_t layer, std::size_t expert) {
    const auto at = *nodes_of(layer, expert).begin();
    return list({at, at == 4 ? 2 : at + 1});
  };
  const reply made = put("{\"experts\":[{\"layer\":1,\"expert\":0,\"nodes\":" + both(0, 0) +
                         "},{\"layer\":2,\"expert\":3,\"nodes\":" + both(1, 3) + "}]}");
  ASSERT_EQ(made.status, 202);
  obey_one_load();
  const reply half = ask("GET", plan_path(made));
  EXPECT_EQ(half.o().at("state"), "applying");
  EXPECT_NE(placement().at("nodes"), held_before) << "one has been loaded";
  ASSERT_EQ(ask("DELETE", plan_path(made)).status, 200);
  const json::value now = placement().at("layers");
  for (const auto& layer : now.as_array())
    for (const auto& expert : layer.at("experts").as_array())
      EXPECT_FALSE(expert.as_array().empty());
  deliver_held();
  obey();
  EXPECT_EQ(placement().at("layers"), before);
  EXPECT_EQ(placement().at("nodes"), held_before);
  const reply ended = ask("GET", plan_path(made));
  EXPECT_EQ(ended.o().at("state"), "cancelled");
  EXPECT_NE(ended.o().at("detail").as_string().find("go back"), json::string::npos);
  // What comes next begins from there.
  EXPECT_EQ(put(1, 0, "[2,3]").status, 202);
}

TEST_F(placement_api_test, a_body_that_is_wrong_is_told_by_its_field) {
  place_a_model();
  const auto expect = [&](const std::string& body, const std::string& detail) {
    const reply r = put(body);
    EXPECT_EQ(r.status, 400) << body;
    EXPECT_EQ(r.detail(), detail);
  };
  expect("{}", "experts: expected at least one, as {\"layer\":3,\"expert\":17,\"nodes\":[2,4]}");
  expect(R"({"experts":7})", "experts: expected a list, not 7");
  expect(R"({"experts":[{"layer":1}]})",
         "experts[0]: expected an object with layer, expert, nodes, not {\"layer\":1}");
  expect(R"({"experts":[{"layer":-1,"expert":0,"nodes":[2]}]})",
         "experts[0].layer: expected a whole number from 0 to 4294967295, not -1");
  expect(R"({"experts":[{"layer":1,"expert":1e30,"nodes":[2]}]})",
         "experts[0].expert: expected a whole number from 0 to 4294967295, not 1E30");
  expect(R"({"experts":[{"layer":1,"expert":0,"nodes":[2,"x"]}]})",
         "experts[0].nodes[1]: expected a whole number from 0 to 4294967295, not \"x\"");
  expect(R"({"experts":[{"layer":1,"expert":0,"nodes":[{"node":2,"share":-1}]}]})",
         "experts[0].nodes[0].share: expected a number above 0 and at most 1, not -1");
  expect(R"({"experts":[{"layer":1,"expert":0,"nodes":[2],"node":3}]})",
         "experts[0]: there is no field \"node\" here");
  expect(R"({"layers":[{"layer":1,"experts":[7]}]})",
         "layers[0].experts[0]: expected a list of nodes, not 7");
  expect(R"({"expert":[]})", "there is no field \"expert\" here; known: experts, layers");
}

/// The command against a coordinator that answers as told.
class placement_command : public ::testing::Test {
protected:
  std::string applied(const std::string& text, std::vector<std::string> answers) {
    const std::string dir = ::testing::TempDir();
    std::ofstream{dir + "/key"} << "sk-atoll-secret\n";
    std::ofstream{dir + "/p.json"} << text;
    const test::scripted_server server{{[&, answers](test::peer& p) {
      for (const auto& body : answers) {
        last_ = p.request();
        p.send(test::answer(200, body));
      }
      p.wait_for_end();
    }}};
    placement_apply_options o;
    o.at.server.url = server.url();
    o.at.server.key_file = dir + "/key";
    o.at.as_json = true;
    o.file = dir + "/p.json";
    ::testing::internal::CaptureStderr();
    ::testing::internal::CaptureStdout();
    const auto code = run_placement_apply(o);
    const std::string said = ::testing::internal::GetCapturedStdout();
    code_ = code.has_value() ? *code : -1;
    return said + ::testing::internal::GetCapturedStderr();
  }
  static constexpr const char* now =
      R"({"epoch":7,"nodes":[],"layers":[{"layer":1,"experts":[[{"node":2,"share":1}],)"
      R"([{"node":3,"share":0.5},{"node":4,"share":0.5}]]}]})";
  std::string last_;
  int code_ = -1;
};

TEST_F(placement_command, what_differs_is_sent_for_the_epoch_of_the_file) {
  const std::string said =
      applied(R"({"epoch":6,"layers":[{"layer":1,"experts":[[2],[{"node":3,"share":0.5},5]]}]})",
              {now, R"({"id":1,"state":"done"})"});
  EXPECT_EQ(code_, 0) << said;
  EXPECT_TRUE(last_.starts_with("PUT /api/v1/placement ")) << last_;
  EXPECT_NE(last_.find("\"6\""), std::string::npos) << last_;
  EXPECT_NE(
      last_.find(R"({"experts":[{"layer":1,"expert":1,"nodes":[{"node":3,"share":5E-1},5]}]})"),
      std::string::npos)
      << last_;
  EXPECT_EQ(applied(now, {now}), "it is so already\n");
  EXPECT_EQ(code_, 0);
}

TEST_F(placement_command, a_typo_in_a_file_is_named_with_line_and_column) {
  const std::string broken = applied("{\"experts\": [\n  {\"layer\" 3}]}", {});
  EXPECT_EQ(code_, 2);
  EXPECT_NE(broken.find("p.json:2:12: "), std::string::npos) << broken;
  EXPECT_NE(applied("{\"layers\": [", {}).find("p.json:1:13: "), std::string::npos);
  EXPECT_NE(applied("{\"expert\": []}", {}).find("there is no field \"expert\" here"),
            std::string::npos);
  EXPECT_EQ(code_, 2);
}

}  // namespace
}  // namespace atl::ops
