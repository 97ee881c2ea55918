#include "runtime/schedule/admission.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace atl::schedule {
namespace {

const admission_limits limits{
    .sequences_max = 2, .queued_max = 1, .tokens_max = 1000, .context_max = 400};

errc answer(const admission_load& load, std::int64_t prompt, std::int64_t new_max) {
  const auto admitted = admit(limits, load, prompt, new_max);
  return admitted.has_error() ? admitted.error().code() : errc{};
}

TEST(admission, lets_in_what_fits) {
  EXPECT_EQ(answer({}, 1, 0), errc{});
  EXPECT_EQ(answer({}, 399, 1), errc{});
  EXPECT_EQ(answer({.sequences = 2, .tokens = 600}, 100, 300), errc{});
}

TEST(admission, refuses_for_good_what_can_never_run) {
  EXPECT_EQ(answer({}, 0, 10), errc::invalid_argument);
  EXPECT_EQ(answer({}, -1, 10), errc::invalid_argument);
  EXPECT_EQ(answer({}, 10, -1), errc::invalid_argument);
  EXPECT_EQ(answer({}, 400, 1), errc::invalid_argument);
  constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(answer({}, huge, huge), errc::invalid_argument);
  EXPECT_EQ(answer({}, 1, huge), errc::invalid_argument);
  const admission_limits small_cache{
      .sequences_max = 2, .queued_max = 1, .tokens_max = 50, .context_max = 400};
  EXPECT_EQ(admit(small_cache, {}, 50, 1).error().code(), errc::invalid_argument);
  EXPECT_TRUE(admit(small_cache, {}, 49, 1).has_value());
}

TEST(admission, refuses_for_now_what_finds_no_room) {
  EXPECT_EQ(answer({.sequences = 3, .tokens = 3}, 1, 1), errc::overloaded);
  EXPECT_EQ(answer({.sequences = 2, .tokens = 601}, 100, 300), errc::overloaded);
}

}  // namespace
}  // namespace atl::schedule
