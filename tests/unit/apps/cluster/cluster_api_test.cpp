#include "apps/cluster/api_forward.hpp"
#include "runtime/base/log.hpp"
#include "tests/unit/apps/cluster/cluster_api_fixture.hpp"

#include <algorithm>
#include <cctype>
#include <set>

namespace atl::ops {
namespace {

TEST_F(cluster_api_test, asks_for_a_key_that_reaches_so_far) {
  EXPECT_EQ(ask("GET", "/api/v1/nodes", "", "").status, 401);
  EXPECT_EQ(ask("GET", "/api/v1/nodes", "", "sk-atoll-wrong").status, 401);
  EXPECT_EQ(ask("GET", "/api/v1/nodes", "", user_).status, 403);
  EXPECT_EQ(ask("GET", "/api/v1/nodes", "", reader_).status, 200);
  EXPECT_EQ(ask("POST", "/api/v1/nodes/1/cordon", "", reader_).status, 403);
  EXPECT_EQ(ask("POST", "/api/v1/nodes/1/cordon").status, 200);
  EXPECT_EQ(ask("GET", "/live", "", "").status, 200);
}

TEST_F(cluster_api_test, says_what_it_does_not_know) {
  const reply none = ask("GET", "/api/v1/nothing");
  EXPECT_EQ(none.status, 404);
  EXPECT_EQ(none.type, "application/problem+json");
  EXPECT_EQ(ask("PUT", "/api/v1/nodes").status, 405);
  EXPECT_EQ(ask("GET", "/api/v1/nodes/77").status, 404);
  EXPECT_EQ(ask("GET", "/api/v1/nodes/x").status, 404);
  EXPECT_EQ(ask("GET", "/api/v1/nodes/1/cordon").status, 405);
  EXPECT_EQ(ask("GET", "/api/v1/operations/99").status, 404);
  EXPECT_EQ(ask("POST", "/api/v1/nodes/1/cordon", R"({"why":"x"})").status, 400);
  EXPECT_EQ(ask("GET", "/api/v1/nodes?x=1").status, 400);
  EXPECT_EQ(ask("POST", "/api/v1/nodes/1/drain", R"({"deadline_s":-1})").status, 400);
  EXPECT_EQ(ask("DELETE", "/api/v1/nodes/1?force=maybe").status, 400);
}

TEST_F(cluster_api_test, lists_nodes_and_what_was_done_to_them) {
  const reply cordoned = ask("POST", "/api/v1/nodes/1/cordon");
  EXPECT_EQ(cordoned.o().at("kind").as_string(), "cordon");
  EXPECT_EQ(cordoned.o().at("state").as_string(), "done");
  const reply nodes = ask("GET", "/api/v1/nodes");
  ASSERT_EQ(nodes.o().at("items").as_array().size(), 1U);
  EXPECT_EQ(nodes.o().at("items").at(0).at("name").as_string(), "coordinator");
  EXPECT_EQ(nodes.o().at("items").at(0).at("state").as_string(), "absent");
  const auto id = cordoned.o().at("id").to_number<std::int64_t>();
  const reply operation = ask("GET", "/api/v1/operations/" + std::to_string(id));
  EXPECT_EQ(operation.o(), cordoned.o());
  const reply whole = ask("GET", "/api/v1/cluster");
  EXPECT_EQ(whole.o().at("state").as_string(), "degraded");
  EXPECT_NE(whole.o().at("reason").as_string().find("node 1 (coordinator) is absent"),
            std::string::npos);
}

TEST_F(cluster_api_test, a_state_that_stands_against_it_is_a_conflict) {
  const reply drained = ask("POST", "/api/v1/nodes/1/drain", R"({"force":true})");
  EXPECT_EQ(drained.status, 409);
  EXPECT_NE(drained.detail().find("not here"), std::string::npos);
  EXPECT_EQ(ask("DELETE", "/api/v1/nodes/1/drain").status, 409);
}

TEST_F(cluster_api_test, what_could_not_be_written_down_is_no_success) {
  disk_ = error{errc::io, "the disk is full"};
  const reply cordoned = ask("POST", "/api/v1/nodes/1/cordon");
  EXPECT_EQ(cordoned.status, 503);
  EXPECT_NE(cordoned.detail().find("the disk is full"), std::string::npos);
  EXPECT_EQ(ask("GET", "/api/v1/nodes").status, 200);
  is_gone_ = true;
  EXPECT_EQ(ask("GET", "/api/v1/nodes").status, 503);
}

TEST_F(cluster_api_test, while_nothing_can_be_written_down_no_change_is_begun) {
  const std::string token = create_token();
  trouble_ = error{errc::io, "/d/journal: no space"};
  for (const auto& [method, target] :
       {std::pair{"POST", "/api/v1/nodes/1/cordon"}, {"POST", "/api/v1/join-tokens"}}) {
    const reply refused = ask(method, target, target[8] == 'j' ? R"({"roles":["expert"]})" : "");
    EXPECT_EQ(refused.status, 503);
    EXPECT_NE(refused.detail().find("nothing was changed: /d/journal"), std::string::npos);
  }
  EXPECT_EQ(ask("POST", "/api/v1/join", join_body(token), "").status, 503);
  EXPECT_EQ(control_->view(now_).operations.size(), 0U);
  EXPECT_EQ(control_->tokens().front().uses_left, 1U);
  const reply status = ask("GET", "/api/v1/cluster");
  EXPECT_EQ(status.o().at("state").as_string(), "degraded");
  trouble_.reset();
  EXPECT_EQ(ask("POST", "/api/v1/join", join_body(token), "").status, 200);
}

TEST_F(cluster_api_test, a_token_lets_one_machine_in_with_its_roles) {
  const std::string token = create_token();
  const reply in = ask("POST", "/api/v1/join", join_body(token), "");
  ASSERT_EQ(in.status, 200);
  EXPECT_EQ(in.o().at("node").to_number<int>(), 2);
  EXPECT_EQ(in.o().at("control").as_string(), "192.0.2.1:7401");
  EXPECT_EQ(in.o().at("model").as_string(), "f1");
  const tls::credentials own{std::string{in.o().at("ca").as_string()},
                             std::string{in.o().at("certificate").as_string()},
                             request_.key_pem};
  const auto facts = tls::check_credentials(own, now_ms_ / 1000);
  ASSERT_TRUE(facts.has_value()) << facts.error().message();
  EXPECT_EQ(facts->node, node_id{2});
  EXPECT_EQ(facts->roles, (std::vector<std::string>{"expert"}));
  EXPECT_EQ(facts->cluster, "c-1");

  const reply again = ask("POST", "/api/v1/join", join_body(token), "");
  EXPECT_EQ(again.status, 401);
  EXPECT_NE(again.detail().find("used"), std::string::npos) << again.detail();
  EXPECT_EQ(ask("GET", "/api/v1/nodes").o().at("items").as_array().size(), 2U);
}

TEST_F(cluster_api_test, tokens_are_refused_for_what_is_wrong_with_them) {
  const std::string token = create_token();
  const auto joins = [&](const std::string& body) { return ask("POST", "/api/v1/join", body, ""); };
  EXPECT_EQ(joins(join_body(token, "attention")).status, 401);
  std::string wrong = token;
  char& digit = wrong[wrong.find('.') + 3];
  digit = digit == '0' ? '1' : '0';
  EXPECT_EQ(joins(join_body(wrong)).status, 401);
  EXPECT_EQ(joins(join_body("nonsense")).status, 400);
  const reply off = joins(join_body(token, "expert", 3600));
  EXPECT_EQ(off.status, 401);
  EXPECT_NE(off.detail().find("clock"), std::string::npos) << off.detail();
  EXPECT_EQ(joins(join_body(token, "expert", 3600 - 3500)).status, 200);

  const std::string late = create_token(R"({"roles":["expert"],"ttl_s":60})");
  now_ms_ += 61'000;
  const reply expired = joins(join_body(late));
  EXPECT_EQ(expired.status, 401);
  EXPECT_NE(expired.detail().find("expired"), std::string::npos) << expired.detail();
}

TEST_F(cluster_api_test, a_refused_request_takes_no_use_of_a_token) {
  const std::string token = create_token();
  json::value body = json::parse(join_body(token));
  body.as_object()["csr"] = "no request";
  EXPECT_EQ(ask("POST", "/api/v1/join", json::serialize(body), "").status, 400);
  EXPECT_EQ(ask("POST", "/api/v1/join", join_body(token, "expert", -4000), "").status, 401);
  EXPECT_EQ(ask("POST", "/api/v1/join", join_body(token, "gateway"), "").status, 401);
  EXPECT_EQ(ask("POST", "/api/v1/join", join_body(token), "").status, 200);
}

TEST_F(cluster_api_test, tokens_are_listed_without_their_secret_and_revoked) {
  const std::string token = create_token(R"({"roles":["expert","gateway"],"uses":3})");
  const std::string id = token.substr(std::string{"atoll-join-"}.size(), 12);
  const auto listed = send("GET", "/api/v1/join-tokens");
  const std::string secret = token.substr(token.find('.') + 1, 64);
  EXPECT_EQ(listed->got->body.find(secret), std::string::npos);
  const json::value item = read(*listed).o().at("items").at(0);
  EXPECT_EQ(item.at("id").as_string(), id);
  EXPECT_EQ(item.at("uses_left").to_number<int>(), 3);
  EXPECT_EQ(item.at("state").as_string(), "usable");
  EXPECT_EQ(ask("DELETE", "/api/v1/join-tokens/" + id).status, 200);
  EXPECT_EQ(ask("POST", "/api/v1/join", join_body(token), "").status, 401);
  EXPECT_EQ(ask("DELETE", "/api/v1/join-tokens/000000000000").status, 404);
  EXPECT_EQ(ask("POST", "/api/v1/join-tokens", R"({"roles":[]})").status, 400);
  EXPECT_EQ(ask("POST", "/api/v1/join-tokens", R"({"roles":["king"]})").status, 400);
  EXPECT_EQ(ask("POST", "/api/v1/join-tokens", R"({"roles":["expert"],"uses":0})").status, 400);
}

TEST_F(cluster_api_test, a_certificate_is_renewed_for_its_key_until_the_node_is_removed) {
  const reply in = ask("POST", "/api/v1/join", join_body(create_token()), "");
  ASSERT_EQ(in.status, 200);
  const json::object body{{"certificate", in.o().at("certificate")}, {"csr", request_.request_pem}};
  const auto renews = [&](const json::object& b) {
    return ask("POST", "/api/v1/renew", json::serialize(b), "");
  };
  now_ms_ += 12 * 3600 * 1000;
  const reply renewed = renews(body);
  ASSERT_EQ(renewed.status, 200);
  const tls::credentials fresh{authority_->certificate_pem(),
                               std::string{renewed.o().at("certificate").as_string()},
                               request_.key_pem};
  const auto facts = tls::check_credentials(fresh, now_ms_ / 1000 + 23 * 3600);
  ASSERT_TRUE(facts.has_value()) << facts.error().message();
  EXPECT_EQ(facts->node, node_id{2});
  EXPECT_EQ(facts->roles, (std::vector<std::string>{"expert"}));

  // Who overheard the certificate has another key.
  json::object thief = body;
  thief["csr"] = tls::make_key_and_request()->request_pem;
  EXPECT_EQ(renews(thief).status, 401);
  // So has a node of another cluster.
  const auto foreign = *tls::authority::create("c-2", now_ms_ / 1000);
  tls::certificate_order order;
  order.request_pem = request_.request_pem;
  order.node = node_id{2};
  json::object stranger = body;
  stranger["certificate"] = *foreign.issue(order, now_ms_ / 1000);
  EXPECT_EQ(renews(stranger).status, 401);

  EXPECT_EQ(ask("DELETE", "/api/v1/nodes/2").status, 200);
  EXPECT_TRUE(revoked_.empty()) << "it is told before its connections end";
  ASSERT_EQ(later_.size(), 1U);
  later_.front()();
  EXPECT_EQ(revoked_, (std::vector{std::pair{std::string{}, node_id{2}}}));
  const reply gone = renews(body);
  EXPECT_EQ(gone.status, 401);
  EXPECT_NE(gone.detail().find("removed"), std::string::npos);
  now_ms_ += 13 * 3600 * 1000;
  EXPECT_EQ(renews(body).status, 401);
}

TEST_F(cluster_api_test, certificates_are_listed_and_revoked) {
  const reply in = ask("POST", "/api/v1/join", join_body(create_token()), "");
  ASSERT_EQ(in.status, 200);
  const auto facts = tls::read_facts(in.o().at("certificate").as_string());
  ASSERT_TRUE(facts.has_value());
  const json::object body{{"certificate", in.o().at("certificate")}, {"csr", request_.request_pem}};
  const auto renew = [&] { return ask("POST", "/api/v1/renew", json::serialize(body), ""); };
  now_ms_ += 3600 * 1000;
  ASSERT_EQ(renew().status, 200);
  const reply listed = ask("GET", "/api/v1/certificates", "", reader_);
  const json::array items = listed.o().at("items").as_array();
  ASSERT_EQ(items.size(), 2U);
  EXPECT_EQ(items[0].at("serial").as_string(), facts->serial);
  EXPECT_EQ(items[0].at("node").to_number<int>(), 2);
  EXPECT_EQ(items[0].at("state").as_string(), "valid");
  EXPECT_EQ(items[0].at("not_after").as_string(), "2026-09-22T14:13:20.000Z");

  const std::string path = "/api/v1/certificates/" + facts->serial + "/revoke";
  EXPECT_EQ(ask("POST", path, "", reader_).status, 403);
  EXPECT_EQ(ask("POST", path, R"({"why":"x"})").status, 400);
  EXPECT_EQ(ask("POST", "/api/v1/certificates/00/revoke").status, 404);
  EXPECT_EQ(ask("GET", path).status, 405);
  const reply revoked = ask("POST", path);
  ASSERT_EQ(revoked.status, 200) << revoked.detail();
  EXPECT_EQ(revoked.o().at("state").as_string(), "revoked");
  ASSERT_EQ(later_.size(), 1U);
  later_.front()();
  EXPECT_EQ(revoked_, (std::vector{std::pair{facts->serial, node_id{2}}}));
  const reply again = renew();
  EXPECT_EQ(again.status, 401);
  EXPECT_NE(again.detail().find(facts->serial + " of node 2 was revoked"), std::string::npos)
      << again.detail();

  ASSERT_EQ(ask("DELETE", "/api/v1/nodes/2").status, 200);
  const reply all = ask("GET", "/api/v1/certificates");
  for (const auto& i : all.o().at("items").as_array())
    EXPECT_EQ(i.at("state").as_string(), "revoked");
  now_ms_ += 24 * 3600 * 1000;
  EXPECT_EQ(ask("GET", "/api/v1/certificates").o().at("items").as_array().size(), 1U);
}

TEST_F(cluster_api_test, a_certificate_that_could_not_be_written_down_is_not_handed_out) {
  const std::string body = join_body(create_token());
  disk_ = error{errc::io, "the disk is full"};
  const reply in = ask("POST", "/api/v1/join", body, "");
  EXPECT_NE(in.status, 200);
  EXPECT_FALSE(in.o().contains("certificate"));
}

TEST_F(cluster_api_test, events_are_told_when_they_come_or_when_the_time_is_over) {
  const reply begun = ask("GET", "/api/v1/events");
  const auto revision = begun.o().at("revision").to_number<std::uint64_t>();
  const std::string since = "/api/v1/events?since=" + std::to_string(revision);
  EXPECT_TRUE(ask("GET", since).o().at("items").as_array().empty());

  const auto waiting = send("GET", since + "&wait=30");
  EXPECT_FALSE(waiting->got.has_value());
  ask("POST", "/api/v1/nodes/1/cordon");
  ASSERT_EQ(later_.size(), 1U);
  later_.front()();
  later_.pop_front();
  const reply told = read(*waiting);
  ASSERT_FALSE(told.o().at("items").as_array().empty());
  EXPECT_GT(told.o().at("revision").to_number<std::uint64_t>(), revision);

  const auto in_vain =
      send("GET", "/api/v1/events?wait=1&since=" + json::serialize(told.o().at("revision")));
  for (int i = 0; i < 5 && !later_.empty(); ++i) {
    later_.front()();
    later_.pop_front();
  }
  EXPECT_TRUE(read(*in_vain).o().at("items").as_array().empty());
  EXPECT_EQ(ask("GET", "/api/v1/events?wait=61").status, 400);
  EXPECT_EQ(ask("GET", "/api/v1/events?since=x").status, 400);
}

TEST_F(cluster_api_test, so_many_clients_may_wait_and_no_more) {
  std::vector<std::shared_ptr<kept_answer>> waiting;
  for (int i = 0; i < 64; ++i)
    waiting.push_back(send("GET", "/api/v1/events?since=1000000&wait=60"));
  EXPECT_EQ(ask("GET", "/api/v1/events?since=1000000&wait=60").status, 503);
  later_.clear();
  EXPECT_FALSE(send("GET", "/api/v1/events?since=1000000&wait=60")->got.has_value());
}

TEST_F(cluster_api_test, a_stream_of_events_tells_each_once_and_goes_on_where_a_client_left) {
  const http::header accept{"accept", "text/event-stream"};
  ask("POST", "/api/v1/nodes/1/cordon");
  const auto before = ask("GET", "/api/v1/events").o().at("revision").to_number<std::uint64_t>();
  const auto first = send("GET", "/api/v1/events", "", {}, {accept});
  ASSERT_TRUE(first->stream);
  EXPECT_EQ(first->stream->content_type, "text/event-stream");
  EXPECT_NE(first->pieces.find("id: " + std::to_string(before) + "\ndata: {"), std::string::npos);
  const std::string told = first->pieces;
  pass_time();
  EXPECT_EQ(first->pieces, told) << "nothing happened";
  ask("POST", "/api/v1/nodes/1/uncordon");
  pass_time();
  const std::string next = "id: " + std::to_string(before + 1) + "\n";
  EXPECT_NE(first->pieces.find(next, told.size()), std::string::npos);
  EXPECT_EQ(first->pieces.find("event: gap"), std::string::npos);

  const auto again = send(
      "GET", "/api/v1/events?since=1", "", {}, {accept, {"last-event-id", std::to_string(before)}});
  EXPECT_TRUE(again->pieces.starts_with(next)) << again->pieces;
  EXPECT_EQ(send("GET", "/api/v1/events", "", {}, {accept, {"last-event-id", "x"}})->got->status,
            400);
  EXPECT_EQ(send("GET", "/api/v1/events", "", user_, {accept})->got->status, 403);
}

TEST_F(cluster_api_test, a_stream_says_that_it_is_there_and_ends_with_its_reader) {
  const http::header accept{"accept", "text/event-stream"};
  const auto stream = send("GET", "/api/v1/events?since=1", "", {}, {accept});
  const std::size_t begun = stream->pieces.size();
  for (int i = 0; i < 75; ++i) pass_time();  // 15 s
  EXPECT_EQ(stream->pieces.substr(begun), ": here\n\n");
  stream->is_gone = true;
  for (int i = 0; i < 76; ++i) pass_time();
  EXPECT_TRUE(later_.empty()) << "nobody reads, and it goes on";

  const auto other = send("GET", "/api/v1/events", "", {}, {accept});
  is_gone_ = true;
  pass_time();
  EXPECT_TRUE(other->is_ended) << "the coordinator is gone";
}

TEST_F(cluster_api_test, a_reader_learns_that_events_are_not_kept_any_more) {
  for (int i = 0; i < 600; ++i) {
    ask("POST", "/api/v1/nodes/1/cordon");
    ask("POST", "/api/v1/nodes/1/uncordon");
  }
  const reply all = ask("GET", "/api/v1/events");
  EXPECT_EQ(all.o().at("items").as_array().size(), 1024U);
  const auto complete = all.o().at("complete_since").to_number<std::uint64_t>();
  EXPECT_EQ(all.o().at("items").at(0).at("revision").to_number<std::uint64_t>(), complete + 1);
  const http::header accept{"accept", "text/event-stream"};
  const auto late = send("GET", "/api/v1/events?since=5", "", {}, {accept});
  EXPECT_TRUE(late->pieces.starts_with("id: " + std::to_string(complete) +
                                       "\nevent: gap\ndata: {\"since\":5,\"until\":"))
      << late->pieces.substr(0, 200);
  const auto timely =
      send("GET", "/api/v1/events?since=" + std::to_string(complete), "", {}, {accept});
  EXPECT_EQ(timely->pieces.find("event: gap"), std::string::npos);
  // The revision of a cluster that was restored since.
  const auto lost = send("GET", "/api/v1/events?since=1000000000", "", {}, {accept});
  EXPECT_NE(lost->pieces.find("event: gap"), std::string::npos);
}

TEST_F(cluster_api_test, the_level_of_its_log_is_changed_where_it_is_what_the_client_knows) {
  set_log_level(log_level::warning);
  EXPECT_EQ(ask("GET", "/api/v1/log-level", "", reader_).o().at("level"), "warning");
  const auto put = [this](const std::string& body, const std::string& match) {
    return read(*send("PUT", "/api/v1/log-level", body, {}, {{"if-match", match}})).status;
  };
  EXPECT_EQ(put(R"({"level":"error"})", "\"info\""), 412);
  EXPECT_TRUE(is_logged(log_level::warning));
  EXPECT_EQ(put(R"({"level":"error"})", "\"warning\""), 200);
  EXPECT_FALSE(is_logged(log_level::warning));
  EXPECT_EQ(ask("PUT", "/api/v1/log-level", R"({"level":"loud"})").status, 400);
  EXPECT_EQ(ask("PUT", "/api/v1/log-level", R"({"level":"info"})", reader_).status, 403);
  EXPECT_EQ(ask("PUT", "/api/v1/log-level", R"({"level":"warning"})").o().at("level"), "warning");
}

TEST_F(cluster_api_test, tells_the_rows_of_experts_and_leaves_out_layers_without) {
  const reply load = ask("GET", "/api/v1/load");
  ASSERT_EQ(load.status, 200);
  EXPECT_EQ(load.o(), json::parse(R"({"layers":[{"layer":1,"experts":[3,0,4]}]})").as_object());
  EXPECT_EQ(ask("GET", "/api/v1/load", "", "").status, 401);
  EXPECT_EQ(ask("GET", "/api/v1/load?layer=1").status, 400);
}

TEST_F(cluster_api_test, shows_the_dashboard_to_everybody_and_says_that_it_is_a_cluster) {
  for (const std::string path : {"/", "/static/board.js", "/static/cluster.css"}) {
    const auto page = send("GET", path, "", "");
    ASSERT_TRUE(page->got) << path;
    EXPECT_EQ(page->got->status, 200) << path;
    EXPECT_FALSE(page->got->body.empty()) << path;
  }
  EXPECT_EQ(ask("GET", "/static/keys", "", "").status, 404);
  EXPECT_EQ(ask("POST", "/", "", "").status, 405);
  EXPECT_EQ(ask("GET", "/version", "", "").o().at("parts"), (json::array{"cluster"}));
}

TEST(api_forward, lets_nobody_wait_for_events_for_long) {
  EXPECT_EQ(forwarded_query(""), "");
  EXPECT_EQ(forwarded_query("since=7&wait=30"), "since=7&wait=5");
  EXPECT_EQ(forwarded_query("wait=5&since=7"), "wait=5&since=7");
  // What the coordinator refuses, it refuses itself.
  EXPECT_EQ(forwarded_query("wait=61"), "wait=61");
  EXPECT_EQ(forwarded_query("wait=x&force=true"), "wait=x&force=true");
  EXPECT_EQ(forwarded_query("wait=99999999999999999999"), "wait=99999999999999999999");
}

TEST_F(cluster_api_test, its_description_names_the_routes_that_are_there_and_no_others) {
  const reply document = ask("GET", "/api/v1/openapi.json", "", "");
  ASSERT_EQ(document.status, 200);
  std::set<std::string> described, there;
  for (const auto& path : document.o().at("paths").as_object())
    for (const auto& operation : path.value().as_object())
      described.insert(std::string{operation.key()} + " " + std::string{path.key()});
  for (const auto& r : cluster_api::routes()) {
    std::string method{r.method};
    std::transform(method.begin(), method.end(), method.begin(), [](unsigned char c) {
      return static_cast<char>(std::tolower(c));
    });
    there.insert(method + " " + std::string{r.path});
  }
  EXPECT_EQ(described, there);
}

/// Whether a value has the fields that a schema of the description names, and no others.
void expect_fields(const json::object& document, const char* schema, const json::object& value) {
  const auto& properties =
      document.at("components").at("schemas").at(schema).at("properties").as_object();
  std::set<std::string> wanted, there;
  for (const auto& p : properties) wanted.emplace(p.key());
  for (const auto& f : value) there.emplace(f.key());
  EXPECT_EQ(wanted, there) << schema;
}

TEST_F(cluster_api_test, its_answers_have_the_fields_that_the_description_names) {
  const reply document = ask("GET", "/api/v1/openapi.json", "", "");
  const auto& d = document.o();
  expect_fields(d, "Operation", ask("POST", "/api/v1/nodes/1/cordon").o());
  expect_fields(d, "Node", ask("GET", "/api/v1/nodes/1").o());
  const reply whole = ask("GET", "/api/v1/cluster");
  expect_fields(d, "Cluster", whole.o());
  expect_fields(d, "Load", ask("GET", "/api/v1/load").o());
  expect_fields(d, "Version", ask("GET", "/version").o());
  const reply events = ask("GET", "/api/v1/events");
  expect_fields(d, "Event", events.o().at("items").at(0).as_object());
  const reply audit = ask("GET", "/api/v1/audit");
  expect_fields(d, "AuditEntry", audit.o().at("items").at(0).as_object());
  const reply token = ask("POST", "/api/v1/join-tokens", R"({"roles":["expert"]})");
  expect_fields(d, "NewJoinToken", token.o());
  const reply in =
      ask("POST", "/api/v1/join", join_body(std::string{token.o().at("token").as_string()}), "");
  expect_fields(d, "Welcome", in.o());
  const reply tokens = ask("GET", "/api/v1/join-tokens");
  expect_fields(d, "JoinToken", tokens.o().at("items").at(0).as_object());
  expect_fields(d, "Problem", ask("GET", "/api/v1/nodes/99").o());
  place_a_model();
  expect_fields(d, "Expert", ask("GET", "/api/v1/experts/1:0").o());
  expect_fields(d, "Placement", ask("GET", "/api/v1/placement").o());
  const reply models = ask("GET", "/api/v1/models");
  expect_fields(d, "Model", models.o().at("items").at(0).as_object());
  const reply begun = ask("POST", "/api/v1/experts/1:0/replicate", R"({"copies":2})");
  expect_fields(d, "Operation", begun.o());
  EXPECT_TRUE(begun.o().at("created").is_string());
  EXPECT_TRUE(begun.o().at("ended").is_null());
}

}  // namespace
}  // namespace atl::ops
