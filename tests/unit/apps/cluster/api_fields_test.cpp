#include "apps/cluster/api_fields.hpp"
#include "apps/cluster/roles.hpp"

#include <gtest/gtest.h>

namespace atl::ops {
namespace {

TEST(api_fields, take_what_they_know_and_nothing_else) {
  const auto body = read_body(R"({"name":"a","count":3,"on":true,"words":["x","y"]})",
                              {"name", "count", "on", "words"});
  ASSERT_TRUE(body.has_value());
  EXPECT_EQ(*text_field(*body, "name", 8), "a");
  EXPECT_EQ(**integer_field(*body, "count", 0, 3), 3);
  EXPECT_TRUE(*flag_field(*body, "on"));
  EXPECT_EQ(*words_field(*body, "words", 2), (std::vector<std::string>{"x", "y"}));
  const auto unknown = read_body(R"({"naem":"a"})", {"name"});
  ASSERT_TRUE(unknown.has_error());
  EXPECT_NE(unknown.error().message().find("\"naem\""), std::string::npos);
}

TEST(api_fields, an_absent_field_has_no_value_and_an_empty_body_none) {
  const auto body = read_body("", {});
  ASSERT_TRUE(body.has_value());
  EXPECT_EQ(*text_field(*body, "name", 8), "");
  EXPECT_FALSE(integer_field(*body, "count", 0, 3)->has_value());
  EXPECT_FALSE(*flag_field(*body, "on"));
}

TEST(api_fields, refuse_types_ranges_lengths_and_depth) {
  const auto body = read_body(R"({"a":4,"b":"12345","c":"yes","d":[1],"e":"x\u0007"})",
                              {"a", "b", "c", "d", "e"});
  ASSERT_TRUE(body.has_value());
  EXPECT_TRUE(integer_field(*body, "a", 0, 3).has_error());
  EXPECT_TRUE(integer_field(*body, "b", 0, 3).has_error());
  EXPECT_TRUE(text_field(*body, "b", 4).has_error());
  EXPECT_TRUE(text_field(*body, "e", 4).has_error());
  EXPECT_TRUE(flag_field(*body, "c").has_error());
  EXPECT_TRUE(words_field(*body, "d", 4).has_error());
  EXPECT_TRUE(read_body("[]", {}).has_error());
  EXPECT_TRUE(read_body("{", {}).has_error());
  EXPECT_TRUE(read_body(R"({"a":[[[[[[[[[[1]]]]]]]]]]})", {"a"}).has_error());
}

TEST(api_fields, read_queries) {
  const auto query = read_query("since=12&wait=30", {"since", "wait"});
  ASSERT_TRUE(query.has_value());
  EXPECT_EQ((*query)[1], (std::pair<std::string, std::string>{"wait", "30"}));
  EXPECT_TRUE(read_query("", {})->empty());
  EXPECT_TRUE(read_query("force=true", {}).has_error());
  EXPECT_TRUE(read_query("since=1&since=2", {"since"}).has_error());
  EXPECT_TRUE(read_query("since=%31", {"since"}).has_error());
}

TEST(roles, words_and_bits_say_the_same) {
  const auto both = parse_roles("--role", "expert,gateway");
  ASSERT_TRUE(both.has_value());
  EXPECT_EQ(*both, (std::vector<std::string>{"gateway", "expert"}));
  EXPECT_EQ(roles_text(*role_bits(*both)), "gateway,expert");
  EXPECT_TRUE(parse_roles("--role", "").has_error());
  const auto wrong = parse_roles("--role", "expert,worker");
  ASSERT_TRUE(wrong.has_error());
  EXPECT_NE(wrong.error().message().find("--role: there is no role \"worker\""), std::string::npos);
}

}  // namespace
}  // namespace atl::ops
