#include "runtime/base/random.hpp"
#include "transport/sequence_window.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>
#include <vector>

namespace atl::transport {
namespace {

constexpr std::uint64_t frames = sequence_window::frames;

TEST(sequence_window, takes_each_number_once_in_any_order) {
  sequence_window window;
  for (const std::uint64_t n : {3U, 1U, 2U, 64U, 65U, 63U}) EXPECT_TRUE(window.take(n)) << n;
  for (const std::uint64_t n : {1U, 2U, 3U, 63U, 64U, 65U}) EXPECT_FALSE(window.take(n)) << n;
  EXPECT_TRUE(window.take(4));
}

TEST(sequence_window, never_takes_zero) {
  sequence_window window;
  EXPECT_FALSE(window.take(0));
  EXPECT_TRUE(window.take(1));
  EXPECT_FALSE(window.take(0));
}

TEST(sequence_window, refuses_what_is_older_than_the_window) {
  sequence_window window;
  EXPECT_TRUE(window.take(frames + 10));
  EXPECT_TRUE(window.take(11));
  EXPECT_FALSE(window.take(10));
  EXPECT_TRUE(window.take(frames + 11));
  EXPECT_FALSE(window.take(11));
  EXPECT_TRUE(window.take(12));
}

TEST(sequence_window, forgets_nothing_that_it_may_still_meet_after_a_leap) {
  sequence_window window;
  EXPECT_TRUE(window.take(100));
  EXPECT_TRUE(window.take(99 + frames));  // 100 is the oldest of the window now
  EXPECT_FALSE(window.take(100));
  EXPECT_TRUE(window.take(101));
  EXPECT_TRUE(window.take(std::numeric_limits<std::uint64_t>::max()));
  EXPECT_FALSE(window.take(std::numeric_limits<std::uint64_t>::max()));
  EXPECT_TRUE(window.take(std::numeric_limits<std::uint64_t>::max() - frames + 1));
  EXPECT_FALSE(window.take(std::numeric_limits<std::uint64_t>::max() - frames));
}

TEST(sequence_window, agrees_with_a_set_of_all_numbers) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    random_source random{seed};
    sequence_window window;
    std::set<std::uint64_t> taken;
    std::uint64_t latest = 0;
    for (int i = 0; i < 20000; ++i) {
      // Steps around the latest number, now and then a leap of up to two windows.
      const std::uint64_t ahead = random.below(100) == 0 ? random.below(2 * frames) : 3;
      const std::uint64_t n = latest + ahead - std::min(latest, random.below(frames + 200));
      const bool in_window = n > latest || latest - n < frames;
      const bool expected = n > 0 && in_window && taken.count(n) == 0;
      ASSERT_EQ(window.take(n), expected) << n << " after " << latest;
      if (expected) taken.insert(n);
      latest = std::max(latest, expected ? n : 0);
    }
  }
}

}  // namespace
}  // namespace atl::transport
