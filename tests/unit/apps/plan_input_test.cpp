#include "apps/plan_input.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <map>
#include <string>

namespace atl::apps {
namespace {

const std::string nodes =
    R"("nodes":[{"id":"a","slots":3,"domain":"x"},{"id":7,"speed":2,"slots":3}])";
const std::string loads = R"("loads":[[10,20,30,40],[0,1e3,2.5,7]])";

std::string refusal(const std::string& text) {
  const auto input = read_plan_input(text, "f.json");
  if (input.has_error()) {
    EXPECT_EQ(input.error().code(), errc::invalid_argument);
    return input.error().message();
  }
  const auto plan = cluster::plan_balance(input->cluster);
  return plan.has_error() ? plan.error().message() : "";
}

TEST(plan_input, reads_and_answers_what_can_be_given_back) {
  const auto input = read_plan_input(
      "{" + nodes + "," + loads + R"(,"options":{"cover":false,"moved_experts_max":2}})", "f.json");
  ASSERT_TRUE(input.has_value()) << input.error().message();
  EXPECT_EQ(input->cluster.nodes[0].name, "a");
  EXPECT_EQ(input->cluster.nodes[1].speed, 2);
  EXPECT_EQ(input->cluster.loads[1][1], 1000);
  EXPECT_FALSE(input->cluster.options.cover);
  EXPECT_EQ(input->cluster.options.moved_experts_max, 2u);
  const auto plan = cluster::plan_balance(input->cluster);
  ASSERT_TRUE(plan.has_value()) << plan.error().message();
  const boost::json::object answer = boost::json::parse(plan_as_json(*input, *plan)).as_object();
  ASSERT_EQ(answer.at("layers").as_array().size(), 2u);
  std::map<std::int64_t, double> share;
  double on_a = 0, on_7 = 0;
  for (const auto& r : answer.at("layers").at(0).at("replicas").as_array()) {
    share[r.at("expert").to_number<std::int64_t>()] += r.at("share").to_number<double>();
    const double load =
        10 * (r.at("expert").to_number<double>() + 1) * r.at("share").to_number<double>();
    (r.at("node") == boost::json::value("a") ? on_a : on_7) += load;
  }
  for (std::int64_t e = 0; e < 4; ++e) EXPECT_NEAR(share[e], 1, 1e-9);
  EXPECT_NEAR(on_a + on_7, 100, 1e-9);
  // A node of twice the speed is done with two thirds when the other is done with one.
  EXPECT_NEAR(on_7, 200.0 / 3, 1e-6);
  EXPECT_NEAR(answer.at("layers").at(0).at("hottest_over_mean").to_number<double>(), 1, 1e-9);

  const std::string again = "{" + nodes + "," + loads +
                            R"(,"options":{"cover":false},"previous":)" +
                            boost::json::serialize(answer.at("layers")) + "}";
  const auto second = read_plan_input(again, "f.json");
  ASSERT_TRUE(second.has_value()) << second.error().message();
  const auto same = cluster::plan_balance(second->cluster);
  ASSERT_TRUE(same.has_value());
  EXPECT_EQ(same->moved_experts, 0u);
  EXPECT_NE(plan_as_text(*second, *same).find("moves 0 experts"), std::string::npos);
}

TEST(plan_input, names_what_it_refuses) {
  const auto with = [](const std::string& more) { return "{" + nodes + "," + loads + more + "}"; };
  const std::string previous = R"(,"previous":[{"replicas":[{"expert":0,"node":"a","share":1}]},)";
  struct {
    std::string text;
    std::vector<std::string> words;
  } const cases[] = {
      {"[]", {"f.json"}},
      {"{" + nodes + "," + loads, {"f.json"}},
      {"{" + loads + "}", {"nodes", "missing"}},
      {"{" + nodes + "}", {"loads", "missing"}},
      {R"({"nodes":[],)" + loads + "}", {"nodes"}},
      {R"({"nodes":[{"id":"a","slots":4},{"id":"a","slots":4}],)" + loads + "}",
       {"nodes[1].id", "nodes[0]"}},
      {R"({"nodes":[{"id":"a","slots":4,"sped":2}],)" + loads + "}", {"nodes[0].sped", "speed?"}},
      {R"({"nodes":[{"id":"a","slots":4,"speed":0}],)" + loads + "}", {"nodes[0].speed", "0"}},
      {R"({"nodes":[{"id":"a","slots":4,"speed":-1}],)" + loads + "}", {"nodes[0].speed", "-1"}},
      {R"({"nodes":[{"id":"a","slots":4,"speed":1e300}],)" + loads + "}",
       {"nodes[0].speed", "1e+300"}},
      {R"({"nodes":[{"id":"a","slots":-4}],)" + loads + "}", {"nodes[0].slots", "-4"}},
      {R"({"nodes":[{"id":"a"}],)" + loads + "}", {"nodes[0].slots", "missing"}},
      {R"({"nodes":[{"id":null,"slots":4}],)" + loads + "}", {"nodes[0].id"}},
      {R"({"nodes":[{"id":"a","slots":4,"intake":"shut"}],)" + loads + "}",
       {"nodes[0].intake", "draining"}},
      {R"({"nodes":[{"id":"a","slots":3}],)" + loads + "}", {"layer 0", "memory"}},
      {"{" + nodes + R"(,"loads":[[1,2,-3]]})", {"loads[0][2]", "-3"}},
      {"{" + nodes + R"(,"loads":[[1,2,1e300]]})", {"loads[0][2]"}},
      {"{" + nodes + R"(,"loads":[[1,NaN]]})", {"f.json"}},
      {"{" + nodes + R"(,"loads":[[1,"2"]]})", {"loads[0][1]", "2"}},
      {"{" + nodes + R"(,"loads":[[1,2],[3]]})", {"loads[1]", "same number"}},
      {"{" + nodes + R"(,"loads":[]})", {"loads"}},
      {"{" + nodes + R"(,"loads":[[]]})", {"loads"}},
      {with(R"(,"option":{})"), {"option", "options?"}},
      {with(R"(,"options":{"cover":1})"), {"options.cover"}},
      {with(R"(,"options":{"moved_experts_max":-1})"), {"options.moved_experts_max", "-1"}},
      {with(R"(,"options":{"hysteresis":2})"), {"options.hysteresis"}},
      {with(R"(,"options":{"cold_cover":["z"]})"), {"options.cold_cover[0]", "z"}},
      {with(previous + R"({"replicas":[{"expert":9,"node":"a"}]}])"), {"expert", "9"}},
      {with(previous + R"({"replicas":[{"expert":1,"node":"b"}]}])"),
       {"previous[1].replicas[0].node", "\"b\""}},
      {with(previous + R"({"replicas":[{"expert":1,"node":7},{"expert":1,"node":7}]}])"),
       {"twice"}},
      {with(R"(,"previous":[{"replicas":[]}])"), {"2"}},
  };
  for (const auto& c : cases) {
    const std::string message = refusal(c.text);
    EXPECT_NE(message, "") << c.text;
    for (const std::string& word : c.words)
      EXPECT_NE(message.find(word), std::string::npos) << message << "\n" << c.text;
  }
}

}  // namespace
}  // namespace atl::apps
