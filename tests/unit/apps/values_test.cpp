#include "apps/json_text.hpp"
#include "apps/values.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <charconv>
#include <limits>

namespace atl::apps {
namespace {

TEST(parse_size, takes_bytes_and_powers_of_1024) {
  EXPECT_EQ(*parse_size("--memory", "1"), 1U);
  EXPECT_EQ(*parse_size("--memory", "64k"), 65536U);
  EXPECT_EQ(*parse_size("--memory", "512M"), std::size_t{512} << 20);
  EXPECT_EQ(*parse_size("--memory", "2G"), std::size_t{2} << 30);
  EXPECT_EQ(*parse_size("--memory", "1.5GiB"), std::size_t{3} << 29);
  EXPECT_EQ(*parse_size("--memory", "1TB"), std::size_t{1} << 40);
}

TEST(parse_size, refuses_by_option_and_value) {
  for (const char* text :
       {"", "G", "12X", "12GiBs", "-1", "0", "nan", "inf", "1e30", "9E", "2 G"}) {
    const auto size = parse_size("--memory", text);
    ASSERT_TRUE(size.has_error()) << text;
    EXPECT_EQ(size.error().code(), errc::invalid_argument);
    EXPECT_EQ(size.error().message().find("--memory " + std::string{text} + ":"), 0U);
  }
}

TEST(parse_counts, takes_lists_within_a_range) {
  EXPECT_EQ(*parse_counts("-d", "0,2048", 0, 4096), (std::vector<std::int64_t>{0, 2048}));
  EXPECT_EQ(*parse_counts("-d", "7", 7, 7), (std::vector<std::int64_t>{7}));
  for (const char* text : {"", ",", "1,", ",1", "1,,2", "1 2", "x", "5000", "-1", "1.5"})
    EXPECT_TRUE(parse_counts("-d", text, 0, 4096).has_error()) << text;
}

TEST(nearest_name, finds_what_was_meant_or_nothing) {
  constexpr std::array<std::string_view, 3> known{"complete", "chat", "--temperature"};
  EXPECT_EQ(nearest_name("complet", known), "complete");
  EXPECT_EQ(nearest_name("cxat", known), "chat");
  EXPECT_EQ(nearest_name("--tempreature", known), "--temperature");
  EXPECT_EQ(nearest_name("serve", known), "");
  EXPECT_EQ(nearest_name("", known), "");
}

TEST(json_text, floats_read_back_as_themselves) {
  for (const float value : {0.1F, -3.4028235e38F, 1.17549435e-38F, 1e-45F, 16777217.0F, -0.0F}) {
    std::string text;
    append(text, value);
    float back = 0;
    std::from_chars(text.data(), text.data() + text.size(), back);
    EXPECT_EQ(std::bit_cast<std::uint32_t>(back), std::bit_cast<std::uint32_t>(value)) << text;
  }
  std::string text;
  append(text, std::numeric_limits<float>::infinity());
  EXPECT_EQ(text, "null");
}

TEST(json_text, quotes_and_lists) {
  EXPECT_EQ(quoted("a\"b\\\n\x01霜"), "\"a\\\"b\\\\\\n\\u0001霜\"");
  std::string text = "[";
  const std::array<float, 4> values{1, 2, 3, 4};
  append_rows(text, values, 2);
  append_rows(text, std::span{values}.first(2), 2);
  EXPECT_EQ(text + "]", "[[1,2],[3,4],[1,2]]");
}

}  // namespace
}  // namespace atl::apps
