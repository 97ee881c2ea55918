#include "apps/stop_strings.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace atl::apps {
namespace {

struct shown {
  std::string text;
  bool is_hit = false;
};

/// `text` in pieces of `size` bytes.
shown pass(const std::vector<std::string>& stops, std::string_view text, std::size_t size) {
  stop_strings filter{stops};
  shown all;
  for (std::size_t at = 0; at < text.size(); at += size)
    all.text += filter.push(text.substr(at, size));
  all.is_hit = filter.is_hit();
  if (!all.is_hit) all.text += filter.flush();
  return all;
}

TEST(stop_strings, without_any_all_text_passes_at_once) {
  stop_strings none{{}};
  EXPECT_EQ(none.push("abc"), "abc");
  EXPECT_FALSE(none.is_hit());
  EXPECT_EQ(none.flush(), "");
}

TEST(stop_strings, hold_back_only_what_may_begin_one) {
  stop_strings filter{{"END"}};
  EXPECT_EQ(filter.push("the E"), "the ");
  EXPECT_EQ(filter.push("N"), "");
  EXPECT_EQ(filter.push("E"), "EN");  // "ENE": the last E may begin again
  EXPECT_EQ(filter.push("ND"), "");
  EXPECT_TRUE(filter.is_hit());
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.flush(), "");
}

TEST(stop_strings, give_back_a_beginning_that_stays_one) {
  stop_strings filter{{"END"}};
  EXPECT_EQ(filter.push("xEN"), "x");
  EXPECT_EQ(filter.flush(), "EN");
}

// Independent of the filter: the text is cut at the first place where any of them stands.
TEST(stop_strings, cut_alike_however_the_text_is_split) {
  const std::vector<std::vector<std::string>> sets{
      {"aab"}, {"ab", "b"}, {"霜"}, {"abab", "ba"}, {"zz"}, {"aaaa", "aaab"}, {"\n\n"}};
  const std::vector<std::string> texts{
      "aaab", "aaaaab", "abababab", "床前明月光，疑是地上霜。", "a\n\nb", "", "zzz", "bbb"};
  for (const auto& stops : sets) {
    for (const std::string& text : texts) {
      std::size_t cut = std::string::npos;
      for (const std::string& stop : stops) cut = std::min(cut, text.find(stop));
      for (std::size_t size = 1; size <= std::max<std::size_t>(text.size(), 1); ++size) {
        const shown got = pass(stops, text, size);
        EXPECT_EQ(got.is_hit, cut != std::string::npos);
        // In small pieces a shorter string may end before a longer one that began earlier.
        if (stops.size() == 1) {
          EXPECT_EQ(got.text, text.substr(0, cut)) << stops[0] << size;
        }
      }
    }
  }
}

}  // namespace
}  // namespace atl::apps
